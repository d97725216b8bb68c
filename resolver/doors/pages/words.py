"""The words of the pages, in Chinese and English, side by side so that one is not changed without the other."""

LANGUAGES = {"zh": "中文", "en": "English"}

_WORDS: dict[str, tuple[str, str]] = {
    # frame
    "look-up": ("查询", "Look up"),
    "identifier": ("标识", "Identifier"),
    "identifier-example": ("例如 {example}", "e.g. {example}"),
    "node": ("节点 {name}（{role}）", "Node {name} ({role})"),
    "role-root": ("根节点", "root"),
    "role-top": ("国家顶级节点", "national top-level node"),
    "role-secondary": ("二级节点", "secondary node"),
    "role-enterprise": ("企业节点", "enterprise node"),
    "role-recursive": ("递归节点", "recursive node"),
    # verdict
    "verified": ("已验证", "Verified"),
    "verified-text": (
        "以下内容与发布者签署的完全一致，签名可逐级追溯到信任锚。",
        "This is exactly what its publisher signed, and the signatures lead up to the trust anchor.",
    ),
    "refused": ("验证失败", "Not verified"),
    "refused-text": (
        "请勿相信本页内容：它与签名不符，可能已被篡改。",
        "Do not trust what this page shows: it is not what was signed, and may have been tampered with.",
    ),
    "unproven": ("暂时无法验证", "Could not be verified now"),
    "unproven-text": (
        "上级节点没有应答，无法取得验证所需的密钥。请稍后再试，在此之前不要相信本页内容。",
        "The nodes above did not answer, so the keys to verify with are missing. Do not trust this page; try again later.",
    ),
    "stale": ("暂存的旧记录", "An older copy"),
    "stale-text": (
        "负责该标识的服务器目前都没有应答。这是此前验证过、签名仍然有效的记录，可能不是最新的。",
        "None of the servers in charge answers now. This record was verified earlier and is still signed; it may be out of date.",
    ),
    "no-redirect": ("因此没有跳转到记录中的网址。", "This is why you were not sent on to the address in the record."),
    # record
    "record": ("标识记录", "Record"),
    "content": ("内容", "Content"),
    "no-content": ("这条记录没有公开的内容。", "This record has no public content."),
    "doubtful": ("未经验证的内容", "Content that was not verified"),
    "technical": ("管理、路由与签名数据", "Administration, routing and signatures"),
    "owner": ("持有者", "Owner"),
    "holder-of": ("前缀 {prefix} 的持有者", "holder of prefix {prefix}"),
    "held-by": ("{name}（前缀 {prefix}）", "{name} (prefix {prefix})"),
    "changed": ("最近变更", "Last change"),
    "version": ("版本号", "Serial"),
    "valid-until": ("签名有效期至", "Signature valid until"),
    "octets": ("{count} 字节，不是文本", "{count} octets, not text"),
    "more": ("展开全部", "Show all"),
    "any-key": ("任意密钥", "any key"),
    # chain
    "chain": ("信任链", "Chain of trust"),
    "chain-text": (
        "每一级用自己的密钥为下一级签名。锚点密钥由本节点预先配置。",
        "Each level signs the next with its own key. The key of the anchor is the one this node was configured with.",
    ),
    "anchor": ("信任锚", "Trust anchor"),
    "prefix": ("前缀 {prefix}", "Prefix {prefix}"),
    "this-record": ("本记录", "This record"),
    "signed-by": ("签名密钥 {key}", "signed with {key}"),
    "broken-here": ("在此处断开", "broken here"),
    "serial": ("版本 {serial}", "serial {serial}"),
    "until": ("有效期至", "valid until"),
    # trace
    "trace": ("解析过程", "How it was resolved"),
    "trace-own": ("由本节点自己的数据应答。", "Answered from this node's own table."),
    "trace-cached": ("由本节点已验证的缓存应答。", "Answered from what this node had verified before."),
    "server": ("服务器", "Server"),
    "asked": ("询问", "Asked"),
    "said": ("应答", "Answer"),
    "took": ("耗时", "Took"),
    "as-json": ("以 JSON 查看", "As JSON"),
    "for-programs": ("供程序读取", "For programs"),
    # notices
    "not-found": ("没有这个标识", "No such identifier"),
    "not-found-text": ("前缀 {prefix} 下没有登记 {identifier}。", "Prefix {prefix} has no record of {identifier}."),
    "no-prefix-text": ("前缀 {prefix} 不存在（{zone} 没有委托它）。", "There is no prefix {prefix}: {zone} has not delegated it."),
    "not-found-next": (
        "请核对字母大小写和每一位数字：后缀区分大小写。",
        "Check every digit, and capital and small letters: the suffix tells them apart.",
    ),
    "check-digit": ("{code} 的校验位应为 {expected}。", "The check digit of {code} should be {expected}."),
    "did-you-mean": ("您要找的是不是", "Did you mean"),
    "gone": ("该标识已注销", "This identifier was deleted"),
    "gone-text": ("它不会再分配给其他对象。", "It is never given to anything else."),
    "gone-since": ("注销时间", "Deleted at"),
    "elsewhere": ("请到负责该前缀的节点查询", "Another node answers for this"),
    "elsewhere-text": ("前缀 {prefix} 已委托给其他服务器。", "Prefix {prefix} is delegated to other servers."),
    "elsewhere-none": (
        "委托记录没有写明网页入口，请向递归节点查询。",
        "The delegation names no web address; ask a recursive node.",
    ),
    "ask-there": ("前往 {door}", "Ask {door}"),
    "not-here": ("本节点不负责这个前缀", "This node does not answer for that prefix"),
    "not-here-text": (
        "{identifier} 不在本节点及其下级的范围内。请向递归节点或根节点查询。",
        "{identifier} is neither here nor below. Ask a recursive node, or the root.",
    ),
    "bad": ("这不是有效的标识", "This is not a valid identifier"),
    "bad-text": (
        "标识由前缀、斜杠和后缀组成，例如 {example}。",
        "An identifier is a prefix, a slash and a suffix, such as {example}.",
    ),
    "failed": ("暂时无法解析", "It could not be resolved now"),
    "failed-text": ("请稍后再试。", "Try again later."),
    "detail": ("技术说明", "In technical words"),
    # start page
    "start-title": ("工业标识解析节点", "A resolution node for industrial identifiers"),
    "start-text": (
        "在此查询产品、前缀或组织的标识。每个应答都会沿签名链验证到信任锚。",
        "Look up the identifier of a product, a prefix or an organisation. Every answer is verified up to the trust anchor.",
    ),
    "this-node": ("关于本节点", "About this node"),
    "name": ("名称", "Name"),
    "role": ("角色", "Role"),
    "homed": ("负责的前缀", "Answers for"),
    "homed-all": ("任何标识（逐级查询）", "any identifier, by asking its servers"),
    "and-more": ("等 {count} 个", "and {count} more"),
    "doors": ("服务入口", "Doors"),
    "records": ("登记数量", "Records"),
}

