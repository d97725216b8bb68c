"""The DNS door as a server among others: manners, truncation, malformed packets, TTLs, and what is kept ready."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest

from resolver.core import limits
from resolver.core.errors import FormatError
from resolver.core.record import TTL_ABSOLUTE, Value
from resolver.core.wire.stored import encode_stored
from resolver.doors.dns import DnsDoor
from resolver.metrics import cell
from resolver.table import Change, TableWriter
from tests.support.dns import (
    APEX,
    SOURCE,
    ask,
    ask_stream,
    authority,
    closing_tables,
    extended_error,
    node,
    query,
    rcode,
    small_tree,
    texts,
)
from tests.support.world import World


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    with closing_tables():
        yield


@pytest.fixture(scope="module")
def world() -> World:
    return small_tree()


@pytest.fixture(scope="module")
def secondary(world: World, tmp_path_factory: pytest.TempPathFactory) -> DnsDoor:
    """The node of 88.118, which hosts 88.118.5 and has delegated 88.118.8."""
    return DnsDoor(node(world.publish(["88.118", "88.118.5"], tmp_path_factory.mktemp("secondary") / "table")))


class TestManners:
    def test_the_askers_spelling_is_echoed_whoever_asked_first(self, secondary: DnsDoor) -> None:
        for spelling in ("bare.118.88", "BaRe.118.88", "bArE.118.88"):
            answer = ask(secondary, spelling)
            assert str(answer.q.qname) == f"{spelling}.{APEX}."
            assert texts(answer) == [("1 NAME", b"a cup")]

    def test_only_the_name_is_folded_in_a_ready_answer(self, secondary: DnsDoor) -> None:
        """Types 0x0041 and 0x0061, and so the payload sizes of EDNS, differ by what is a letter's case in a name."""
        name = query("bare.118.88", edns=None)[:-4]
        replies = [
            secondary.answer_datagram(name + struct.pack(">HH", type_, 1), SOURCE, time.time()) for type_ in (0x41, 0x61, 16)
        ]
        counts = [struct.unpack(">H", reply[6:8])[0] for reply in replies if isinstance(reply, bytes)]
        assert counts == [0, 0, 1]
        replies = [secondary.answer_datagram(query("fold.118.88", edns=edns), SOURCE, time.time()) for edns in (0x0461, 0x0441)]
        assert [bool(reply[2] & 0x02) for reply in replies if isinstance(reply, bytes)] == [False, True]

    def test_id_rd_and_cd_are_echoed_and_nothing_else(self, secondary: DnsDoor) -> None:
        for flags, echoed in ((0x0000, 0x8400), (0x0100, 0x8500), (0x0130, 0x8510), (0x06C0, 0x8400)):
            packet = struct.pack(">HH", 0xABCD, flags) + query("bare.118.88")[4:]
            for _ in range(2):
                reply = secondary.answer_datagram(packet, SOURCE, time.time())
                assert isinstance(reply, bytes)
                assert reply[:4] == struct.pack(">HH", 0xABCD, echoed)

    def test_edns_is_answered_with_edns(self, secondary: DnsDoor) -> None:
        assert [rr.rtype for rr in ask(secondary, "bare.118.88", edns=None).ar] == []
        (opt,) = ask(secondary, "bare.118.88").ar
        assert (opt.edns_len, opt.edns_ver, opt.edns_do) == (1232, 0, 0)

    def test_dnssec_ok_is_echoed(self, secondary: DnsDoor) -> None:
        packet = query("bare.118.88")[:-4] + b"\x80\0\0\0"
        reply = secondary.answer_datagram(packet, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert reply[-4:] == b"\x80\0\0\0"

    def test_a_later_version_of_edns(self, secondary: DnsDoor) -> None:
        packet = bytearray(query("bare.118.88"))
        packet[-5] = 1
        reply = secondary.answer_datagram(bytes(packet), SOURCE, time.time())
        assert isinstance(reply, bytes)
        answer = dnslib.DNSRecord.parse(reply)
        assert (rcode(answer), answer.rr, answer.ar[0].edns_ver) == ("BADVERS", [], 0)

    def test_unknown_options_are_ignored_and_share_a_ready_answer(self, world: World, tmp_path: Path) -> None:
        desk = node(world.publish("88.118", tmp_path / "table"))
        door = DnsDoor(desk)
        for number in range(3):
            packet = query("bare.118.88")[:-2] + struct.pack(">HHHQ", 12, 10, 8, number)
            reply = door.answer_datagram(packet, SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert texts(dnslib.DNSRecord.parse(reply)) == [("1 NAME", b"a cup")]
        ask(door, "bare.118.88")
        assert len(door.cache) == 1
        assert desk.metrics.total("cache", "dns-udp", "hit") == 3

    @pytest.mark.parametrize(("edns", "octets_max"), [(None, 512), (100, 512), (600, 600), (4096, 1232)])
    def test_what_does_not_fit_is_asked_for_over_tcp(self, secondary: DnsDoor, edns: int | None, octets_max: int) -> None:
        for _ in range(2):
            packet = query("many.118.88", edns=edns)
            reply = secondary.answer_datagram(packet, SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert len(reply) <= octets_max
            answer = dnslib.DNSRecord.parse(reply)
            assert (bool(answer.header.tc), answer.rr, rcode(answer)) == (True, [], "NOERROR")
        whole = ask_stream(secondary, "many.118.88", edns=edns)
        assert (bool(whole.header.tc), len(whole.rr)) == (False, 199)

    def test_the_longest_datagram_is_that_of_the_asker(self, secondary: DnsDoor) -> None:
        for edns in range(512, 1233, 8):
            reply = secondary.answer_datagram(query("long.118.88", edns=edns), SOURCE, time.time())
            assert isinstance(reply, bytes)
            whole = 12 + len(f"long.118.88.{APEX}") + 2 + 4 + (12 + 7 + 4 + 768) + 11
            assert bool(reply[2] & 0x02) == (whole > edns)
            assert len(reply) == (whole if whole <= edns else 12 + len(f"long.118.88.{APEX}") + 2 + 4 + 11)

    def test_what_does_not_fit_into_dns_at_all(self, tmp_path: Path) -> None:
        world = World()
        world.put("88/big", *[Value(index, "TEXT", b"x" * 40_000) for index in (1, 2)])
        world.put("88/bigger", Value(1, "TEXT", b"x" * 70_000))
        world.put("88/type", Value(1, "T" * 254, b"x"))
        door = DnsDoor(node(world.publish("88", tmp_path / "table")))
        assert ask(door, "big.88").header.tc
        for name, words in (("big", "an answer of 80"), ("bigger", "its 70000 octets"), ("type", "its type of 254")):
            answer = ask_stream(door, f"{name}.88")
            code, sentence = extended_error(answer) or (None, "")
            assert (rcode(answer), answer.rr, code) == ("SERVFAIL", [], 0)
            assert words in sentence
            assert "ask over Handle or HTTP" in sentence


class TestMalformed:
    GOOD = query("bare.118.88")

    @pytest.mark.parametrize("packet", [b"", GOOD[:11], GOOD[:2] + b"\x80" + GOOD[3:]], ids=["empty", "half-header", "response"])
    def test_what_is_no_query_is_dropped(self, secondary: DnsDoor, packet: bytes) -> None:
        assert secondary.answer_datagram(packet, SOURCE, time.time()) is None

    @pytest.mark.parametrize(
        "packet",
        [
            GOOD[:4] + b"\0\0" + GOOD[6:],
            GOOD[:4] + b"\0\2" + GOOD[6:],
            GOOD[:4] + b"\1\1" + GOOD[6:],
            GOOD[:7] + b"\1" + GOOD[8:],
            GOOD[:9] + b"\1" + GOOD[10:],
            GOOD[:11] + b"\2" + GOOD[12:],
            GOOD[:11] + b"\0" + GOOD[12:],
            GOOD[:-1],
            GOOD + b"\0",
            GOOD[:20],
            GOOD[:12] + b"\xc0\x0c" + GOOD[-15:],
            GOOD[:-11] + b"\1a" + GOOD[-11:],
            GOOD[:-10] + b"\0\x10" + GOOD[-8:],
            GOOD[:-2] + b"\0\3\0\1\0",
            GOOD[:-2] + b"\0\5\0\x0a\0\7\0",
            GOOD[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0" + GOOD[-15:],
            GOOD + bytes(2000),
        ],
    )
    def test_formerr(self, secondary: DnsDoor, packet: bytes) -> None:
        reply = secondary.answer_datagram(packet, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert (reply[:2], len(reply), reply[2] & 0x80, reply[3] & 0x0F) == (packet[:2], 12, 0x80, 1)

    @pytest.mark.parametrize("opcode", [1, 2, 4, 5, 15])
    def test_other_opcodes(self, secondary: DnsDoor, opcode: int) -> None:
        packet = self.GOOD[:2] + bytes((opcode << 3,)) + self.GOOD[3:]
        reply = secondary.answer_datagram(packet, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert (reply[2], reply[3] & 0x0F) == (0x80 | opcode << 3, 4)

    def test_stream_framing(self, secondary: DnsDoor) -> None:
        framed = struct.pack(">H", len(self.GOOD)) + self.GOOD
        assert [secondary.message_octets(framed[:length]) for length in (0, 1, 2, 20, len(framed))] == [0, 0, *[len(framed)] * 3]
        assert secondary.message_octets(framed + framed) == len(framed)
        for octets in (0, 11, 1233, 65_535):
            with pytest.raises(FormatError, match=f"DNS message of {octets} octets"):
                secondary.message_octets(struct.pack(">H", octets) + self.GOOD)
        reply = secondary.answer_stream(struct.pack(">H", 65_535) + self.GOOD, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert (reply[:4], reply[5] & 0x0F) == (b"\0\x0c" + self.GOOD[:2], 1)
        assert secondary.answer_stream(b"\0\1a", SOURCE, time.time()) is None

    def test_a_damaged_record_is_a_failure_and_no_exception(self, world: World, tmp_path: Path) -> None:
        table = world.publish("88.118", tmp_path / "table")
        writer = TableWriter(table)
        whole = encode_stored(world.records[b"88.118/bare"])
        writer.apply([Change(10_000, b"88.118/bare", whole[:-3]), Change(10_001, b"88.118/two", whole[:-3] + b"\1\1\1")])
        writer.close()
        door = DnsDoor(node(table))
        for name in ("bare.118.88", "two.118.88", "_sig.bare.118.88"):
            assert rcode(ask(door, name)) == "SERVFAIL"


class TestTimeToLive:
    def door(self, tmp_path: Path, *values: Value, ttl_days: int = 30) -> tuple[World, DnsDoor]:
        world = World(now=1_800_000_000)
        world.put("88/x", *values, ttl_days=ttl_days)
        return world, DnsDoor(node(world.publish("88", tmp_path / "table")))

    def ttl(self, door: DnsDoor, now: float) -> int:
        (rr,) = ask(door, "x.88", now=now).rr
        return int(rr.ttl)

    def test_a_relative_one_is_told_as_it_is_and_does_not_shrink(self, tmp_path: Path) -> None:
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=7200))
        assert [self.ttl(door, world.now + seconds) for seconds in (0, 5, 4000, 86_400)] == [7200] * 4

    def test_none_outlives_the_signature(self, tmp_path: Path) -> None:
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=7200), ttl_days=1)
        end = world.now + 86_400
        for left in (86_400, 8000, 7200, 3600, 100, 64, 63, 2, 1, 0, -5):
            door = DnsDoor(door.desk)
            for later in (0.0, 0.5, 1.0, 3.0, 50.0, 120.0):
                assert 0 <= self.ttl(door, end - left + later) <= max(0, left - later), (
                    f"{left} s left, asked again {later} s later"
                )
        assert 3500 <= self.ttl(DnsDoor(door.desk), end - 3600) <= 3600

    def test_an_absolute_one_shrinks(self, tmp_path: Path) -> None:
        until = 1_800_000_000 + 10_000
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=until, ttl_type=TTL_ABSOLUTE))
        for seconds in (0, 1, 30, 200, 5000, 9_999, 10_000, 11_000):
            left = max(0, until - world.now - seconds)
            assert left - left // 32 - 1 <= self.ttl(door, world.now + seconds) <= left

    def test_dns_knows_no_longer_one_than_68_years(self, tmp_path: Path) -> None:
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=2**32 - 1), ttl_days=28_000)
        assert self.ttl(door, world.now) == 2**31 - 1

    def test_a_referral_ends_with_its_delegation(self, tmp_path: Path) -> None:
        world = World(now=1_800_000_000)
        world.delegate("88")
        door = DnsDoor(node(world.publish("0.NA", tmp_path / "table")))
        for left in (86_400 * 20, 5000, 70, 1, 0):
            for later in (0.0, 0.9, 30.0):
                now = world.now + 30 * 86_400 - left + later
                assert ask(door, "x.88", now=now).auth[0].ttl <= max(0, left - later)


