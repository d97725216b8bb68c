"""What the demo says, in Chinese and English. Records, traces and verdicts are shown as `waymark resolve` prints them."""

from collections.abc import Mapping
from unicodedata import east_asian_width

_WORDS: dict[str, tuple[str, str]] = {  # Chinese, English
    # setting up
    "setting-up": ("准备", "Setting up"),
    "again": ("再次启动", "Starting again"),
    "state": ("数据保存在 {place}", "state in {place}"),
    "root": ("根节点", "root node"),
    "top": ("国家顶级节点", "top node"),
    "secondary": ("二级节点", "secondary node"),
    "enterprise": ("企业节点", "enterprise node"),
    "recursive": ("递归节点", "recursive node"),
    "made": ("{role}：配置、密钥、数据库、令牌", "{role}: configuration, key, truth, token"),
    "made-recursive": ("{role}：配置", "{role}: configuration"),
    "processes": ("进程", "Processes"),
    "started": ("已启动 {count} 个", "{count} started"),
    "delegated": ("已委托：密钥已证明，前缀记录已签名", "delegated: key proven, prefix record signed"),
    "hosting": ("；并托管 {prefixes}", ", which hosts {prefixes}"),
    "import": ("导入", "Import"),
    "imported": (
        "{prefix} 下 {count:,} 个真实商品，校验位逐一核对，用时 {seconds:.1f} 秒",
        "{count:,} real products under {prefix}, every check digit verified, in {seconds:.1f} s",
    ),
    "ready": (
        "整棵树已就绪（ready）：{nodes} 个节点，{registries} 个注册服务，用时 {seconds:.1f} 秒。",
        "The tree is ready: {nodes} nodes, {registries} registries, in {seconds:.1f} s.",
    ),
    # the walk
    "registers": (
        "1. 企业登记一个标识。签名并落盘之后才会应答。",
        "1. A manufacturer registers a code. The answer comes when it is signed and durable.",
    ),
    "registered": (
        "{identifier}：版本 {serial}，签名有效期至 {expires}",
        "{identifier}: serial {serial}, signed until {expires}",
    ),
    "resolves": (
        "2. 应用解析这个标识。它只预置了根的公钥：每一步都先验证，再走下一步。",
        "2. An app resolves it, starting with nothing but the root's key: each step is verified before the next.",
    ),
    "other-doors": (
        "3. 同一条记录，经递归节点的另外两种协议（DNS、HTTP）查询。",
        "3. The same record through the other two doors, of the recursive node.",
    ),
    "unknown": ("4. 一个从未登记的标识。", "4. A code that nobody registered."),
    "tampered": (
        "5. 有人在传输途中改动了应答里的一个值。签名与之不符，因此拒绝。",
        "5. Somebody in between changes one value of the answer. The signature does not cover that, so it is refused.",
    ),
    "next": ("6. 整棵树的地址，以及接下来可以试的命令。", "6. The tree, and what to try next."),
    "browser": ("浏览器打开：", "in a browser:"),
    # the end
    "done": (
        "演示结束，整棵树随之关闭。不加 --once 则保持运行，可以逐条试这些命令。",
        "The walk is done and the tree ends. Without --once it stays up, for you to try such commands.",
    ),
    "stays": ("整棵树保持运行。按 Ctrl-C 结束。", "The tree stays up. Ctrl-C ends it."),
    "stopping": ("正在停止……", "Stopping ..."),
    "ended": (
        "`{command}` 已结束，状态 {status}。其余进程照常运行；用这条命令可以再次启动它。",
        "`{command}` ended with status {status}. The others stay up; that command starts it again.",
    ),
}


class Words:
    """The demo's words in the language of whoever started it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Chinese where the first of LC_ALL, LC_MESSAGES and LANG that is set begins with `zh`, as POSIX orders them."""
        chosen = next((found for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (found := environment.get(name))), "")
        self._english = not chosen.startswith("zh")

    def __call__(self, name: str, /, **parts: object) -> str:
        """The text called `name`, with its places filled."""
        return _WORDS[name][self._english].format(**parts)


def column(text: str, width: int) -> str:
    """`text`, filled up to so many columns of a terminal, of which a Chinese character takes two."""
    taken = sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
    return text + " " * (width - taken)
