"""The demo: a whole tree on one machine, real products in it, and a walk through what it does.

    root ── 88 ─┬─ 88.101  (hosts 88.101.5: 1,000 real products)        every box a node with its doors and, the recursive one
                └─ 88.118  (hosts 88.118.9) ── 88.118.8 (own node)      apart, a registry: processes of their own, on loopback
    recursive   (knows the root's key and address, nothing else)

Every step is done with what a user has: the files of `waymark init`, the registry's API, `waymark import`, `waymark resolve`.
"""

import asyncio
import csv
import ctypes
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from registry.client import RegistryClient
from registry.demo_words import Words, column
from registry.importing import ImportOptions, run_import
from registry.ports import free_ports
from registry.setup import Plan, set_up
from resolver import asking, printing
from resolver.anchor import read_anchor
from resolver.config import read_toml
from resolver.core.errors import ConfigError, UnreachableError
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.message import Query
from resolver.resolution import Resolution, Resolver

PRODUCTS = Path(__file__).parent / "demo_data" / "products-1000.csv"
CODE = "88.118.8/JXDY2106023"
CODE_VALUES = {"URL": "https://example.org/p/JXDY2106023", "NAME": "电源模块 Power module", "LOT": "R77"}
words = Words(os.environ)
_START_SECONDS, _SEEN_SECONDS = 30.0, 10.0
_PORTS = 4  # of a node: Handle, DNS, HTTP, and its registry's
_PR_SET_PDEATHSIG = 1


class Running(NamedTuple):
    """A process of the tree, and the command that started it."""

    command: str
    process: asyncio.subprocess.Process


class Member(NamedTuple):
    """One node of the demo. `hosts` are enterprise prefixes that it serves itself."""

    name: str
    role: str
    prefix: str | None
    hosts: tuple[str, ...] = ()
    envelope: bool = False  # the branch root - 88 - 88.118 - 88.118.8 also carries what deployed verifiers read

    @property
    def prefixes(self) -> list[str]:
        own = ["0.NA"] if self.role == "root" else [self.prefix] if self.prefix else []
        return [*own, *self.hosts]


TREE = (
    Member("root", "root", None, envelope=True),
    Member("88", "top", "88", envelope=True),
    Member("88.101", "secondary", "88.101", ("88.101.5",)),
    Member("88.118", "secondary", "88.118", ("88.118.9",), envelope=True),
    Member("88.118.8", "enterprise", "88.118.8", envelope=True),
    Member("recursive", "recursive", None),
)
PARENTS = {"88": "root", "88.101": "88", "88.118": "88", "88.118.8": "88.118"}


def run_demo(directory: Path | None, once: bool) -> int:
    """Returns the exit status. Without `directory` the state is thrown away at the end."""
    if directory is not None:
        return asyncio.run(_demo(directory.absolute(), once))
    with tempfile.TemporaryDirectory(prefix="waymark-demo-") as temporary:
        return asyncio.run(_demo(Path(temporary), once))


