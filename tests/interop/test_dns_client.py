"""The command line's DNS question over real sockets: against the DNS door, and against servers that lose, spoil and lie."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import dnslib
import pytest

from registry.ports import free_ports
from resolver import asking
from resolver.core.errors import ConfigError, FormatError, UnreachableError
from resolver.core.identifier import Identifier
from resolver.core.message import NotFound
from resolver.core.record import Value
from resolver.core.trust import Reason
from resolver.core.wire import dns
from resolver.core.wire.dns_answer import DnsAnswer
from resolver.core.wire.txt import read_txt
from resolver.dns_client import ask_dns
from resolver.doors.dns import DnsDoor
from resolver.resolution import Resolution
from tests.support.dns import APEX, served
from tests.support.handle_tree import HandleTree, handle_tree
from tests.support.scripted import told
from tests.support.world import World

LABELS = [b"abc", b"118", b"88", b"id", b"test"]
CHINESE, LONG = Identifier.parse("88.118/工业互联网标识解析码"), Identifier.parse("88.118/LONG")
HIDDEN = Identifier.parse("88.118/HIDDEN")
Answering = Callable[[bytes], Iterable[bytes]]


def prepare(world: World) -> None:
    world.put(str(CHINESE), Value(1, "URL", b"https://example.org/"), Value(3, "SECRET", b"x", permissions=0x0C))
    world.put(str(LONG), Value(1, "TEXT", bytes(range(256)) * 100))
    world.put(str(HIDDEN), Value(3, "SECRET", b"x", permissions=0x0C))


# ---- the door


@pytest.fixture(name="tree")
async def _tree(tmp_path: Path) -> AsyncIterator[HandleTree]:
    async with handle_tree(tmp_path, prepare, recursive=True) as tree:
        yield tree


async def over_dns(tree: HandleTree, name: Identifier, at: str = "recursive", apex: str = APEX) -> Resolution:
    async with served(DnsDoor(tree.nodes[at].desk)) as port:
        return await asking.over_dns(tree.resolver(), name, ("127.0.0.1", port), apex)


@pytest.mark.parametrize("at", ["88.118", "recursive"])
@pytest.mark.parametrize("name", [Identifier.parse("88.118/ABC"), CHINESE, LONG, HIDDEN])
async def test_a_record_is_verified(tree: HandleTree, at: str, name: Identifier) -> None:
    found = await over_dns(tree, name, at)
    assert told(found) == "verified"
    assert found.steps[0].asked == f"TXT {asking.owner_name(name, APEX)}"
    assert found.steps[0].said == f"NOERROR, {len(found.chain[0].values)} value(s)"


async def test_what_there_is_not(tree: HandleTree) -> None:
    found = await over_dns(tree, Identifier.parse("88.118/NONE"))
    assert found.outcome == NotFound("88.118")
    assert found.verdict.reason == "no-such-identifier"
    found = await over_dns(tree, Identifier.parse("88.118/ABC"), "88")
    assert told(found) == "verified", "it refers to those who know"
    assert found.steps[0].said == "NOERROR, 0 value(s)"
    found = await over_dns(tree, Identifier.parse("88.118/ABC"), apex="example.org.")
    assert "REFUSED for _41_42_43.118.88.example.org., and no value" in found.verdict.text


@pytest.mark.parametrize("apex", ["", "id..test", "x" * 64, ".".join(["x" * 60] * 5)])
async def test_an_apex_that_makes_no_name(tree: HandleTree, apex: str) -> None:
    with pytest.raises(ConfigError, match="--apex"):
        await over_dns(tree, CHINESE, apex=apex)


# ---- servers of other kinds


@asynccontextmanager
async def server(udp: Answering | None, tcp: Answering | None) -> AsyncIterator[tuple[str, int]]:
    """A port of 127.0.0.1 whose datagrams, and connections, are answered so. None: nobody is there."""
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        octets = int.from_bytes(await reader.readexactly(2), "big")
        assert tcp is not None
        for part in tcp(await reader.readexactly(octets)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        (port,) = free_ports(1)
        stream.bind(("127.0.0.1", port))
        datagrams.setblocking(False)
        if udp is not None:
            datagrams.bind(stream.getsockname())

            def readable() -> None:
                packet, source = datagrams.recvfrom(65_535)
                assert udp is not None
                for datagram in udp(packet):
                    datagrams.sendto(datagram, source)

            loop.add_reader(datagrams, readable)
        try:
            if tcp is None:
                yield stream.getsockname()
            else:
                async with await asyncio.start_server(serve, sock=stream):
                    yield stream.getsockname()
        finally:
            loop.remove_reader(datagrams)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def ask(udp: Answering | None, tcp: Answering | None, seconds: float = 0.6) -> DnsAnswer:
    async with server(udp, tcp) as at:
        before = open_files()
        try:
            return await asyncio.wait_for(ask_dns(LABELS, dns.TXT, at, seconds), 10)
        finally:
            for _ in range(500):  # the server in this process closes its side a moment later
                if open_files() <= before:
                    break
                await asyncio.sleep(0.01)
            assert open_files() <= before, "no socket is left behind"


def reply(query: bytes, *strings: bytes, **header: int) -> bytes:
    """A true answer by dnslib, with fields of the header replaced."""
    answer = dnslib.DNSRecord.parse(query).reply()
    answer.add_answer(dnslib.RR(answer.q.qname, dnslib.QTYPE.TXT, rdata=dnslib.TXT(list(strings or (b"1 URL", b"x"))), ttl=5))
    for name, value in header.items():
        setattr(answer.header, name, value)
    return bytes(answer.pack())


def framed(octets: bytes) -> bytes:
    return struct.pack(">H", len(octets)) + octets


def other(query: bytes, name: str = "abd.118.88.id.test", type_: int = dns.TXT) -> bytes:
    """An answer to another question under the number of this one."""
    asked = dnslib.DNSRecord(dnslib.DNSHeader(id=int.from_bytes(query[:2], "big")), q=dnslib.DNSQuestion(name, type_))
    return reply(bytes(asked.pack()), b"1 URL", b"false")


def noise(query: bytes) -> list[bytes]:
    """Everything that is not the answer."""
    number = int.from_bytes(query[:2], "big")
    true = reply(query)
    return [
        b"", b"x", bytes(12), bytes(600), query, true[:-1], true[:20],
        reply(query, b"1 URL", b"false", id=number ^ 1), other(query), other(query, "abc.118.88.id.test", dns.URI),
    ]  # fmt: skip


def value(answer: DnsAnswer) -> bytes:
    (record,) = answer.records
    return read_txt(record.rdata, record.ttl).data


TRUE: Answering = lambda query: [reply(query)]  # noqa: E731
TRUE_STREAM: Answering = lambda query: [framed(reply(query, b"1 URL", b"over TCP"))]  # noqa: E731
SILENCE: Answering = lambda _: []  # noqa: E731


@pytest.mark.parametrize(
    ("udp", "tcp", "data"),
    [
        (TRUE, None, b"x"),
        (lambda query: [*noise(query), reply(query)], None, b"x"),
        (lambda query: [reply(query, tc=1)], TRUE_STREAM, b"over TCP"),
        (SILENCE, TRUE_STREAM, b"over TCP"),
        (None, TRUE_STREAM, b"over TCP"),
        (noise, TRUE_STREAM, b"over TCP"),
        (SILENCE, lambda query: [bytes((octet,)) for octet in framed(reply(query))], b"x"),
    ],
    ids=["plain", "among noise", "truncated", "UDP is lost", "no UDP", "noise alone", "octet by octet"],
)
async def test_an_answer(udp: Answering | None, tcp: Answering | None, data: bytes) -> None:
    assert value(await ask(udp, tcp, 2.0)) == data


@pytest.mark.parametrize(
    ("udp", "tcp", "error", "text"),
    [
        (None, None, UnreachableError, "^udp .* cannot be reached: Connection refused$"),
        (SILENCE, None, UnreachableError, "^udp .* did not answer within 0.3 s"),
        (SILENCE, lambda _: [], UnreachableError, "^udp .* did not answer"),
        (noise, None, FormatError, "^udp .* answers what cannot be read: .* another question"),
        (lambda query: [reply(query, tc=1)], None, UnreachableError, "^tcp .* cannot be reached"),
        (lambda query: [reply(query, tc=1)], lambda _: [b"\0"], UnreachableError, "closed the connection after 1 of 2 octets"),
        (lambda query: [reply(query, tc=1)], lambda query: [framed(reply(query))[:-1]], UnreachableError, "closed the connection"),
        (SILENCE, lambda query: [framed(other(query))], FormatError, "^tcp .* another question"),
        (SILENCE, lambda _: [framed(b"")], FormatError, "^tcp .* cannot be read"),
        (SILENCE, lambda query: [framed(query)], FormatError, "^tcp .* must be a response"),
    ],
)
async def test_no_answer(udp: Answering | None, tcp: Answering | None, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        await ask(udp, tcp)


async def test_a_connection_that_stalls_is_given_up() -> None:
    released = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    async with await asyncio.start_server(stall, "127.0.0.1", 0) as stalling:
        before = open_files()
        with pytest.raises(UnreachableError, match=r"cannot be reached|did not answer"):
            await asyncio.wait_for(ask_dns(LABELS, dns.TXT, stalling.sockets[0].getsockname(), 0.3), 10)
        released.set()
        for _ in range(500):
            if open_files() <= before:
                break
            await asyncio.sleep(0.01)
        assert open_files() <= before


# ---- what is made of an answer


async def compare(tree: HandleTree, udp: Answering) -> Resolution:
    async with server(udp, None) as at:
        return await asking.over_dns(tree.resolver(), Identifier.parse("88.118/ABC"), at, APEX)


def records(query: bytes, *texts: tuple[bytes, ...]) -> bytes:
    answer = dnslib.DNSRecord.parse(query).reply()
    for strings in texts:
        answer.add_answer(dnslib.RR(answer.q.qname, dnslib.QTYPE.TXT, rdata=dnslib.TXT(list(strings)), ttl=5))
    return bytes(answer.pack())


URL, NAME = (b"1 URL", b"https://example.org/88.118/ABC"), (b"2 NAME", "水杯".encode())


@pytest.mark.parametrize(
    ("texts", "index"),
    [((URL, (b"2 NAME", b"x")), 2), ((URL,), 2), ((URL, NAME, (b"3 MORE", b"")), 3), (((b"1 URI", URL[1]), NAME), 1)],
    ids=["changed", "missing", "added", "another type"],
)
async def test_a_value_that_is_not_what_was_signed(tree: HandleTree, texts: tuple[tuple[bytes, ...], ...], index: int) -> None:
    found = await compare(tree, lambda query: [records(query, *texts)])
    assert (found.verdict.verified, found.verdict.reason) == (False, Reason.CHANGED_VALUE)
    assert f"of value {index} is not" in found.verdict.text
    assert told(await compare(tree, lambda query: [records(query, URL, NAME)])) == "verified"


async def test_a_text_that_is_no_value(tree: HandleTree) -> None:
    found = await compare(tree, lambda query: [records(query, URL, NAME, (b"v=spf1 -all",))])
    assert (found.verdict.verified, found.verdict.reason) == (False, "bad-answer")
    assert "must be an index" in found.verdict.text
