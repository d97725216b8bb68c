"""The walk, told as scenarios: what is asked, what the servers say, what time does, and what must come of it."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from resolver.core import limits
from resolver.core.errors import FormatError, OverloadError, ReferralError, UnreachableError, WaymarkError
from resolver.core.exchange import Told
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.message import Answer, Failed, NotFound
from resolver.core.record import INDEX_SITE, TYPE_SITE, TYPE_SITE_PREFIX, Value
from resolver.core.referral import Contact
from resolver.core.trust import Reason
from resolver.core.wire.site import encode_site
from tests.support.scripted import Said, Script, told, tree
from tests.support.world import site

DAY = 86_400
THE_WAY = ["udp 1000 0.0/0.0", "udp 1000 0.NA/88", "udp 1088 0.NA/88.118", "udp 1118 88.118/ABC"]


# ---- scenarios: a list of these, one after the other


class Asks(NamedTuple):
    """A question, what comes of it (verified, stale, a reason, or an error's class), and who was asked for it, if that matters."""

    name: str
    expected: str | type[WaymarkError] = "verified"
    asked: list[str] | None = None

    def run(self, script: Script) -> None:
        found = script.walk(self.name)
        assert told(found) == self.expected, found
        if self.asked is not None:
            assert script.asked == self.asked


class Passes(NamedTuple):
    seconds: float

    def run(self, script: Script) -> None:
        script.passes(self.seconds)


class Down(NamedTuple):
    ports: tuple[int, ...]

    def run(self, script: Script) -> None:
        script.down(*self.ports)


class Up(NamedTuple):
    ports: tuple[int, ...]

    def run(self, script: Script) -> None:
        script.up(*self.ports)


class Says(NamedTuple):
    port: int
    name: str
    said: Said

    def run(self, script: Script) -> None:
        script.says(self.port, self.name, self.said)


class Changes(NamedTuple):
    change: Callable[[Script], object]

    def run(self, script: Script) -> None:
        self.change(script)


def moved(script: Script) -> None:
    """88.118 moves to another server, with another key, and its records are signed anew."""
    world = script.world
    del world.keys["0.NA/88.118"]
    world.delegate("88.118", 3118)
    for name in ("88.118/ABC", "88.118/DEF"):
        world.put(name, Value(1, "URL", b"https://moved.example/"))
    script.homes(3118, "88.118")
    script.homes(1118)


def rolled(script: Script) -> None:
    """88.118 gets another key at once, without a time in which both hold."""
    script.world.keys.pop("0.NA/88.118")
    script.world.delegate("88.118", 1118)
    script.world.put("88.118/DEF", Value(1, "URL", b"https://example.org/new"))


def lame(_: object) -> Told:
    return Told(301, text="this prefix is not homed here")


def referral(name: str) -> Callable[[Script], object]:
    """88 refers to the delegation `name`, which is a true and signed one."""

    def change(script: Script) -> None:
        script.says(1088, "0.NA/88.118", Told(303, Identifier.parse(name), script.world.values(name)))

    return change


def more_delegations(script: Script) -> None:
    for name in ("88.118.8", "88.119"):
        script.world.delegate(name)


SCENARIOS: dict[str, list[Asks | Passes | Down | Up | Says | Changes]] = {
    "the whole way, then nothing from the net, then the deepest delegation only": [
        Asks("88.118/ABC", asked=THE_WAY),
        Asks("88.118/ABC", asked=[]),
        Asks("88.118/DEF", asked=["udp 1118 88.118/DEF"]),
        Asks("88.118.5/HOSTED", asked=["udp 1118 0.NA/88.118.5", "udp 1118 88.118.5/HOSTED"]),
    ],
    "after its TTL a record is asked for again": [
        Asks("88.118/ABC"),
        Passes(DAY - 1),
        Asks("88.118/ABC", asked=[]),
        Passes(2),
        Asks("88.118/ABC", asked=THE_WAY),
    ],
    "the deepest fresh delegation is enough, though those above it are past their TTL": [
        Asks("88.118/ABC"),
        Passes(DAY - 10),
        Changes(lambda script: script.cache.put(script.cache.kept(b"0.NA/88.118", script.now)._replace(deadline=script.now + DAY))),  # type: ignore[union-attr]
        Passes(20),
        Asks("88.118/DEF", asked=["udp 1118 88.118/DEF"]),
    ],
    "no such identifier, remembered for a minute": [
        Asks("88.118/NONE", "no-such-identifier"),
        Asks("88.118/NONE", "no-such-identifier", asked=[]),
        Passes(61),
        Asks("88.118/NONE", "no-such-identifier", asked=["udp 1118 88.118/NONE"]),
    ],
    "no such prefix: nothing below it is asked for": [
        Asks("88.999/x", "no-such-identifier", asked=[*THE_WAY[:2], "udp 1088 0.NA/88.999"]),
        Asks("88.999.1/y", "no-such-identifier", asked=[]),
    ],
    "a negative answer takes the place of the record, stale or not": [
        Asks("88.118/ABC"),
        Passes(DAY + 1),
        Says(1118, "88.118/ABC", Told(100)),
        Asks("88.118/ABC", "no-such-identifier"),
        Passes(61),
        Down((1118,)),
        Asks("88.118/ABC", UnreachableError),
    ],
    "a server that is silent: the next one": [
        Down((1008,)),
        Asks("88.118.8/XYZ", asked=[*THE_WAY[:3], "udp 1118 0.NA/88.118.8", "udp 1008 88.118.8/XYZ", "udp 2008 88.118.8/XYZ"]),
        Passes(DAY + 1),
        Down((2008,)),
        Up((1008,)),
        Asks("88.118.8/XYZ"),
    ],
    "a server that was silent a moment ago is asked last": [
        Down((1008,)),
        Asks("88.118.8/XYZ"),
        Changes(lambda script: script.world.put("88.118.8/NEXT", Value(1, "URL", b"https://example.org/"))),
        Asks("88.118.8/NEXT", asked=["udp 2008 88.118.8/NEXT"]),
    ],
    "a lame server: the next one": [
        Says(1008, "88.118.8/XYZ", lame),
        Asks("88.118.8/XYZ"),
    ],
    "a server that forges: the next one": [
        Says(1008, "88.118.8/XYZ", lambda true: true._replace(values=true.values[1:])),
        Asks("88.118.8/XYZ"),
    ],
    "a busy server is asked again, over TCP": [
        Says(1118, "88.118/ABC", Told(3)),
        Asks("88.118/ABC", UnreachableError, asked=[*THE_WAY, "tcp 1118 88.118/ABC", "udp 1118 88.118/ABC", "tcp 1118 88.118/ABC"]),
    ],
    "an answer that cannot be read is fetched over TCP at once, and no further": [
        Says(1118, "88.118/ABC", FormatError("garbage")),
        Asks("88.118/ABC", UnreachableError, asked=[*THE_WAY, "tcp 1118 88.118/ABC"]),
    ],
    "an answer that is too long for datagrams is fetched over TCP at once": [
        Says(1118, "88.118/ABC", Told(2, text="ask over TCP")),
        Asks("88.118/ABC", UnreachableError, asked=[*THE_WAY, "tcp 1118 88.118/ABC"]),
    ],
    "an answer for another name": [
        Says(1118, "88.118/ABC", lambda true: true._replace(name=Identifier.parse("88.118/DEF"))),
        Asks("88.118/ABC", UnreachableError),
    ],
    "a record without public values has no signature": [
        Says(1118, "88.118/ABC", Told(200, Identifier.parse("88.118/ABC"))),
        Asks("88.118/ABC", "no-signature"),
    ],
    "all servers down": [
        Down((1118,)),
        Asks("88.118/ABC", UnreachableError),
        Asks("88.118/ABC", UnreachableError, asked=[]),
        Asks("88.118/DEF", UnreachableError, asked=[]),
        Up((1118,)),
        Passes(6),
        Asks("88.118/ABC", asked=["udp 1118 88.118/ABC"]),
    ],
    "all servers down: a stale record, marked, and soon without waiting": [
        Asks("88.118/ABC"),
        Passes(DAY + 1),
        Down((1118,)),
        Asks("88.118/ABC", "stale"),
        Asks("88.118/ABC", "stale", asked=[]),
        Passes(DAY),
        Asks("88.118/ABC", UnreachableError),
    ],
    "the root is down: stale delegations lead on to what is up": [
        Asks("88.118/ABC"),
        Passes(DAY + 1),
        Down((1000,)),
        Asks("88.118/DEF"),
        Asks("88.118/ABC"),
    ],
    "everything is down: what is stale is served, what is not is not": [
        Asks("88.118/ABC"),
        Passes(DAY + 1),
        Down((1000, 1088, 1118)),
        Asks("88.118/ABC", "stale"),
        Asks("88.118/DEF", UnreachableError),
    ],
    "a stale record is served though the way to it is no longer known": [
        Asks("88.118/ABC"),
        Passes(DAY + 1),
        Changes(lambda script: script.cache._drop(b"0.NA/88.118")),
        Down((1088,)),
        Asks("88.118/ABC", "stale"),
    ],
    "never past the signature": [
        Asks("88.118/ABC"),
        Passes(30 * DAY),
        Down((1118,)),
        Asks("88.118/ABC", "expired"),
    ],
    "no stale record in the place of a forged one": [
        Asks("88.118/ABC"),
        Passes(DAY + 1),
        Says(1118, "88.118/ABC", lambda true: true._replace(values=true.values[1:])),
        Asks("88.118/ABC", "missing-value"),
    ],
    "a prefix that moved is found again, though its delegation is still cached": [
        Asks("88.118/ABC"),
        Changes(moved),
        Asks("88.118/DEF", asked=["udp 1118 88.118/DEF", "udp 1088 0.NA/88.118", "udp 3118 88.118/DEF"]),
    ],
    "a key that was changed at once is found again too": [
        Asks("88.118/ABC"),
        Changes(rolled),
        Asks("88.118/DEF", asked=["udp 1118 88.118/DEF", "udp 1088 0.NA/88.118", "udp 1118 88.118/DEF"]),
    ],
    "a delegation without servers": [
        Changes(lambda script: script.world.put("0.NA/88.118", script.world.key_value("0.NA/88.118"))),
        Asks("88.118/ABC", UnreachableError),
    ],
    "a delegation as a referral": [Changes(referral("0.NA/88.118")), Asks("88.118/ABC", asked=THE_WAY)],
    "no socket of ours is left: busy, and no server is blamed": [
        Says(1008, "88.118.8/XYZ", OverloadError("no socket is left")),
        Asks("88.118.8/XYZ", OverloadError, asked=[*THE_WAY[:3], "udp 1118 0.NA/88.118.8", "udp 1008 88.118.8/XYZ"]),
        Says(1008, "88.118.8/XYZ", lambda true: true),
        Asks("88.118.8/XYZ", asked=["udp 1008 88.118.8/XYZ"]),
    ],
    "a referral in a circle": [Changes(referral("0.NA/88")), Asks("88.118/ABC", ReferralError)],
    "a referral upward": [Changes(referral("0.0/0.0")), Asks("88.118/ABC", ReferralError)],
    "a referral sideways": [Changes(more_delegations), Changes(referral("0.NA/88.119")), Asks("88.118/ABC", ReferralError)],
    "a referral too deep": [Changes(more_delegations), Changes(referral("0.NA/88.118.8")), Asks("88.118.8/XYZ", ReferralError)],
    "a referral without values": [
        Says(1088, "0.NA/88.118", Told(303, Identifier.parse("0.NA/88.118"))),
        Asks("88.118/ABC", "no-signature"),
    ],
    "a referral where the record should be": [
        Says(1118, "88.118/ABC", lambda _: Told(303, Identifier.parse("0.NA/88.118"))),
        Asks("88.118/ABC", ReferralError),
    ],
    "a referral to another service": [Says(1118, "88.118/ABC", Told(302)), Asks("88.118/ABC", ReferralError)],
    "every server lame": [Says(1118, "88.118/ABC", lame), Asks("88.118/ABC", ReferralError)],
    "a code that makes no sense here": [Says(1118, "88.118/ABC", Told(402)), Asks("88.118/ABC", ReferralError)],
    "a whole chain of prefixes, and one too many": [
        Changes(lambda script: deep_tree(script, 14)),
        Asks(".".join(["88"] * 14) + "/x"),
        Asks(".".join(["88"] * 15) + "/x", "chain-too-long", asked=[]),
    ],
}


def deep_tree(script: Script, labels: int) -> None:
    """Prefixes 88, 88.88, 88.88.88, ..., all on one server."""
    prefixes = [".".join(["88"] * depth) for depth in range(1, labels + 1)]
    for prefix in prefixes:
        script.world.delegate(prefix, 1088)
    script.world.put(prefixes[-1] + "/x", Value(1, "URL", b"https://example.org/deep"))
    script.homes(1088, *prefixes)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    script = tree()
    for event in SCENARIOS[name]:
        event.run(script)


# ---- a record that came from elsewhere, and one server that is asked first


def test_a_record_at_hand_is_verified_with_what_stands_above_it() -> None:
    script = tree()
    values = script.world.values("88.118/ABC")
    assert told(script.walk("88.118/ABC", received=values)) == "verified"
    assert script.asked == THE_WAY[:3]
    assert script.cache.kept(b"88.118/ABC", script.now) is None, "it may be older than what the servers have"
    assert told(script.walk("88.118/ABC", received=values[1:])) == Reason.MISSING_VALUE
    rolled(script)
    assert told(script.walk("88.118/DEF", received=script.world.values("88.118/DEF"))) == "verified"
    assert script.asked == ["udp 1088 0.NA/88.118"], "the delegation was fetched again, since its key is another one now"


def test_a_server_that_is_asked_first_is_believed_what_verifies_and_no_more() -> None:
    script = tree()
    values = script.world.values("88.118/ABC")
    script.homes(5000, "0.NA", "0.0", "88", "88.118")
    script.says(5000, "0.NA/88.118", lambda true: true._replace(values=true.values[1:]))
    found = script.walk("88.118/ABC", received=values, first=Contact("127.0.0.1", 5000, 5000))
    assert told(found) == "verified"
    assert script.asked == ["udp 5000 0.0/0.0", "udp 5000 0.NA/88", "udp 5000 0.NA/88.118", "udp 1088 0.NA/88.118"]
    for said in (Told(100), Told(301), UnreachableError("silent")):
        again = tree()
        for name in ("0.0/0.0", "0.NA/88", "0.NA/88.118"):
            again.says(5000, name, said)
        again.world = script.world
        assert told(again.walk("88.118/ABC", received=values, first=Contact("127.0.0.1", 5000, None))) == "verified"
    last = tree()
    last.homes(5000, "88.118")
    last.down(1000)
    assert told(last.walk("88.118/ABC", received=values, first=Contact("127.0.0.1", 5000, None))) == UnreachableError, "not lame"


def test_an_authoritative_question_is_not_answered_from_the_cache() -> None:
    script = tree()
    script.walk("88.118/ABC")
    assert told(script.walk("88.118/ABC", authoritative=True)) == "verified"
    assert script.asked == ["udp 1118 88.118/ABC"]


# ---- bounds


def test_one_question_never_asks_more_than_its_bound_nor_longer_than_its_time() -> None:
    script = tree(Limits({"exchange_milliseconds": 50, "exchange_tries": 16, "recursion_seconds": 60}))
    many = [Value(INDEX_SITE + 30 + n, TYPE_SITE, encode_site(site(4000 + n))) for n in range(40)]
    script.world.delegate("88.118", 4999, *many)
    script.down(*range(4000, 5000))
    assert told(script.walk("88.118/ABC")) == UnreachableError
    asked = [line for line in script.asked if line.endswith("88.118/ABC")]
    assert len({line.split()[1] for line in asked}) == limits.delegation_servers.default
    assert len(script.asked) <= limits.recursion_exchanges.default


def test_one_question_ends_in_time() -> None:
    script = tree(Limits({"exchange_tries": 16}))
    script.down(1000)
    began = script.now
    assert told(script.walk("88.118/ABC")) == UnreachableError
    assert script.now - began == pytest.approx(limits.recursion_seconds.default, abs=1e-6)


def test_servers_that_send_garbage_at_every_level_do_not_multiply() -> None:
    """Each delegation names fifteen of them before the one that answers: 31 exchanges a level, if nothing stopped it."""
    script = tree()
    for prefix, name, right in (("88", "0.NA/88.118", 1088), ("88.118", "0.NA/88.118.8", 1118), ("88.118.8", "88.118.8/XYZ", 1008)):
        ports = [*range(right + 2000, right + 2015), right]
        for port in ports[:-1]:
            script.says(port, name, FormatError("garbage"))
        sites = [encode_site(site(port)) for port in ports[1:]]
        script.world.delegate(
            prefix,
            ports[0],
            *(Value(1000 + n, TYPE_SITE, octets) for n, octets in enumerate(sites)),
            *(Value(2000 + n, TYPE_SITE_PREFIX, octets) for n, octets in enumerate(sites)),
        )
    assert told(script.walk("88.118.8/XYZ")) == UnreachableError
    assert len(script.asked) == limits.recursion_exchanges.default


def test_a_flood_of_names_below_a_silent_prefix_asks_nobody() -> None:
    script = tree()
    script.down(1118)
    script.walk("88.118/ABC")
    for number in range(50):
        assert told(script.walk(f"88.118/{number}")) == UnreachableError
        assert script.asked == []


def test_answers_carry_what_is_left_of_their_time() -> None:
    script = tree()
    script.walk("88.118/ABC")
    script.passes(1000)
    outcome = script.walk("88.118/ABC").outcome
    assert isinstance(outcome, Answer)
    assert not outcome.authoritative
    assert outcome.ttl_limit is not None
    assert DAY - 1002 <= outcome.ttl_limit <= DAY - 1000
    script.passes(DAY)
    script.down(1118)
    outcome = script.walk("88.118/ABC").outcome
    assert isinstance(outcome, Answer)
    assert outcome.stale
    assert outcome.ttl_limit == limits.stale_ttl_seconds.default
    missing = script.walk("88.118.5/NONE").outcome
    assert isinstance(missing, Failed | NotFound)


def test_what_was_fetched_just_now_is_not_stale_even_if_it_may_not_be_kept() -> None:
    script = tree()
    script.world.put("88.118/NOW", Value(1, "URL", b"https://example.org/", ttl=0))
    for _ in range(2):
        found = script.walk("88.118/NOW")
        assert told(found) == "verified"
        assert isinstance(found.outcome, Answer)
        assert found.outcome.ttl_limit == 0
        assert script.asked[-1] == "udp 1118 88.118/NOW"
    script.down(1118)
    assert told(script.walk("88.118/NOW")) == "stale"
