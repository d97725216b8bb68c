"""The Handle door of a recursive node: answers that must be waited for, and how long they stay ready."""

import inspect
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest

from resolver.core.errors import OverloadError, SignatureError, UnreachableError, WaymarkError
from resolver.core.message import Answer, Failed, NotFound, Outcome, Query, Refused
from resolver.core.record import Value
from resolver.core.trust import Reason
from resolver.core.wire.bodies import decode_resolution_response
from resolver.core.wire.handle import AUTHORITATIVE, QUERY_FLAGS, RECURSIVE, REQUEST_DIGEST, STALE, Code
from resolver.core.wire.stored import Stored, encode_stored, read_stored
from resolver.doors.handle import HandleDoor
from tests.support.dns import NoRecursion, node
from tests.support.handle import SOURCE, Said, ask, read, request
from tests.support.world import World

NOW = 1_800_000_000.0


class Scripted(NoRecursion):
    """In place of the walk: knows `known` at once, and finds `found` when waited for."""

    def __init__(self, found: Outcome | WaymarkError, known: Outcome | None = None) -> None:
        self.found = found
        self.at_once = known
        self.asked: list[Query] = []

    def known(self, query: Query) -> Outcome | None:
        self.asked.append(query)
        return self.at_once

    async def resolve(self, query: Query) -> Any:
        self.asked.append(query)
        if isinstance(self.found, WaymarkError):
            raise self.found
        return SimpleNamespace(outcome=self.found)


@pytest.fixture(name="stored")
def _stored() -> Stored:
    world = World(now=int(NOW))
    record = world.put("88.118/ABC", Value(1, "URL", b"https://example.org/"))
    return read_stored(b"88.118/ABC", encode_stored(record))


def door_of(walk: Scripted) -> HandleDoor:
    return HandleDoor(node(None, walk, lambda: NOW))


async def wait(door: HandleDoor, asked: bytes, *, stream: bool = False) -> Said:
    reply = (door.answer_stream if stream else door.answer_datagram)(asked, SOURCE, NOW)
    assert isinstance(reply, Awaitable)
    return read(await reply, asked)


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_that_is_waited_for(stored: Stored, stream: bool) -> None:
    door = door_of(Scripted(Answer(stored, authoritative=False, ttl_limit=60)))
    asked = request("88.118/abc", flags=QUERY_FLAGS | REQUEST_DIGEST)
    said = await wait(door, asked, stream=stream)
    assert said.code == Code.SUCCESS
    assert not said.message.flags & AUTHORITATIVE
    answer = decode_resolution_response(said.body)
    assert answer.name == b"88.118/abc"
    assert [value.index for value in answer.values] == [1, 402]
    again = request("88.118/abc", flags=QUERY_FLAGS | REQUEST_DIGEST, expires=5, request_id=8)
    assert ask(door, again, stream=stream, now=NOW).body == said.body, "ready now"


async def test_ready_answer_ends_with_the_ttl_that_is_left(stored: Stored) -> None:
    walk = Scripted(Answer(stored, authoritative=False, ttl_limit=60))
    door = door_of(walk)
    await wait(door, request("88.118/ABC"))
    assert ask(door, request("88.118/ABC"), now=NOW + 60).code == Code.SUCCESS
    later = door.answer_datagram(request("88.118/ABC"), SOURCE, NOW + 61)
    assert inspect.iscoroutine(later)
    later.close()


async def test_stale_answer_is_marked_and_not_kept(stored: Stored) -> None:
    door = door_of(Scripted(Refused(), Answer(stored, authoritative=False, stale=True, ttl_limit=30)))
    said = ask(door, request("88.118/ABC"))
    assert (said.code, said.message.flags & STALE) == (Code.SUCCESS, STALE)
    assert len(door.cache) == 0
    fresh = ask(door_of(Scripted(Refused(), Answer(stored, authoritative=False, ttl_limit=30))), request("88.118/ABC"))
    assert not fresh.message.flags & STALE


async def test_who_wants_no_cached_answer_gets_none(stored: Stored) -> None:
    walk = Scripted(Answer(stored, authoritative=False, ttl_limit=60))
    door = door_of(walk)
    for _ in range(2):
        said = await wait(door, request("88.118/ABC", flags=QUERY_FLAGS | AUTHORITATIVE))
        assert not said.message.flags & AUTHORITATIVE, "this server is none"
    assert all(query.authoritative for query in walk.asked)
    assert len(door.cache) == 0


async def test_whether_others_may_be_asked_is_passed_on(stored: Stored) -> None:
    walk = Scripted(Refused(), Answer(stored, authoritative=False))
    door = door_of(walk)
    ask(door, request("88.118/ABC"))
    ask(door, request("88.118/ABC", flags=QUERY_FLAGS & ~RECURSIVE))
    assert [query.recursive for query in walk.asked] == [True, False]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (NotFound("88.118", authoritative=False), Code.NOT_FOUND),
        (Refused("nobody serves it"), Code.NOT_RESPONSIBLE),
        (Failed(UnreachableError("88.118: no server answered")), Code.ERROR),
        (Failed(OverloadError("too many walks")), Code.TOO_BUSY),
        (SignatureError(Reason.CHANGED_VALUE, "value 1 is not what was signed"), Code.ERROR),
        (OverloadError("too many walks"), Code.TOO_BUSY),
    ],
)
async def test_outcome_that_is_no_answer(found: Outcome | WaymarkError, code: int) -> None:
    said = await wait(door_of(Scripted(found)), request("88.118/ABC"))
    assert said.code == code
    assert said.text
    assert not said.message.flags & AUTHORITATIVE