class TestReadyAnswers:
    def test_a_changed_record_is_answered_anew_and_others_stay_ready(self, tmp_path: Path) -> None:
        world = World()
        world.put("88/a", Value(1, "T", b"old"))
        world.put("88/b", Value(1, "T", b"other"))
        table = world.publish("88", tmp_path / "table")
        writer = TableWriter(table)
        desk = node(table)
        door = DnsDoor(desk)
        for name in ("a.88", "b.88", "_sig.a.88"):
            ask(door, name)
        assert len(door.cache) == 3
        record = world.put("88/a", Value(1, "T", b"new"))
        writer.apply([Change(record.serial, b"88/a", encode_stored(record))])
        writer.close()
        assert desk.table is not None
        door.forget(desk.table.refresh())
        assert texts(ask(door, "a.88")) == [("1 T", b"new")]
        assert texts(ask(door, "_sig.a.88"))[0][1] == world.values("88/a")[-1].data
        hits = desk.metrics.cells[cell("cache", "dns-udp", "hit")]
        assert texts(ask(door, "b.88")) == [("1 T", b"other")]
        assert desk.metrics.cells[cell("cache", "dns-udp", "hit")] == hits + 1

    def test_unknown_names_take_no_room(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish("88.118", tmp_path / "table")))
        for number in range(1000):
            assert rcode(ask(door, f"unknown{number}.118.88")) == "NXDOMAIN"
            assert rcode(ask(door, f"x.unknown{number}.118.88")) == "NXDOMAIN"
            assert authority(ask(door, f"x.a{number}.8.118.88"))[1] == "NS"
        assert len(door.cache) == 0
        assert door.cache.octets == 0

    def test_what_is_known_of_zones_is_bounded(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish("88.118", tmp_path / "table")))
        for number in range(limits.dns_zones_ready.default + 100):
            door.answer_datagram(query(f"x.a{number}.8.118.88"), SOURCE, 0.0)
        assert len(door._cuts) + len(door._branches) <= limits.dns_zones_ready.default

    def test_streams_and_datagrams_do_not_share_them(self, secondary: DnsDoor) -> None:
        assert ask(secondary, "many.118.88").header.tc
        assert not ask_stream(secondary, "many.118.88").header.tc
        assert ask(secondary, "many.118.88").header.tc


def test_outcomes_are_counted(world: World, tmp_path: Path) -> None:
    desk = node(world.publish("88.118", tmp_path / "table"))
    door = DnsDoor(desk)
    for name, type_ in (("bare.118.88", "TXT"), ("bare.118.88", "TXT"), ("nope.118.88", "TXT"), ("bare.118.88", "A"),
                        ("x.8.118.88", "TXT"), ("x.89", "TXT")):  # fmt: skip
        ask(door, name, type_)
    ask_stream(door, "bare.118.88")
    door.answer_datagram(b"\0" * 12, SOURCE, 0.0)
    door.answer_datagram(b"", SOURCE, 0.0)
    counted = {
        name: desk.metrics.total("query", "dns-udp", name)
        for name in ("answer", "not-found", "no-data", "referral", "refused", "malformed", "dropped", "failed")
    }
    assert counted == {
        "answer": 2, "not-found": 1, "no-data": 1, "referral": 1, "refused": 1, "malformed": 1, "dropped": 1, "failed": 0,
    }  # fmt: skip
    assert desk.metrics.total("query", "dns-tcp", "answer") == 1
