"""The walk to an identifier that is known by its hash only: whom it asks, what it believes, what it remembers."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from resolver.core.errors import ReferralError, UnreachableError, WaymarkError
from resolver.core.exchange import Told
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, NotFound
from resolver.core.owner import HashedName
from resolver.core.record import Value
from resolver.core.trust import Reason
from tests.support.scripted import Script, told, tree

DAY = 86_400
LONG = "88.118/" + "电源模块" * 3
OTHER = "88.118/" + "搪瓷杯子" * 3
NEAR = "88.118.8/" + "电源模块" * 3


def hashed(name: str) -> HashedName:
    prefix, _, suffix = name.partition("/")
    return HashedName(prefix, sha256(suffix.encode()).digest())


ASKED = f"udp 1118 {hashed(LONG)}"
THE_WAY = ["udp 1000 0.0/0.0", "udp 1000 0.NA/88", "udp 1088 0.NA/88.118", ASKED]


@pytest.fixture(name="script")
def _script() -> Script:
    script = tree()
    for name in (LONG, OTHER, NEAR):
        script.world.put(name, Value(1, "URL", b"https://example.org/"))
    return script


def test_its_way_is_that_of_its_prefix(script: Script) -> None:
    found = script.walk(hashed(LONG))
    assert told(found) == "verified"
    assert script.asked == THE_WAY
    assert [link.identifier.canonical for link in found.chain] == [LONG, "0.NA/88.118", "0.NA/88", "0.0/0.0"]


def test_once_known_it_is_as_the_identifier(script: Script) -> None:
    script.walk(hashed(LONG))
    for name in (hashed(LONG), LONG):
        assert told(script.walk(name)) == "verified"
        assert script.asked == []
    script.passes(DAY + 1)
    assert told(script.walk(hashed(LONG))) == "verified"
    assert script.asked[-1] == f"udp 1118 {LONG}", "what the hash stands for never changes"
    script.passes(DAY + 1)
    script.down(1118)
    assert told(script.walk(hashed(LONG))) == "stale"


def test_an_identifier_that_is_held_is_still_to_be_found_by_its_hash(script: Script) -> None:
    script.walk(LONG)
    assert told(script.walk(hashed(LONG))) == "verified"
    assert script.asked == [ASKED]


def test_no_such_hash_remembered_for_a_minute(script: Script) -> None:
    absent = hashed("88.118/" + "无" * 7)
    for asked in ([*THE_WAY[:3], f"udp 1118 {absent}"], []):
        found = script.walk(absent)
        assert found.outcome == NotFound("88.118", authoritative=False)
        assert script.asked == asked
    script.passes(61)
    script.walk(absent)
    assert script.asked == [f"udp 1118 {absent}"]
    assert told(script.walk(hashed("88.999/" + "无" * 7))) == "no-such-identifier"
    assert script.asked == ["udp 1088 0.NA/88.999"]


def test_one_that_was_deleted_is_told_as_gone(script: Script) -> None:
    script.says(1118, str(hashed(LONG)), Told(100, text="gone since 2026-01-02T03:04:05Z: deleted"))
    assert script.walk(hashed(LONG)).outcome == NotFound("88.118", 1_767_323_045, authoritative=False)


def lie(script: Script, name: str, as_name: str | None = None) -> Told:
    return Told(1, Identifier.parse(as_name or name), script.world.values(name))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (lambda script: lie(script, OTHER), UnreachableError),
        (lambda script: lie(script, "88.118/ABC"), UnreachableError),
        (lambda script: lie(script, NEAR), UnreachableError),
        (lambda script: lie(script, OTHER, LONG), Reason.WRONG_SCOPE),
        (lambda script: lie(script, LONG)._replace(values=script.world.values(LONG)[1:]), Reason.MISSING_VALUE),
        (lambda _: Told(1, hashed(LONG), ()), UnreachableError),
        (lambda _: Told(200, hashed(LONG)), UnreachableError),
        (lambda _: Told(102, text="invalid handle"), ReferralError),
        (lambda _: Told(4, text="protocol error"), ReferralError),
        (lambda _: Told(301, text="not homed here"), ReferralError),
        (lambda script: Told(303, Identifier.parse("0.NA/88.118"), script.world.values("0.NA/88.118")), ReferralError),
    ],
    ids=["another name", "a short one", "another prefix", "another record", "a value lost", "the hash itself", "no values",
         "102", "4", "301", "a circle"],
)  # fmt: skip
def test_what_is_not_believed(script: Script, said: Callable[[Script], Told], expected: str | type[WaymarkError]) -> None:
    script.says(1118, str(hashed(LONG)), said(script))
    assert told(script.walk(hashed(LONG))) == expected
    assert script.cache.meant(hashed(LONG)) == hashed(LONG), "nothing is remembered"
    assert told(script.walk(LONG)) == "verified"


def test_a_short_suffix_is_not_found_by_its_hash(script: Script) -> None:
    """It has a label of its own: an owner name that leads to it would be a second one."""
    short = hashed("88.118/ABC")
    script.says(1118, str(short), lie(script, "88.118/ABC"))
    assert told(script.walk(short)) == UnreachableError


def test_where_one_server_lies_or_cannot_tell_the_next_is_asked(script: Script) -> None:
    for said in (lie(script, OTHER), Told(102), Told(301), Told(1, Identifier.parse(NEAR), ())):
        script.says(1008, str(hashed(NEAR)), said)
        found = script.walk(hashed(NEAR), authoritative=True)
        assert told(found) == "verified"
        assert f"udp 2008 {hashed(NEAR)}" in script.asked
        script.cache = type(script.cache)()


def test_an_older_version_than_was_seen_is_refused(script: Script) -> None:
    old = lie(script, LONG)
    script.world.put(LONG, Value(1, "URL", b"https://example.org/new"))
    script.walk(LONG)
    script.says(1118, str(hashed(LONG)), old)
    assert told(script.walk(hashed(LONG))) == Reason.SERIAL_REGRESS


def test_a_true_name_in_another_spelling(script: Script) -> None:
    script.world.delegate("88.AB", 1118)
    script.homes(1118, "88.AB")
    script.world.put("88.AB/" + "长" * 10, Value(1, "URL", b"https://example.org/"))
    name = hashed("88.ab/" + "长" * 10)
    script.says(1118, str(name), lambda true: true._replace(name=Identifier.parse("88.aB/" + "长" * 10)))
    found = script.walk(name)
    assert told(found) == "verified"
    assert isinstance(found.outcome, Answer)
    assert found.outcome.record.key == ("88.AB/" + "长" * 10).encode()
