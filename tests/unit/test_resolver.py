"""The resolver over scripted servers: what is shared, what is bounded, what is known without waiting."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from resolver.core.errors import OverloadError, UnreachableError
from resolver.core.exchange import TCP, Told
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.message import Answer, Failed, NotFound, Query, Referral, Refused
from resolver.core.trust import Reason
from resolver.resolution import Resolution, Resolver
from tests.support.scripted import Script, ScriptedClient, told, tree

ABC = Query(Identifier.parse("88.118/ABC"))


def resolver(script: Script, **bounds: object) -> tuple[Resolver, ScriptedClient]:
    client = ScriptedClient(script)
    return Resolver(script.world.anchor, Limits(bounds), client, lambda: script.now), client


async def turns(count: int = 20) -> None:
    """Lets everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def in_time(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, 10)


async def test_nothing_is_known_until_it_was_resolved() -> None:
    script = tree()
    ours, client = resolver(script)
    assert ours.known(ABC) is None
    found = await ours.resolve(ABC)
    assert told(found) == "verified"
    known = ours.known(ABC)
    assert isinstance(known, Answer)
    assert isinstance(found.outcome, Answer)
    assert known.record == found.outcome.record
    assert ours.known(ABC._replace(types=("URL",))) == known, "the door selects"
    assert ours.known(ABC._replace(authoritative=True)) is None
    script.passes(86_401)
    assert ours.known(ABC) is None
    assert client.recursive == {False}, "servers on the way are not asked to recurse"


async def test_a_negative_answer_is_known_too() -> None:
    ours, _ = resolver(tree())
    missing = Query(Identifier.parse("88.118/NONE"))
    await ours.resolve(missing)
    assert ours.known(missing) == NotFound("88.118", authoritative=False)


async def test_equal_questions_share_one_walk() -> None:
    ours, client = resolver(tree())
    client.gate.clear()
    waiting = [asyncio.create_task(ours.resolve(ABC._replace(indexes=(n,)))) for n in range(100)]
    await turns()
    client.gate.set()
    found = await in_time(asyncio.gather(*waiting))
    assert len(client.asked) == 4
    assert {told(each) for each in found} == {"verified"}


async def test_different_questions_share_the_way_down() -> None:
    script = tree()
    ours, client = resolver(script)
    queries = [Query(Identifier.parse(f"88.118/{name}")) for name in ("ABC", "DEF", "N1", "N2", "N3")]
    found = await in_time(asyncio.gather(*map(ours.resolve, queries)))
    assert [told(each) for each in found] == ["verified"] * 2 + ["no-such-identifier"] * 3
    assert sorted(client.asked) == sorted(
        ["udp 1000 0.0/0.0", "udp 1000 0.NA/88", "udp 1088 0.NA/88.118", *(f"udp 1118 {q.identifier}" for q in queries)]
    )


async def test_who_asked_first_may_go_away() -> None:
    ours, client = resolver(tree())
    client.gate.clear()
    first, second = asyncio.create_task(ours.resolve(ABC)), asyncio.create_task(ours.resolve(ABC))
    await turns()
    first.cancel()
    await turns()
    client.gate.set()
    assert told(await in_time(second)) == "verified"
    assert first.cancelled()


async def test_waiters_are_bounded_and_told_busy_at_once() -> None:
    ours, client = resolver(tree(), recursion_waiters=3)
    client.gate.clear()
    waiting = [asyncio.create_task(ours.resolve(ABC)) for _ in range(3)]
    await turns()
    assert told(await in_time(ours.resolve(ABC))) == OverloadError
    waiting[0].cancel()
    await turns()
    waiting.append(asyncio.create_task(ours.resolve(ABC)))
    await turns()
    client.gate.set()
    assert [told(each) for each in await in_time(asyncio.gather(*waiting[1:]))] == ["verified"] * 3


async def test_walks_are_bounded_and_told_busy_at_once() -> None:
    script = tree()
    ours, client = resolver(script, recursion_walks=2)
    client.gate.clear()
    waiting = [asyncio.create_task(ours.resolve(Query(Identifier.parse(f"88.118/{n}")))) for n in range(2)]
    await turns()
    assert told(await in_time(ours.resolve(ABC))) == OverloadError
    found = await in_time(ours.verify(ABC.identifier, script.world.values("88.118/ABC")))
    assert isinstance(found.outcome, Failed)
    assert found.outcome.error.handle_code == 3
    client.gate.set()
    await in_time(asyncio.gather(*waiting))
    assert told(await in_time(ours.resolve(ABC))) == "verified", "the places are free again"


