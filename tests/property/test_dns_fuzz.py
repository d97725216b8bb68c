"""Any octets at the DNS decoders and at the door: a refusal or an answer, never another exception, never much work."""

import random
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.record import Value
from resolver.core.wire import dns
from resolver.core.wire.dns_answer import answer_to, read_answer
from resolver.core.wire.stored import encode_stored
from resolver.core.wire.txt import read_txt, shown
from resolver.doors.dns import DnsDoor
from tests.support.dns import SOURCE, closing_tables, node, query
from tests.support.world import World

NAMES = ["abc.118.88", "ABC.118.88", "_sig.abc.118.88", "_41.118.88", "_h" + "0" * 52 + ".118.88", "118.88", "8.118.88",
         "x.8.118.88", "_ns.118.88", "", "0.0", "88_2e118_2e8.na.0", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "x" * 63]  # fmt: skip
TYPES = ["TXT", "URI", "ANY", "SOA", "NS", "DS", "A", "AAAA", "AXFR"]
LOOKUPS_MAX = 64  # in the table, for one packet: two for each label of a prefix, and some


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    with closing_tables():
        yield


@pytest.fixture(scope="module")
def world() -> World:
    world = World(now=1_799_999_000)
    for prefix in ("88", "88.118", "88.118.8"):
        world.delegate(prefix)
    world.put("88.118/abc", Value(1, "URL", b"https://example.org/"), Value(2, "LONG", b"x" * 700))
    world.put("88.118/A", Value(1, "NAME", b"a"))
    return world


@pytest.fixture(scope="module")
def door(world: World, tmp_path_factory: pytest.TempPathFactory) -> DnsDoor:
    return DnsDoor(node(world.publish(["88", "88.118"], tmp_path_factory.mktemp("table") / "table")))


@pytest.fixture(scope="module")
def queries() -> list[bytes]:
    cookie = struct.pack(">HHHQ", 12, 10, 8, 1)
    found = [query(name, type_, edns=edns) for name in NAMES for type_ in TYPES for edns in (None, 1232)]
    return found + [packet[:-2] + cookie for packet in found[1::2]]


def mutated(packet: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """`packet` with a few of the faults that a broken or hostile peer makes."""
    octets = bytearray(packet)
    for _ in range(dice.choice((1, 1, 2, 4))):
        place = dice.randrange(len(octets)) if octets else 0
        match dice.randrange(8):
            case 0 if octets:
                octets[place] ^= 1 << dice.randrange(8)
            case 1 if octets:
                octets[place] = dice.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF))
            case 2:
                del octets[place:]
            case 3:
                octets[place:place] = dice.randbytes(dice.choice((1, 2, 11, 300)))
            case 4:
                octets[place : place + 2] = struct.pack(">H", 0xC000 | dice.choice((0, 12, place, dice.randrange(0x4000))))
            case 5:
                octets += dice.choice(others)[dice.randrange(12, 40) :]
            case 6:
                octets[4:12] = struct.pack(">HHHH", *[dice.choice((0, 0, 1, 1, 2, 65_535)) for _ in range(4)])
            case _:
                del octets[place : place + dice.randrange(20)]
    return bytes(octets)


def refused_or_read(decode: Callable[[], object]) -> bool:
    try:
        decode()
    except FormatError:
        return False
    return True


def test_mutated_queries_at_the_decoder(queries: list[bytes]) -> None:
    dice = random.Random(1)
    read = 0
    for _ in range(40_000):
        packet = mutated(dice.choice(queries), dice, queries)
        read += refused_or_read(lambda packet=packet: dns.decode_query(packet, 1232))  # type: ignore[misc]
    assert 2000 < read < 38_000


