"""The loads of answering: what is asked over DNS, Handle and HTTP, of our nodes and of their peers.

"Cold" is a node without answer cache, asked for another name each time; "warm" is a node with the cache at its default bound, asked
for a fixed set of names that it has all answered before.
"""

import contextlib
import http.client
import random
import sys
from collections.abc import Callable, Sequence

from benchmarks import data
from benchmarks.load import questions
from benchmarks.load.connections import Judge, handle_judge, http_judge, kept_open, one_each
from benchmarks.load.datagrams import DatagramLoad, Expected, Turn
from benchmarks.peers import AbsentError, knot, nginx
from benchmarks.report import Row, Target, at_least, at_most
from benchmarks.tree import APEX, Node, Tree
from benchmarks.turns import Load, Scale, measured

WINDOW = 100  # outstanding questions over UDP: more than a server reads at once, fewer than its socket's buffer holds
CONNECTIONS = 32

DNS_TARGETS = {"cold": 0.3, "unknown": 0.5, "warm": 0.6}
HANDLE_TARGETS = {"cold signed": 0.2, "cold one fragment": 0.4, "warm signed": 0.34, "warm one fragment": 0.55}
WARM_DNS_NAMES, WARM_HANDLE_NAMES = 100_000, 30_000
RECURSIVE_NAMES = 10_000  # each must be walked for and verified once before the first turn

_FILL_TRIES = 3  # a recursive node may still be walking when the client gives a question up
_NXDOMAIN = 3
_KNOT, _NGINX = "Knot", "nginx"


def run(groups: set[str], tree: Tree, scale: Scale) -> list[Row]:
    """The rows of `dns`, `handle`, `tcp` and `http`, as far as asked for."""
    with contextlib.ExitStack() as stack:

        def warm() -> Node:
            return stack.enter_context(tree.serving("secondary"))

        cold = stack.enter_context(tree.serving("secondary", {"answer_cache_octets": 0}))
        loads: list[Load] = []
        if groups & {"dns", "handle"}:
            loads += knot_load(stack, tree.records, scale)
        if "dns" in groups:
            loads += dns_loads(cold, warm(), tree.records, scale)
        if "handle" in groups:
            loads += handle_loads(cold, warm(), warm(), tree.records, scale)
        if "tcp" in groups:
            loads += stream_loads(cold, warm(), tree.records, scale)
        if "http" in groups:
            loads += nginx_load(stack, _json_answer(cold), scale)
            loads += http_loads(cold, tree.records, scale)
        return measured(loads, scale.turns)


# ---- the loads of each protocol


def dns_labels(i: int) -> list[bytes]:
    return [data.digits(i).encode(), *(label.encode() for label in reversed(data.PREFIX.split("."))), *APEX.encode().split(b".")]


def knot_load(stack: contextlib.ExitStack, records: int, scale: Scale) -> list[Load]:
    """Knot with the same names, if it is installed."""
    try:
        server = stack.enter_context(knot.serving(records))
    except AbsentError as error:
        print(error, file=sys.stderr)
        return []
    expected = questions.dns_expected()
    return [_datagrams(_KNOT, server.pid, ("127.0.0.1", server.port), _dns(records), expected, scale.questions)]


def nginx_load(stack: contextlib.ExitStack, answer: bytes, scale: Scale) -> list[Load]:
    """nginx with a file of the length of `answer`, if it is installed."""
    try:
        server = stack.enter_context(nginx.serving(answer))
    except AbsentError as error:
        print(error, file=sys.stderr)
        return []
    request = questions.http_get(nginx.PATH)
    return [_requests(_NGINX, server.pid, ("127.0.0.1", server.port), lambda _: request, http_judge(200), scale.requests)]


def dns_loads(cold: Node, warm: Node, records: int, scale: Scale) -> list[Load]:
    names = min(WARM_DNS_NAMES, scale.questions)
    found, absent = questions.dns_expected(), questions.dns_expected(_NXDOMAIN)
    targets = {name: at_least(bound, _KNOT) for name, bound in DNS_TARGETS.items()}
    asked = scale.questions
    return [
        _datagrams("DNS UDP, cold", cold.pid, cold.dns, _dns(records), found, asked, targets["cold"]),
        _datagrams("DNS UDP, unknown names", cold.pid, cold.dns, _unknown_dns(records), absent, asked, targets["unknown"]),
        _warm(f"DNS UDP, warm, {names:,} names", warm, warm.dns, _dns(names), names, asked, targets["warm"], found),
    ]


def handle_loads(cold: Node, warm: Node, warm_part: Node, records: int, scale: Scale) -> list[Load]:
    names = min(WARM_HANDLE_NAMES, scale.questions)
    targets = {name: at_least(bound, _KNOT) for name, bound in HANDLE_TARGETS.items()}
    whole, part, typed = _handle(records), _handle(records, indexes=(1, 2, 3)), _handle(records, types=(b"URL",))
    asked = scale.questions // 2
    return [
        _datagrams("Handle UDP, cold, signed", cold.pid, cold.handle, whole, None, asked, targets["cold signed"]),
        _datagrams("Handle UDP, cold, indexes 1 2 3", cold.pid, cold.handle, part, None, asked, targets["cold one fragment"]),
        _datagrams("Handle UDP, cold, type URL", cold.pid, cold.handle, typed, None, asked, targets["cold one fragment"]),
        _warm(f"Handle UDP, warm, signed, {names:,} names", warm, warm.handle, _handle(names), names, asked,
              targets["warm signed"]),
        _warm(f"Handle UDP, warm, indexes 1 2 3, {names:,} names", warm_part, warm_part.handle,
              _handle(names, indexes=(1, 2, 3)), names, asked, targets["warm one fragment"]),
    ]  # fmt: skip