async def _demo(directory: Path, once: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running: list[Running] = []
    try:
        started = time.monotonic()
        work = asyncio.create_task(_start(directory, running))
        if not await _done_before(work, stop):
            return 130
        document = work.result()
        seconds = time.monotonic() - started
        print(f"\n{words('ready', nodes=len(TREE), registries=len(TREE) - 1, seconds=seconds)}\n", flush=True)
        walk = asyncio.create_task(_walk(document))
        if not await _done_before(walk, stop):
            return 130
        if once:
            print("\n" + words("done"), flush=True)
            return 0 if walk.result() else 3
        print("\n" + words("stays"), flush=True)
        await stay_up(running, stop)
        print("\n" + words("stopping"), flush=True)
        return 0
    finally:
        await _end(running)


async def _done_before(work: "asyncio.Task[Any]", stop: asyncio.Event) -> bool:
    """Waits for `work`; False if the user stopped first. What `work` raises is raised here."""
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        work.result()
        return True
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return False


async def stay_up(running: list[Running], stop: asyncio.Event) -> None:
    """Until the user stops. A process that ends before is told of: what the tree does without it is worth seeing too."""
    ends: dict[asyncio.Task[Any], str] = {asyncio.create_task(each.process.wait()): each.command for each in running}
    stopped: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    while not stopped.done():
        done, _ = await asyncio.wait({stopped, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for end in done - {stopped}:
            print("\n" + words("ended", command=ends.pop(end), status=end.result()), flush=True)
    for end in ends:
        end.cancel()


# ---- setting up and starting


async def _start(directory: Path, running: list[Running]) -> dict[str, Any]:
    """Brings the tree up, new or again, and returns what stands in nodes.json."""
    fresh = not (directory / "nodes.json").exists()
    _say(words("setting-up" if fresh else "again"), words("state", place=directory))
    if fresh:
        if any((directory / member.name / "node.toml").exists() for member in TREE):
            raise ConfigError(f"{directory} holds a demo whose first start was cut short; remove that directory, or choose another")
        ports = free_ports(_PORTS * len(TREE))
        for number, member in enumerate(TREE):
            await set_up(_plan(member, directory, ports[_PORTS * number :]))
            _say(member.name, words("made-recursive" if member.role == "recursive" else "made", role=words(member.role)))
    document = _document(directory)
    starting = [_launch(running, "registry", "serve", str(directory / member.name / "registry.toml")) for member in TREE[:-1]]
    starting += [_launch(running, "serve", str(directory / member.name / "node.toml")) for member in TREE]
    await asyncio.gather(*starting)
    _say(words("processes"), words("started", count=len(starting)))
    if fresh:
        await _delegate(directory, document)
        await _import(document)
    await _wait_until_resolvable(document)
    (directory / "nodes.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return document


def _plan(member: Member, directory: Path, ports: Sequence[int]) -> Plan:
    handle, dns, http, registry = ports[:_PORTS]
    anchor = None if member.role == "root" else directory / "root" / "anchor.json"
    return Plan(
        member.role, directory / member.name, member.prefix, member.name, "127.0.0.1",
        handle, dns, http, registry, anchor=anchor, envelope=member.envelope,
    )  # fmt: skip


def _document(directory: Path) -> dict[str, Any]:
    """The addresses of the whole tree, from the files of its nodes."""
    nodes = []
    for member in TREE:
        here = directory / member.name
        node = read_toml(here / "node.toml")["node"]
        host = node["listen"]
        registry = read_toml(here / "registry.toml")["registry"] if (here / "registry.toml").exists() else None
        nodes.append(
            {
                "name": member.name,
                "role": member.role,
                "prefixes": member.prefixes,
                "handle": f"{host}:{node['handle_port']}",
                "dns": f"{host}:{node['dns_port']}",
                "http": f"http://{host}:{node['http_port']}",
                "registry": f"http://{host}:{registry['port']}" if registry else None,
                "token": (here / "token").read_text("ascii").strip() if registry else None,
            }
        )
    return {"anchor": str(directory / "root" / "anchor.json"), "nodes": nodes}


async def _launch(running: list[Running], *arguments: str) -> None:
    """Starts a `waymark` command that runs until the demo ends; returns once it says that it is up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "registry.cli", *arguments,
        stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL, preexec_fn=_die_with_parent, start_new_session=True,
    )  # fmt: skip
    command = f"{_command()} {' '.join(arguments)}"
    running.append(Running(command, process))
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            if not await process.stdout.readline():
                raise ConfigError(f"`{command}` ended with status {await process.wait()}; see its message above")
    except TimeoutError:
        raise UnreachableError(f"`{command}` did not come up within {_START_SECONDS:.0f} s") from None


async def _end(running: list[Running]) -> None:
    """Asks all to end, then waits for all."""
    for each in running:
        if each.process.returncode is None:
            each.process.terminate()
    await asyncio.gather(*(each.process.wait() for each in running))


def _die_with_parent() -> None:
    """Runs in the child: the kernel ends it when the demo is gone, however that went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _delegate(directory: Path, document: dict[str, Any]) -> None:
    for member in TREE:
        if member.prefix is None:
            continue
        parent = node_of(document, PARENTS[member.name])
        here = directory / member.name
        request = json.loads((here / "request.json").read_bytes())
        async with RegistryClient(parent["registry"], parent["token"]) as client:
            await client.delegate(request)
        for hosted in member.hosts:
            own = node_of(document, member.name)
            async with RegistryClient(own["registry"], own["token"]) as client:
                await client.delegate({"prefix": hosted})
        more = words("hosting", prefixes=", ".join(member.hosts)) if member.hosts else ""
        _say(f"{PARENTS[member.name]} -> {member.name}", words("delegated") + more)


async def _import(document: dict[str, Any]) -> None:
    node = node_of(document, "88.101")
    options = ImportOptions(
        path=PRODUCTS, identifier="88.101.5/{gtin}", values=("URL={image_url}", "NAME={name}"), checks=("gtin=gs1",),
        registry=node["registry"], token=node["token"],
    )  # fmt: skip
    summary = await run_import(options, lambda _progress: None)
    _say(words("import"), words("imported", prefix="88.101.5", count=summary.registered, seconds=summary.seconds))


async def _wait_until_resolvable(document: dict[str, Any]) -> None:
    anchor = read_anchor(Path(document["anchor"]))
    deadline = time.monotonic() + _START_SECONDS
    for prefix in ("88.101.5", "88.118.9", "88.118.8"):
        asked = Query(Identifier.parse(f"0.NA/{prefix}"))
        while not (await Resolver(anchor, Limits()).resolve(asked)).verdict.verified:  # a new one: it would remember a "no"
            if time.monotonic() > deadline:
                raise UnreachableError(f"{prefix} does not resolve; the log of the nodes is above")
            await asyncio.sleep(0.05)


def node_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(node for node in document["nodes"] if node["name"] == name)
    return found


def _say(what: str, text: str) -> None:
    print(f"  {column(what, 20)} {text}", flush=True)


# ---- the walk


async def _walk(document: dict[str, Any]) -> bool:
    """Shows what the tree does. True if everything came out as it should."""
    anchor = read_anchor(Path(document["anchor"]))
    enterprise, recursive = node_of(document, "88.118.8"), node_of(document, "recursive")
    asked = Identifier.parse(CODE)
    resolver = Resolver(anchor, Limits())

    print(words("registers") + "\n")
    async with RegistryClient(enterprise["registry"], enterprise["token"]) as client:
        values = [{"index": index, "type": type_, "data": data} for index, (type_, data) in enumerate(CODE_VALUES.items(), 1)]
        record = await client.replace(CODE, values)
    print("   " + words("registered", identifier=record["identifier"], serial=record["serial"], expires=record["expires"]))

    print(f"\n{words('resolves')}\n")
    walked = await _until(lambda: Resolver(anchor, Limits()).resolve(Query(asked)))
    _show(asked, walked, trace=True)

    print(f"\n{words('other-doors')}\n")
    over_dns = await _until(lambda: asking.over_dns(resolver, asked, address(recursive["dns"]), "id.test"))
    over_http = await _until(lambda: asking.over_http(resolver, asked, address(recursive["http"])))
    for found in (over_dns, over_http):
        step = found.steps[0]
        print(f"   {step.server}: {step.asked} -> {step.said}; {found.verdict.reason}")

    print(f"\n{words('unknown')}\n")
    absent = Identifier.parse("88.118.8/NO-SUCH-CODE")
    nothing = await resolver.resolve(Query(absent))
    _show(absent, nothing, trace=False)

    print(f"\n{words('tampered')}\n")
    async with tampering(address(enterprise["handle"]), b"https://example.org/p/", b"https://example.0rg/p/") as port:
        forged = await Resolver(anchor, Limits()).resolve_at(asked, ("127.0.0.1", port))
    _show(asked, forged, trace=False)

    print("\n" + "\n".join(_what_next(document)), flush=True)
    good = (walked.verdict.verified, over_dns.verdict.verified, over_http.verdict.verified)
    return all(good) and nothing.verdict.reason == "no-such-identifier" and forged.verdict.reason == "changed-value"


async def _until(question: Any) -> Resolution:
    """Asks until the record is there: a registration is visible within a second, but a machine may be busy with other things."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        found: Resolution = await question()
        if found.verdict.verified or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.05)


def _show(asked: Identifier, found: Resolution, trace: bool) -> None:
    for line in printing.resolution_lines(asked, found, (), (), trace):
        print(f"   {line}")


def address(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("http://").rpartition(":")
    return host, int(port)


@asynccontextmanager
async def tampering(server: tuple[str, int], old: bytes, new: bytes) -> AsyncIterator[int]:
    """A Handle relay over UDP that changes `old` to `new` (of equal length) in what the server says. Yields its port."""
    loop = asyncio.get_running_loop()

    class Relay(asyncio.DatagramProtocol):
        transport: asyncio.DatagramTransport
        asker: tuple[str, int]

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            if addr == server:
                self.transport.sendto(data.replace(old, new), self.asker)
            else:
                self.asker = addr
                self.transport.sendto(data, server)

    transport, _ = await loop.create_datagram_endpoint(Relay, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def _what_next(document: dict[str, Any]) -> list[str]:
    """Addresses, and commands to type."""
    enterprise, recursive = node_of(document, "88.118.8"), node_of(document, "recursive")
    anchor = document["anchor"]
    dns_host, dns_port = address(recursive["dns"])
    command, token = _command(), Path(anchor).parents[1] / enterprise["name"] / "token"
    with open(PRODUCTS, encoding="utf-8", newline="") as file:
        product = f"88.101.5/{next(csv.DictReader(file))['gtin']}"
    name = asking.owner_name(Identifier.parse(CODE), "id.test")
    lines = [f"   {'node':10} {'role':11} {'handle':22} {'dns':22} {'http':24} registry"]
    lines += [
        f"   {n['name']:10} {n['role']:11} {n['handle']:22} {n['dns']:22} {n['http']:24} {n['registry'] or '-'}"
        for n in document["nodes"]
    ]
    return [
        words("next") + "\n",
        *lines,
        "",
        f"   {command} resolve {CODE} --anchor {anchor} --trace",
        f"   {command} resolve {product} --anchor {anchor} --at {recursive['dns']} --door dns",
        f"   dig @{dns_host} -p {dns_port} {name} TXT",
        f"   curl {recursive['http']}/api/handles/{CODE}",
        f"   curl -H 'Accept: application/json' {recursive['http']}/{CODE}",
        f"   {command} register 88.118.8/MY-FIRST --value URL=https://example.org/ --registry {enterprise['registry']} \\",
        f"       --token @{token}",
        "   " + words("browser"),
        f"       {recursive['http']}/{CODE}?noredirect",
        f"       {recursive['http']}/{product}?noredirect",
    ]


def _command() -> str:
    """How this program is called from here."""
    return ".venv/bin/waymark" if Path(".venv/bin/waymark").exists() else "waymark"