def test_mutated_queries_at_the_door(door: DnsDoor, queries: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over UDP and TCP. Every reply is small and has the query's id, and no packet causes many lookups."""
    table = door.desk.table
    assert table is not None
    lookups = 0

    def counted(plain: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object) -> object:
            nonlocal lookups
            lookups += 1
            return plain(*arguments)

        return counting

    for name in ("get", "is_homed", "has_prefixes_below", "unhashed"):
        monkeypatch.setattr(table, name, counted(getattr(table, name)))
    dice = random.Random(2)
    answered = 0
    for number in range(48_000):
        packet = mutated(dice.choice(queries), dice, queries)
        lookups = 0
        if number % 3:
            reply = door.answer_datagram(packet, SOURCE, 1.8e9)
            longest = 1232
        else:
            framed = struct.pack(">H", len(packet)) + packet
            refused_or_read(lambda framed=framed: door.message_octets(framed))  # type: ignore[misc]
            reply = door.answer_stream(framed, SOURCE, 1.8e9)
            reply, longest = reply[2:] if isinstance(reply, bytes) else reply, 65_535
        assert lookups <= LOOKUPS_MAX
        assert reply is None or isinstance(reply, bytes)
        assert (reply is None) == (len(packet) < 12 or packet[2] >= 0x80)
        if reply is not None:
            assert reply[:2] == packet[:2]
            assert 12 <= len(reply) <= longest
            answered += reply[3] & 0x0F != dns.FORMERR
            if reply[5]:
                read_answer(reply)
    assert 2000 < answered < 46_000


def test_mutated_answers_at_the_reader(door: DnsDoor, queries: list[bytes]) -> None:
    replies = [reply for packet in queries if isinstance(reply := door.answer_datagram(packet, SOURCE, 1.8e9), bytes)]
    dice = random.Random(3)
    read = 0
    for _ in range(30_000):
        octets = mutated(dice.choice(replies), dice, replies)

        def everything(octets: bytes = octets) -> None:
            for record in read_answer(octets).records:
                if record.type == dns.TXT:
                    read_txt(record.rdata, record.ttl)

        read += refused_or_read(everything)
    assert 1000 < read < 29_000


def test_mutated_values_at_the_encoder(world: World) -> None:
    whole = [encode_stored(record)[94:] for record in world.records.values()]
    dice = random.Random(4)
    read = 0
    for _ in range(12_000):
        octets = mutated(dice.choice(whole), dice, whole)
        read += refused_or_read(lambda octets=octets: shown(octets, 0, 0))  # type: ignore[misc]
    assert 200 < read < 11_800


@settings(max_examples=800, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda tail: query("abc.118.88")[:12] + tail)))
def test_any_octets(octets: bytes) -> None:
    for decode in (
        lambda: dns.decode_query(octets, 1232),
        lambda: read_answer(octets),
        lambda: answer_to(query("abc.118.88"), octets),
        lambda: read_txt(octets, 1),
        lambda: shown(octets, 0, 0),
    ):
        refused_or_read(decode)


def test_a_query_that_claims_many_questions_is_refused_by_its_header(door: DnsDoor) -> None:
    """163 questions that all point to one long name cost dnslib 20 ms; here the header ends it."""
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    packet = struct.pack(">HHHHHH", 1, 0, 163, 0, 0, 0) + name + b"\0\x10\0\1" + b"\xc0\x0c\0\x10\0\1" * 162
    assert len(packet) <= 1243
    reply = door.answer_datagram(packet[:1232], SOURCE, 0.0)
    assert isinstance(reply, bytes)
    assert (len(reply), reply[3] & 0x0F) == (12, dns.FORMERR)


def test_an_answer_that_repeats_one_long_name_is_given_up() -> None:
    name = b"\1a" * 120 + b"\0"
    head = struct.pack(">HHHHHH", 1, 0x8000, 1, 5000, 0, 0)
    octets = head + name + b"\0\x10\0\1" + b"\xc0\x0c\0\x10\0\1\0\0\0\0\0\0" * 5000
    with pytest.raises(LimitError, match=f"more than {limits.dns_answer_labels.default} labels"):
        read_answer(octets)


def test_a_chain_of_pointers_is_given_up() -> None:
    """Each pointer of the chain leads to the one before it, all of them in the data of the first record."""
    head = struct.pack(">HHHHHH", 1, 0x8000, 1, 2, 0, 0) + b"\0\0\x10\0\1"
    start = len(head) + 11
    for length, error in ((31, None), (32, "pointers"), (60, "pointers")):
        targets = [start, *range(start + 1, start + 1 + 2 * length, 2)]
        chain = b"\0" + b"".join(struct.pack(">H", 0xC000 | target) for target in targets[:-1])
        first = b"\0" + struct.pack(">HHIH", 16, 1, 0, len(chain)) + chain
        octets = head + first + struct.pack(">H", 0xC000 | targets[-1]) + struct.pack(">HHIH", 16, 1, 0, 0)
        if error is None:
            assert [record.owner for record in read_answer(octets).records] == [(), ()]
        else:
            with pytest.raises(LimitError, match=error):
                read_answer(octets)


def test_pointers_lead_backward() -> None:
    for target in (17, 18, 4000):
        with pytest.raises(FormatError, match="a pointer backward"):
            read_answer(struct.pack(">HHHHHH", 1, 0x8000, 1, 1, 0, 0) + b"\0\0\x10\0\1" + struct.pack(">H", 0xC000 | target))


def test_pointers_in_a_circle() -> None:
    """The second record's owner points into the first one's data, where a pointer leads to itself."""
    head = struct.pack(">HHHHHH", 1, 0x8000, 1, 2, 0, 0) + b"\0\0\x10\0\1"
    at = len(head) + 11
    first = b"\0" + struct.pack(">HHIH", 16, 1, 0, 2) + struct.pack(">H", 0xC000 | at)
    with pytest.raises(FormatError, match="a pointer backward"):
        read_answer(head + first + struct.pack(">H", 0xC000 | at) + struct.pack(">HHIH", 16, 1, 0, 0))