async def test_close_ends_what_is_under_way() -> None:
    ours, client = resolver(tree())
    client.gate.clear()
    waiting = asyncio.create_task(ours.resolve(ABC))
    await turns()
    await in_time(ours.close())
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_walk_that_is_spared_asks_nobody() -> None:
    """Everything down: the first question finds out, the next ones are told without a request."""
    script = tree()
    script.down(1118)
    ours, client = resolver(script, exchange_tries=1)
    assert told(await in_time(ours.resolve(ABC))) == UnreachableError
    before = len(client.asked)
    for number in range(20):
        assert told(await in_time(ours.resolve(Query(Identifier.parse(f"88.118/{number}"))))) == UnreachableError
    assert len(client.asked) == before


# ---- verify and resolve_at


async def test_verify_says_what_is_wrong_with_a_record() -> None:
    script = tree()
    ours, _ = resolver(script)
    values = script.world.values("88.118/ABC")
    assert told(await ours.verify(ABC.identifier, values)) == "verified"
    assert told(await ours.verify(ABC.identifier, values[1:])) == Reason.MISSING_VALUE
    assert told(await ours.verify(Identifier.parse("88.118/DEF"), values)) == Reason.WRONG_SCOPE
    script.passes(31 * 86_400)
    assert told(await ours.verify(ABC.identifier, values)) == Reason.EXPIRED


async def ask_at(script: Script, port: int, name: str = "88.118/ABC") -> tuple[Resolution, list[str], set[bool]]:
    ours, client = resolver(script)
    found = await in_time(ours.resolve_at(Identifier.parse(name), ("127.0.0.1", port)))
    return found, client.asked, client.recursive


async def test_one_server_is_asked_and_the_chain_fetched_where_it_is() -> None:
    found, asked, recursive = await ask_at(tree(), 1118)
    assert told(found) == "verified"
    assert asked[0] == "udp 1118 88.118/ABC"
    assert recursive == {True, False}, "the one server may recurse, those on the way need not"
    assert len(found.chain) == 4
    assert found.steps[0].asked == "88.118/ABC"


async def test_a_referral_of_that_server_is_told_once_it_is_verified() -> None:
    found, _, _ = await ask_at(tree(), 1000)
    assert isinstance(found.outcome, Referral)
    assert found.outcome.prefix == "88"
    assert found.verdict.verified
    forged = tree()
    forged.says(1000, "88.118/ABC", lambda true: true._replace(values=true.values[1:]))
    found, _, _ = await ask_at(forged, 1000)
    assert told(found) == Reason.MISSING_VALUE
    sideways = tree()
    sideways.world.delegate("91")
    sideways.says(1000, "88.118/ABC", Told(303, Identifier.parse("0.NA/91"), sideways.world.values("0.NA/91")))
    found, _, _ = await ask_at(sideways, 1000)
    assert isinstance(found.outcome, Failed)
    assert "sideways" in found.verdict.text


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        (Told(100, text="it never was"), NotFound, "no-such-identifier"),
        (Told(301, text="not homed here"), Refused, "unreachable"),
        (Told(302), Failed, "unreachable"),
        (Told(5, text="not supported"), Failed, "unreachable"),
        (Told(200, ABC.identifier), Failed, "no-signature"),
        (Told(1, Identifier.parse("88.118/DEF")), Failed, "unreachable"),
        (Told(1, ABC.identifier), Failed, "no-signature"),
    ],
)
async def test_what_one_server_may_say_otherwise(said: Told, outcome: type, reason: str) -> None:
    script = tree()
    script.says(1118, "88.118/ABC", said)
    found, _, _ = await ask_at(script, 1118)
    assert isinstance(found.outcome, outcome)
    assert (found.verdict.verified, found.verdict.reason) == (False, reason)
    assert said.text in found.verdict.text


async def test_a_silent_server_is_asked_over_tcp_too() -> None:
    script = tree()
    script.down(1118)
    found, asked, _ = await ask_at(script, 1118)
    assert told(found) == UnreachableError
    assert asked == ["udp 1118 88.118/ABC", f"{TCP} 1118 88.118/ABC"]
    assert len(found.steps) == 2


async def test_what_is_too_long_for_datagrams_is_asked_for_over_tcp() -> None:
    script = tree()
    too_long = Told(2, text="the answer has 100000 octets; at most 62976 can be sent this way: ask over TCP")
    said = [too_long, Told(2, text="broken")]
    script.says(1118, "88.118/ABC", lambda true: said.pop(0) if said else true)
    found, asked, _ = await ask_at(script, 1118)
    assert asked == ["udp 1118 88.118/ABC", f"{TCP} 1118 88.118/ABC"]
    assert told(found) == UnreachableError
    assert "broken" in found.verdict.text
    said.append(too_long)
    found, _, _ = await ask_at(script, 1118)
    assert told(found) == "verified"