_TYPES: dict[str, tuple[str, str]] = {
    "URL": ("网址", "Web address"),
    "NAME": ("名称", "Name"),
    "DESC": ("说明", "Description"),
    "EMAIL": ("电子邮件", "E-mail"),
    "BRAND": ("品牌", "Brand"),
    "CATEGORY": ("类别", "Category"),
    "GTIN": ("商品条码", "GTIN"),
    "IMAGE_URL": ("图片网址", "Picture"),
    "HS_ADMIN": ("管理者", "Administrator"),
    "HS_SITE": ("服务器", "Servers"),
    "HS_SITE.PREFIX": ("下级前缀的服务器", "Servers of the prefixes below"),
    "HS_SERV": ("服务引用", "Service"),
    "HS_ALIAS": ("别名", "Alias of"),
    "HS_VLIST": ("值引用列表", "List of references"),
    "HS_PUBKEY": ("公钥", "Public key"),
    "HS_CERT": ("证书", "Certificate"),
    "HS_SIGNATURE": ("签名（RS256）", "Signature (RS256)"),
    "HS_SIGNATURE.ED25519": ("签名（Ed25519）", "Signature (Ed25519)"),
    "JWK": ("签名密钥", "Signing key"),
}

# Why a record was refused: the words of `trust.Reason`.
_REASONS: dict[str, tuple[str, str]] = {
    "no-signature": ("记录没有签名", "the record has no signature"),
    "bad-token": ("签名的格式不对", "the signature is malformed"),
    "algorithm": ("签名算法不被允许", "the signature's algorithm is not allowed"),
    "bad-signature": ("签名不是前缀密钥所作", "no key of the prefix made this signature"),
    "wrong-signer": ("签名者不是该前缀的持有者", "it was signed by somebody else"),
    "wrong-scope": ("签名属于另一个标识", "the signature belongs to another identifier"),
    "not-yet-valid": ("签名尚未生效", "the signature is not valid yet"),
    "expired": ("签名已过期", "the signature has expired"),
    "serial-regress": ("版本比已见过的更旧", "an older version than one already seen"),
    "changed-value": ("有内容被改动", "a value was changed"),
    "missing-value": ("有内容被删去", "a value was taken out"),
    "extra-value": ("有内容是后来加进去的", "a value was put in"),
    "duplicate-value": ("有内容重复出现", "a value stands twice"),
    "no-key": ("上级记录没有可用的密钥", "the record above names no usable key"),
    "broken-chain": ("信任链中断", "the chain of trust is broken"),
    "chain-too-long": ("信任链过长", "the chain of trust is too long"),
    "unreachable": ("上级节点没有应答", "the nodes above did not answer"),
}


def word(language: str, name: str, /, **parts: object) -> str:
    """The text called `name`, with its places filled. Not escaped: the template does that."""
    return _WORDS[name][language != "zh"].format(**parts)


def type_word(language: str, type_: str) -> str:
    """What a value's type means in plain words; the type itself where there are none."""
    return _TYPES.get(type_.upper(), (type_, type_))[language != "zh"]


def reason_word(language: str, reason: str) -> str:
    return _REASONS.get(reason, (reason, reason))[language != "zh"]