def stream_loads(cold: Node, warm: Node, records: int, scale: Scale) -> list[Load]:
    """Whole signed records over TCP. The targets do not say cold or warm: both are held to them."""
    names = min(WARM_HANDLE_NAMES, scale.requests)
    return [
        _connections("Handle TCP, one request a connection, cold", cold, one_each, records, scale.requests // 2, at_most(33)),
        _connections(
            "Handle TCP, one request a connection, warm", warm, one_each, names, scale.requests // 2, at_most(33), warm=True
        ),
        _connections("Handle TCP, kept open, cold", cold, kept_open, records, scale.requests, at_most(15)),
        _connections("Handle TCP, kept open, warm", warm, kept_open, names, scale.requests, at_most(15), warm=True),
    ]


def http_loads(cold: Node, records: int, scale: Scale) -> list[Load]:
    def get(i: int) -> bytes:
        return questions.http_get(f"/api/handles/{data.PREFIX}/{data.digits(i % records)}")

    return [_requests("JSON GET, cold", cold.pid, cold.http, get, http_judge(200), scale.requests, at_least(0.4, _NGINX))]


def _json_answer(node: Node) -> bytes:
    """The body of one JSON answer, for nginx to serve one of the same length."""
    client = http.client.HTTPConnection(*node.http, timeout=5)
    try:
        client.request("GET", f"/api/handles/{data.PREFIX}/{data.digits(0)}")
        return client.getresponse().read()
    finally:
        client.close()


def recursive_loads(node: Node, scale: Scale) -> list[Load]:
    """A recursive node asked again for what it has walked for before: as the warm loads of an authoritative one."""
    names, asked, expected = min(RECURSIVE_NAMES, scale.questions), scale.questions, questions.dns_expected()
    dns, handle = at_least(DNS_TARGETS["warm"], _KNOT), at_least(HANDLE_TARGETS["warm signed"], _KNOT)
    return [
        _warm(
            f"recursive, cached, DNS UDP, {names:,} names", node, node.dns, _dns(names, recurse=True), names, asked, dns, expected
        ),
        _warm(f"recursive, cached, Handle UDP, {names:,} names", node, node.handle, _handle(names), names, asked // 2, handle),
    ]


# ---- how a load is put together

Question = Callable[[int], bytes]  # the i-th question of a load
Exchange = Callable[[tuple[str, int], Sequence[bytes], Judge, int], Turn]  # `kept_open` or `one_each`


def _dns(names: int, *, recurse: bool = False) -> Question:
    return lambda i: questions.dns(dns_labels(i % names), i, recurse=recurse)


def _unknown_dns(records: int) -> Question:
    return lambda i: questions.dns(dns_labels(records + i), i)


def _handle(names: int, indexes: tuple[int, ...] = (), types: tuple[bytes, ...] = ()) -> Question:
    return lambda i: questions.handle(data.key(i % names), i, indexes, types)


def _asked(question: Question, turn: int, count: int) -> list[bytes]:
    return [question(i) for i in range(turn * count, (turn + 1) * count)]


def _datagrams(
    name: str, pid: int, address: tuple[str, int], question: Question, expected: Expected | None, count: int,
    target: Target | None = None,
) -> Load:  # fmt: skip
    """`expected` None: a Handle answer, in as many fragments as the first one has."""
    client = DatagramLoad(address)

    def run(turn: int) -> Turn:
        right = expected or questions.handle_expected(client.ask(question(0)))
        return client.turn(_asked(question, turn, count), right, WINDOW)

    return Load(name, pid, run, target)


def _warm(
    name: str, node: Node, address: tuple[str, int], question: Question, names: int, count: int, target: Target,
    expected: Expected | None = None,
) -> Load:  # fmt: skip
    client = DatagramLoad(address)
    order = random.Random(1)

    def right() -> Expected:
        return expected or questions.handle_expected(client.ask(question(0)))

    def fill() -> None:
        for _ in range(_FILL_TRIES):
            if not client.turn([question(i) for i in range(names)], right(), WINDOW).lost:
                return

    def run(_: int) -> Turn:
        return client.turn([question(order.randrange(names)) for _ in range(count)], right(), WINDOW)

    return Load(name, node.pid, run, target, fill)


def _connections(name: str, node: Node, exchange: Exchange, names: int, count: int, target: Target, *, warm: bool = False) -> Load:
    question = _handle(names)

    def fill() -> None:
        kept_open(node.handle, _asked(question, 0, names), handle_judge, CONNECTIONS)

    def run(turn: int) -> Turn:
        return exchange(node.handle, _asked(question, turn, count), handle_judge, CONNECTIONS)

    return Load(name, node.pid, run, target, fill if warm else None)


def _requests(
    name: str, pid: int, address: tuple[str, int], question: Question, judge: Judge, count: int, target: Target | None = None
) -> Load:
    return Load(name, pid, lambda turn: kept_open(address, _asked(question, turn, count), judge, CONNECTIONS), target)
