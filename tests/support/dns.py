"""The DNS door without a node around it: a desk, questions by dnslib, answers read by dnslib, real sockets where they matter."""

import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import dnslib

from resolver.config import NodeConfig
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.owner import owner_labels
from resolver.core.record import Value
from resolver.desk import Desk, Recursion
from resolver.doors.dns import DnsDoor
from resolver.metrics import Metrics
from resolver.server.message_connection import message_server
from resolver.server.udp import DatagramServer
from resolver.table import Table
from tests.support.sockets import pair
from tests.support.world import World, site

APEX = "id.test"
SOURCE = ("127.0.0.1", 5353)
LONG_SUFFIX = "漆器" * 20  # its label is a hash
PRIVATE = 0x0C  # permissions: administrators only

_opened: list[Table] = []


class NoRecursion:
    """In place of the walk, at a node that answers from its table: nobody may call it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the DNS door asked for recursion ({name})")


def node(table: Path | None, recursion: Any = None, clock: Callable[[], float] = time.time, **settings: Any) -> Desk:
    """The desk of a node with the table at `table`. `settings` replace what its NODE.toml would say."""
    bounds = Limits(settings.pop("bounds", None))
    config = NodeConfig(
        path=Path("NODE.toml"),
        name="test",
        role="recursive" if table is None else "secondary",
        listen="127.0.0.1",
        handle_port=2641,
        dns_port=53,
        http_port=8000,
        workers=1,
        public_address="192.0.2.53",
        table=table,
        anchor=Path("anchor.json"),
        apex=tuple(APEX.encode().split(b".")),
        name_server=None,
        hostmaster=f"hostmaster.{APEX}",
        limits=bounds,
    )._replace(**settings)
    walk: Recursion = recursion or NoRecursion()
    reader = None if table is None else Table(table)
    if reader is not None:
        _opened.append(reader)
    return Desk(config, site(2641), reader, walk, Metrics(), clock)


@contextmanager
def closing_tables() -> Iterator[None]:
    """Closes the tables that `node` opens meanwhile: each reserves so much address space that a process cannot hold many."""
    before = len(_opened)
    try:
        yield
    finally:
        while len(_opened) > before:
            _opened.pop().close()


def small_tree() -> World:
    """88, 88.118 with records of every kind, 88.118.8 to be delegated, 88.118.5 to be hosted by 88.118."""
    world = World()
    for prefix, address in (("88", "192.0.2.1"), ("88.118", "192.0.2.2"), ("88.118.8", "192.0.2.3"), ("88.118.5", "192.0.2.2")):
        world.delegate(prefix, address=address)
    url = Value(1, "URL", b"https://example.org/a")
    world.put("88.118/ABC", url, Value(2, "NAME", "搪瓷杯".encode()), Value(3, "SECRET", b"x", permissions=PRIVATE))
    world.put("88.118/two", url, Value(2, "url", b"https://example.org/b"))
    world.put("88.118/private", Value(1, "SECRET", b"x", permissions=PRIVATE))
    world.put("88.118/long", Value(1, "TEXT", bytes(range(256)) * 3))
    world.put("88.118/fold", Value(1, "TEXT", b"x" * 1020))
    world.put("88.118/empty", Value(1, "TEXT", b""))
    world.put("88.118/bare", Value(1, "NAME", b"a cup"))
    world.put(f"88.118/{LONG_SUFFIX}", Value(1, "NAME", b"lacquer"))
    world.put("88.118/gone", url)
    world.delete("88.118/gone")
    world.put("88.118/envelope", url, Value(400, "HS_SIGNATURE", b"e.f.g"))
    world.put("88.118.5/hosted", url)
    world.put("88.118/many", *[Value(index, "TEXT", b"x" * 250) for index in range(1, 200)])
    world.put("88.118/mixed", Value(1, "A", b"x", ttl=600), Value(2, "B", b"y", ttl=60))
    return world


def name_of(identifier: str) -> str:
    """The owner name of an identifier, below the apex."""
    return b".".join(owner_labels(Identifier.parse(identifier))).decode()


def query(name: str, type_: str = "TXT", *, edns: int | None = 1232, recursive: bool = True, id_: int = 4711) -> bytes:
    """A query as dnslib writes it, for `name` below the apex. `edns` is the payload size, None for a query without EDNS."""
    whole = f"{name}.{APEX}" if name else APEX
    record = dnslib.DNSRecord(
        dnslib.DNSHeader(id=id_, rd=int(recursive)), q=dnslib.DNSQuestion(whole, getattr(dnslib.QTYPE, type_))
    )
    if edns is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(record.pack())


def ask(door: DnsDoor, name: str, type_: str = "TXT", now: float | None = None, **how: Any) -> dnslib.DNSRecord:
    """The door's answer to one datagram, which must come at once, read by dnslib."""
    reply = door.answer_datagram(query(name, type_, **how), SOURCE, time.time() if now is None else now)
    assert isinstance(reply, bytes)
    return dnslib.DNSRecord.parse(reply)


def ask_stream(door: DnsDoor, name: str, type_: str = "TXT", **how: Any) -> dnslib.DNSRecord:
    """As `ask`, as a message of a stream, framed by its length."""
    packet = query(name, type_, **how)
    reply = door.answer_stream(struct.pack(">H", len(packet)) + packet, SOURCE, time.time())
    assert isinstance(reply, bytes)
    assert struct.unpack(">H", reply[:2])[0] == len(reply) - 2
    return dnslib.DNSRecord.parse(reply[2:])


def rcode(record: dnslib.DNSRecord) -> str:
    """The response code by name, its upper bits from OPT included."""
    upper = sum(rr.edns_rcode for rr in record.ar if isinstance(rr, dnslib.EDNS0) or rr.rtype == dnslib.QTYPE.OPT)
    return "BADVERS" if upper else str(dnslib.RCODE.get(record.header.rcode))


def texts(record: dnslib.DNSRecord) -> list[tuple[str, bytes]]:
    """First string and the joined others of every TXT record in the answer section."""
    return [(rr.rdata.data[0].decode(), b"".join(rr.rdata.data[1:])) for rr in record.rr if rr.rtype == dnslib.QTYPE.TXT]


def extended_error(record: dnslib.DNSRecord) -> tuple[int, str] | None:
    """Code and sentence of the extended error (RFC 8914)."""
    for rr in record.ar:
        if rr.rtype == dnslib.QTYPE.OPT:
            for option in rr.rdata:
                if option.code == 15:
                    return int.from_bytes(option.data[:2], "big"), option.data[2:].decode()
    return None


def authority(record: dnslib.DNSRecord) -> tuple[str, str]:
    """Owner name and type of the one record in the authority section."""
    (rr,) = record.auth
    return str(rr.rname), str(dnslib.QTYPE.get(rr.rtype))


@asynccontextmanager
async def served(door: DnsDoor) -> AsyncIterator[int]:
    """The door on real sockets, UDP and TCP on one port of 127.0.0.1, which it yields."""
    metrics, bounds = door.desk.metrics, door.desk.config.limits
    datagrams, stream = pair()
    servers = (
        DatagramServer(datagrams, "dns-udp", door.answer_datagram, metrics, bounds),
        message_server(stream, "dns-tcp", door, metrics, bounds),
    )
    for server in servers:
        server.start()
    try:
        yield int(stream.getsockname()[1])
    finally:
        for server in servers:
            server.close()
