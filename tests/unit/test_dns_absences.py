"""The short way to "no such name": says what the long way says, and only where that would say it."""

import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest

from resolver.core import limits
from resolver.core.record import Value
from resolver.core.wire.stored import encode_stored
from resolver.doors.dns import DnsDoor
from resolver.table import Change, TableWriter
from tests.support.dns import SOURCE, ask, closing_tables, node, query, small_tree


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    with closing_tables():
        yield


def test_both_ways_say_the_same(tmp_path: Path) -> None:
    """Whatever the name, its spelling, type, class, flags and EDNS: a door that has said "no" before answers as a new one does."""
    dice = random.Random(88)
    desk = node(small_tree().publish(["88.118", "88.118.5"], tmp_path / "table"))
    warm = DnsDoor(desk)
    labels = ["bare", "none", "NONE", "_41", "_4", "_sig", "_ns", "-x", "x" * 61, "8", "7", "_h" + "0" * 52, "a" * 20, "b" * 20]
    short = 0
    for number in range(1200):
        zone = dice.choice(["118.88", "5.118.88", "8.118.88", "9.118.88", "88", "118.88", "5.118.88"])
        label = dice.choice([*labels, f"n{number}", f"N{number}"])
        packet = query(
            f"{label}.{zone}", dice.choice(["TXT", "URI", "A", "NS", "ANY"]), edns=dice.choice([None, 512, 1232, 1232, 4096])
        )
        packet = struct.pack(">HH", number, dice.choice([0, 0x100, 0x110])) + packet[4:]
        now = time.time()
        misses = len(warm._absences)
        reply = warm.answer_datagram(packet, SOURCE, now)
        assert reply == DnsDoor(desk).answer_datagram(packet, SOURCE, now), packet
        short += isinstance(reply, bytes) and reply[3] & 0x0F == 3 and len(warm._absences) == misses
    assert short > 80, "the short way was hardly taken"


def test_a_name_that_comes_to_be_is_found_at_once(tmp_path: Path) -> None:
    world = small_tree()
    path = world.publish("88.118.8", tmp_path / "table")
    writer = TableWriter(path)
    desk = node(path)
    door = DnsDoor(desk)
    assert desk.table is not None
    for name in ("first.8.118.88", "second.8.118.88", "third.8.118.88"):
        assert ask(door, name).header.rcode == 3
    assert door._absences
    record = world.put("88.118.8/second", Value(1, "URL", b"https://example.org/"))
    writer.apply([Change(desk.table.serial + 1, record.identifier.key, encode_stored(record))])
    door.forget(desk.table.refresh())
    assert ask(door, "second.8.118.88").header.rcode == 0
    assert ask(door, "third.8.118.88").header.rcode == 3
    writer.close()


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    door = DnsDoor(node(small_tree().publish("88.118.8", tmp_path / "table")))
    most = limits.dns_zones_ready.default
    for edns in range(512, 512 + most + 100):
        door.answer_datagram(query("none.8.118.88", edns=edns), SOURCE, time.time())
        assert len(door._absences) <= most
    assert len(door._absences) == 100
    cookie = dnslib.DNSRecord.parse(query("none.8.118.88"))
    cookie.ar = [dnslib.EDNS0(udp_len=1232, opts=[dnslib.EDNSOption(10, bytes(8))])]
    door.answer_datagram(bytes(cookie.pack()), SOURCE, time.time())
    assert len(door._absences) == 100, "a shape that will not come again is not kept"
