"""The DNS door of a recursive node: what it asks others for, and what it makes of what they say."""

import asyncio
import time
from collections.abc import Coroutine
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import dnslib
import pytest

from resolver.core.errors import OverloadError, SignatureError, UnreachableError, WaymarkError
from resolver.core.identifier import Identifier, scope
from resolver.core.message import Answer, Failed, NotFound, Outcome, Query, Refused
from resolver.core.record import Value
from resolver.core.wire.stored import encode_stored, read_stored
from resolver.doors.dns import DnsDoor
from tests.support.dns import APEX, SOURCE, ask, authority, extended_error, name_of, node, query, rcode, texts
from tests.support.world import World


class Others:
    """In place of the walk: knows the records of a world, those in `held` without asking."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held: set[str] = set()
        self.asked: list[str] = []
        self.outcomes: dict[str, Outcome | WaymarkError] = {}
        self.fault: WaymarkError | None = None
        self.ttl_limit: int | None = 86_400
        self.stale = False

    def known(self, query: Query) -> Outcome | None:
        return self.outcome(query.identifier) if str(query.identifier) in self.held else None

    async def resolve(self, query: Query) -> Any:
        await asyncio.sleep(0)
        self.asked.append(str(query.identifier))
        return SimpleNamespace(outcome=self.outcome(query.identifier))

    def outcome(self, identifier: Identifier) -> Outcome:
        told = self.fault or self.outcomes.get(str(identifier))
        if isinstance(told, WaymarkError):
            raise told
        if told is not None:
            return told
        record = next((r for r in self.world.records.values() if identifier.is_answered_by(r.identifier)), None)
        if record is None:
            return NotFound(scope(identifier), authoritative=False)
        return Answer(read_stored(record.identifier.key, encode_stored(record)), False, self.stale, self.ttl_limit)


@pytest.fixture
def others() -> Others:
    world = World()
    world.delegate("88", address="192.0.2.1")
    world.delegate("88.118", address="192.0.2.2")
    world.put("88.118/abc", Value(1, "URL", b"https://example.org/"))
    return Others(world)


@pytest.fixture
def door(others: Others) -> DnsDoor:
    return DnsDoor(node(None, others))


async def wait(door: DnsDoor, name: str, type_: str = "TXT", **how: Any) -> dnslib.DNSRecord:
    reply = door.answer_datagram(query(name, type_, **how), SOURCE, time.time())
    if isinstance(reply, Coroutine):
        reply = await reply
    assert isinstance(reply, bytes)
    return dnslib.DNSRecord.parse(reply)


async def test_what_others_say_is_told_without_authority(door: DnsDoor, others: Others) -> None:
    answer = await wait(door, "abc.118.88")
    assert texts(answer) == [("1 URL", b"https://example.org/")]
    assert (bool(answer.header.aa), bool(answer.header.ra), bool(answer.header.rd)) == (False, True, True)
    assert others.asked == ["88.118/abc"]


async def test_an_answer_is_ready_the_second_time(door: DnsDoor, others: Others) -> None:
    await wait(door, "abc.118.88")
    assert texts(ask(door, "abc.118.88")) == [("1 URL", b"https://example.org/")]
    assert others.asked == ["88.118/abc"]


async def test_over_a_stream(door: DnsDoor) -> None:
    packet = query("_sig.abc.118.88")
    reply = door.answer_stream(len(packet).to_bytes(2, "big") + packet, SOURCE, time.time())
    assert isinstance(reply, Coroutine)
    framed = await reply
    assert isinstance(framed, bytes)
    assert int.from_bytes(framed[:2], "big") == len(framed) - 2
    assert [first for first, _ in texts(dnslib.DNSRecord.parse(framed[2:]))] == ["402 HS_SIGNATURE.ED25519"]


def test_what_is_held_is_told_at_once(door: DnsDoor, others: Others) -> None:
    others.held.add("88.118/abc")
    assert texts(ask(door, "abc.118.88")) == [("1 URL", b"https://example.org/")]
    assert others.asked == []


def test_without_rd_only_what_is_held(door: DnsDoor, others: Others) -> None:
    answer = ask(door, "abc.118.88", recursive=False)
    assert (rcode(answer), extended_error(answer)) == ("REFUSED", (20, "recursion not asked for"))
    others.held.add("88.118/abc")
    assert texts(ask(door, "abc.118.88", recursive=False)) == [("1 URL", b"https://example.org/")]


@pytest.mark.parametrize("left", [86_399, 3600, 64, 63, 2, 1, 0])
def test_no_ttl_beyond_what_is_left_in_the_cache(door: DnsDoor, others: Others, left: int) -> None:
    others.held.add("88.118/abc")
    others.ttl_limit = left
    now = time.time()
    for later in (0.0, 0.9, 1.0, 40.0):
        (rr,) = ask(door, "abc.118.88", now=now + later).rr
        if later == 0.0:
            assert left - left // 32 - 1 <= rr.ttl
            others.ttl_limit = 0  # whatever is told later was kept ready
        assert rr.ttl <= max(0, left - later)


def test_a_stale_answer_says_so_and_is_not_kept(door: DnsDoor, others: Others) -> None:
    others.held.add("88.118/abc")
    others.stale, others.ttl_limit = True, 30
    answer = ask(door, "abc.118.88")
    assert (rcode(answer), answer.rr[0].ttl) == ("NOERROR", 30)
    code, _ = extended_error(answer) or (None, "")
    assert code == 3
    assert len(door.cache) == 0


async def test_absent_names(door: DnsDoor, others: Others) -> None:
    answer = await wait(door, "nope.118.88")
    assert (rcode(answer), authority(answer)) == ("NXDOMAIN", (f"118.88.{APEX}.", "SOA"))
    assert not answer.header.aa
    assert others.asked == ["88.118/nope", "0.NA/88.118.NOPE"]
    assert rcode(await wait(door, "_sig.nope.118.88")) == "NXDOMAIN"
    assert rcode(await wait(door, "_zz.118.88")) == "NXDOMAIN"


async def test_a_prefix_is_a_name_and_has_a_name_server(door: DnsDoor, others: Others) -> None:
    answer = await wait(door, "118.88")
    assert (rcode(answer), authority(answer)) == ("NOERROR", (f"118.88.{APEX}.", "SOA"))
    assert others.asked == ["88/118", "0.NA/88.118"]
    answer = await wait(door, "118.88", "NS")
    assert [str(rr.rdata) for rr in answer.rr] == [f"_ns.118.88.{APEX}."]
    assert str(answer.ar[0].rdata) == "192.0.2.2"
    assert [str(rr.rdata) for rr in (await wait(door, "_ns.118.88", "A")).rr] == ["192.0.2.2"]
    assert rcode(await wait(door, "_ns.119.88", "A")) == "NXDOMAIN"


async def test_the_top_of_the_tree(door: DnsDoor) -> None:
    for name in ("", "0", "na.0", "0.0", "88"):
        assert rcode(await wait(door, name)) == "NOERROR"
    assert [str(rr.rdata) for rr in (await wait(door, "", "NS")).rr] == [f"_ns.{APEX}."]
    answer = await wait(door, "88_2e118.na.0")
    assert [first for first, _ in texts(answer)] == ["10 HS_SITE", "11 HS_SITE.PREFIX", "302 JWK"]
    absent = await wait(door, "88_2e9.na.0")
    assert (rcode(absent), authority(absent)) == ("NXDOMAIN", (f"na.0.{APEX}.", "SOA"))


@pytest.mark.parametrize("suffix", ["长" * 10, "x" * 200])
async def test_a_name_whose_label_is_a_hash(door: DnsDoor, others: Others, suffix: str) -> None:
    name = name_of(f"88.118/{suffix}")
    assert name.startswith("_h")
    assert rcode(await wait(door, name)) == "NXDOMAIN"
    others.world.put(f"88.118/{suffix}", Value(1, "URL", b"https://example.org/long"))
    assert texts(await wait(door, name)) == [("1 URL", b"https://example.org/long")]
    assert [first for first, _ in texts(await wait(door, f"_sig.{name}"))] == ["402 HS_SIGNATURE.ED25519"]
    assert others.asked == [f"88.118 SHA-256:{sha256(suffix.encode()).hexdigest()}"] * 3
    assert texts(ask(door, name)) == [("1 URL", b"https://example.org/long")], "ready now"


async def test_a_hash_that_nobody_can_tell(door: DnsDoor, others: Others) -> None:
    name = name_of("88.118/" + "长" * 10)
    others.fault = UnreachableError("no server of 88.118 answers")
    answer = await wait(door, name)
    assert (rcode(answer), extended_error(answer)) == ("SERVFAIL", (22, "no server of 88.118 answers"))


async def test_a_hash_below_what_is_no_prefix(door: DnsDoor, others: Others) -> None:
    hashed = "_h" + "0" * 52
    assert rcode(await wait(door, f"{hashed}.999.88")) == "NXDOMAIN"
    others.asked.clear()
    for name in (f"{hashed}._41.88", f"{hashed}.{'x' * 63}.{'x' * 63}.88", f"{hashed}1.118.88", "_hé.118.88"):
        assert rcode(ask(door, name)) == "NXDOMAIN"
    for name in (f"{hashed}.na.0", f"_sig.{hashed}.na.0"):
        answer = ask(door, name)
        assert (rcode(answer), extended_error(answer)) == (
            "REFUSED", (21, "a prefix record whose label is a hash; ask for the zone of the prefix")
        )  # fmt: skip
    assert others.asked == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnreachableError("no server of 88.118 answers"), 22),
        (SignatureError("expired", "88.118/abc: expired"), 6),
        (OverloadError("x"), 0),
    ],
)
async def test_failures_say_why(door: DnsDoor, others: Others, error: WaymarkError, code: int) -> None:
    for told in (error, Failed(error)):
        others.outcomes["88.118/abc"] = told
        answer = await wait(door, "abc.118.88")
        assert (rcode(answer), extended_error(answer)) == ("SERVFAIL", (code, str(error)))
        assert bool(answer.header.ra)
    others.held.add("88.118/abc")
    assert rcode(ask(door, "abc.118.88")) == "SERVFAIL"
    assert rcode(await wait(door, "_sig.abc.118.88")) == "SERVFAIL"


async def test_a_failure_to_find_the_prefix_denies_nothing(door: DnsDoor, others: Others) -> None:
    others.outcomes["0.NA/88.118.NOPE"] = Failed(UnreachableError("x"))
    assert rcode(await wait(door, "nope.118.88")) == "SERVFAIL"
    others.outcomes["88.118/nope"] = Refused()
    assert rcode(await wait(door, "nope.118.88")) == "REFUSED"


async def test_a_long_sentence_is_cut_at_a_character(door: DnsDoor, others: Others) -> None:
    others.outcomes["88.118/abc"] = Failed(UnreachableError("无" * 500))
    _, sentence = extended_error(await wait(door, "abc.118.88", edns=512)) or (0, "")
    assert sentence == "无" * 53
