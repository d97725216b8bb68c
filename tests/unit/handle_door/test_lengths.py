"""Long answers and long requests at the Handle door, and answers that are kept ready."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from resolver.core import limits
from resolver.core.message import Outcome, Query
from resolver.core.record import Value
from resolver.core.wire.fragments import fragment
from resolver.core.wire.handle import (
    QUERY_FLAGS,
    REQUEST_DIGEST,
    Code,
)
from resolver.core.wire.stored import encode_stored
from resolver.doors.handle import HandleDoor
from resolver.table import Change, Table, TableWriter
from tests.support.dns import NoRecursion
from tests.support.handle import NOW, SOURCE, ask, request, table_of, values_of
from tests.support.world import World

URL = Value(1, "URL", b"https://example.org/")

# ---- long answers


def test_datagrams_of_an_answer(world: World, door: HandleDoor) -> None:
    asked = request("88.118/ABC")
    cold = door.answer_datagram(asked, SOURCE, NOW)
    assert isinstance(cold, tuple)
    assert [len(datagram) for datagram in cold[:-1]] == [512] * (len(cold) - 1)
    assert not any(datagram[2] & 0x20 for datagram in cold), "the bit 'truncated' is a client's"
    assert door.answer_datagram(asked, SOURCE, NOW) == cold
    assert isinstance(door.answer_stream(asked, SOURCE, NOW), bytes)


def test_answer_of_too_many_datagrams(world: World, door: HandleDoor) -> None:
    said = ask(door, request("88.118/BIG"))
    assert (said.code, said.datagrams) == (Code.ERROR, 1)
    assert said.text.endswith("ask over TCP")
    assert values_of(door, request("88.118/BIG"), stream=True) == world.values("88.118/BIG")


def test_answer_longer_than_any_message(world: World, doors: Callable[..., HandleDoor]) -> None:
    world.put("88.118/HUGE", *(Value(index, "DATA", bytes(60_000)) for index in range(1, 6)))
    door = doors(world, bounds={"handle_datagrams": 533})
    for stream in (False, True):
        said = ask(door, request("88.118/HUGE"), stream=stream)
        assert said.code == Code.ERROR
        assert said.text.endswith("ask for some of its values, by type or index")
    assert [value.index for value in values_of(door, request("88.118/HUGE", (3,)), stream=True)] == [3]


def test_request_in_datagrams(world: World, door: HandleDoor) -> None:
    types = tuple(b"TYPE%04d" % number for number in range(100))
    asked = request("88.118/ABC", types=(*types, b"URL"), flags=QUERY_FLAGS | REQUEST_DIGEST)
    datagrams = fragment(asked, truncated=True)
    assert len(datagrams) > 2
    for datagram in datagrams[:-1]:
        assert door.answer_datagram(datagram, SOURCE, NOW) is None
    assert door.answer_datagram(datagrams[-1], ("127.0.0.2", 1), NOW) is None, "another source"
    reply = door.answer_datagram(datagrams[-1], SOURCE, NOW)
    assert isinstance(reply, bytes)
    assert reply == door.answer_stream(asked, SOURCE, NOW)


# ---- ready answers


def test_changed_record_is_answered_anew(world: World, tmp_path: Path, doors: Callable[..., HandleDoor]) -> None:
    writer = TableWriter(world.publish("88.118", tmp_path / "table"))
    door = doors(world)
    assert len(values_of(door, request("88.118/ABC"))) == 3
    changed = world.put("88.118/ABC", URL)
    writer.apply([Change(changed.serial, b"88.118/ABC", encode_stored(changed))])
    assert len(values_of(door, request("88.118/ABC"))) == 3
    door.forget(table_of(door).refresh())
    assert len(values_of(door, request("88.118/ABC"))) == 2
    door.forget(None)
    assert len(door.cache) == 0
    writer.close()


def test_ready_answers_age(door: HandleDoor) -> None:
    seconds = limits.answer_cache_seconds.default
    first = ask(door, request("88.118/ABC"), now=NOW).message.expires
    assert ask(door, request("88.118/ABC"), now=NOW + seconds).message.expires == first
    assert ask(door, request("88.118/ABC"), now=NOW + seconds + 1).message.expires == first + seconds + 1


def test_counters(door: HandleDoor) -> None:
    for _ in range(3):
        ask(door, request("88.118/ABC"))
        ask(door, request("88.118/ABC"), stream=True)
    ask(door, request("88.118/NO"))
    ask(door, request("88.118.8/NO"))
    total = door.desk.metrics.total
    assert [total("cache", "handle-udp", event) for event in ("hit", "miss")] == [2, 3]
    assert [total("cache", "handle-tcp", event) for event in ("hit", "miss")] == [2, 1]
    assert [total("query", "handle-udp", outcome) for outcome in ("answer", "not-found", "referral")] == [3, 1, 1]


def test_both_ways_to_a_first_answer_agree(world: World, door: HandleDoor) -> None:
    """The short way and the long way, which is taken when the desk has no table but knows what a table says."""
    long = HandleDoor(dataclasses.replace(door.desk, table=None, recursion=FromTable(table_of(door))))
    for name in world.records:
        for types in ((), (b"URL",), (b"HS_SITE.", b"NONE"), (b"HS_SIGNATURE.ED25519",)):
            asked = request(name, types=types)
            ours, theirs = ask(door, asked, stream=True), ask(long, asked, stream=True)
            assert (ours.code, ours.body) == (theirs.code, theirs.body), name


class FromTable(NoRecursion):
    """In place of a recursion: what a table says."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def known(self, query: Query) -> Outcome | None:
        return self._table.find(query.identifier)
