"""What the Handle door says: to resolutions, to what it does not do, and to what is no request."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resolver.core import limits, trust
from resolver.core.errors import OverloadError, StoreError, WaymarkError
from resolver.core.identifier import Identifier, signer
from resolver.core.message import Outcome, Query
from resolver.core.record import Record, Value
from resolver.core.wire.bodies import (
    ResolutionRequest,
    decode_referral,
    decode_resolution_response,
    encode_resolution_request,
)
from resolver.core.wire.fragments import fragment
from resolver.core.wire.framing import pack_data
from resolver.core.wire.handle import (
    ANSWER_SECONDS,
    AUTHORITATIVE,
    CERTIFIED,
    DO_NOT_REFER,
    KEEP_ALIVE,
    PUBLIC_ONLY,
    QUERY_FLAGS,
    REQUEST_DIGEST,
    Code,
    Message,
    Op,
    Version,
    encode_message,
)
from resolver.core.wire.site import encode_site
from resolver.core.wire.stored import encode_stored
from resolver.doors.handle import HandleDoor
from resolver.table import Change, Table, TableWriter
from tests.support.dns import NoRecursion, node
from tests.support.handle import SOURCE, ask, request
from tests.support.world import World

NOW = 1_800_000_000.0
URL = Value(1, "URL", b"https://example.org/")
NAME = Value(2, "NAME", "酱油".encode())
SECRET = Value(301, "HS_SECKEY", b"s3cret", permissions=0x0C)
BIG = tuple(Value(index, "DATA", bytes(30_000)) for index in range(1, 7))


@pytest.fixture(name="world")
def _world() -> World:
    world = World(now=int(NOW))
    for prefix, port in (("88", 2641), ("88.118", 2642), ("88.118.8", 2643), ("88.118.9", 2644)):
        world.delegate(prefix, port)
    world.put("88.118/ABC", URL, NAME)
    world.put("88.118/长", URL)
    world.put("88.118/PRIVATE", SECRET, URL)
    world.put("88.118/SECRET", SECRET)
    world.put("88.118/SITES", Value(1, "HS_SITE.6", b"6"), Value(2, "HS_SITE", b"4"), Value(3, "HS_SITES", b"s"))
    world.put("88.118/BIG", *BIG)
    world.put("88.118/OLD", URL)
    world.delete("88.118/OLD")
    return world


@pytest.fixture(name="doors")
def _doors(tmp_path: Path) -> Iterator[Callable[..., HandleDoor]]:
    """Opens doors over the table of what a world says of 88.118, and closes their tables in the end."""
    opened = []

    def door(world: World, **settings: Any) -> HandleDoor:
        path = tmp_path / "table"
        opened.append(HandleDoor(node(path if path.exists() else world.publish("88.118", path), **settings)))
        return opened[-1]

    yield door
    for one in opened:
        table_of(one).close()


@pytest.fixture(name="door")
def _door(world: World, doors: Callable[..., HandleDoor]) -> HandleDoor:
    return doors(world)


def table_of(door: HandleDoor) -> Table:
    assert door.desk.table is not None
    return door.desk.table


def values_of(door: HandleDoor, asked: bytes, *, stream: bool = False) -> tuple[Value, ...]:
    said = ask(door, asked, stream=stream)
    assert said.code == Code.SUCCESS, said.text
    return decode_resolution_response(said.body).values


def indexes_of(door: HandleDoor, asked: bytes) -> list[int]:
    return [value.index for value in values_of(door, asked)]


# ---- resolution


@pytest.mark.parametrize("stream", [False, True])
def test_record_is_answered_whole_and_verifies(world: World, door: HandleDoor, stream: bool) -> None:
    for _ in ("cold", "warm"):
        values = values_of(door, request("88.118/ABC"), stream=stream)
        assert values == world.values("88.118/ABC")
        identifier = Identifier.parse("88.118/ABC")
        keys = world.chain("88.118/ABC")[1]
        assert keys[0] == signer(identifier)
        trusted_keys = trust.Keys("0.NA/88.118", trust.public_keys(keys[1], "0.NA/88.118"), 2**62)
        assert trust.verify(identifier, values, trusted_keys, int(NOW)).serial == world.records[identifier.key].serial


@pytest.mark.parametrize(
    ("indexes", "types", "expected"),
    [
        ((1,), (), [1]),
        ((), (b"NAME",), [2]),
        ((), (b"name",), [2]),
        ((1,), (b"NAME",), [1, 2]),
        ((402,), (), [402]),
        ((), (b"HS_SIGNATURE.",), [402]),
        ((), (b"hs_signature.ed25519", b"URL"), [1, 402]),
        ((1, 77), (b"NO",), [1]),
    ],
)
def test_indexes_and_types_are_ored(
    door: HandleDoor, indexes: tuple[int, ...], types: tuple[bytes, ...], expected: list[int]
) -> None:
    assert indexes_of(door, request("88.118/ABC", indexes, types)) == expected
    assert indexes_of(door, request("88.118/ABC", indexes, types)) == expected, "warm"


def test_a_type_with_a_dot_at_its_end_means_all_below(door: HandleDoor) -> None:
    assert indexes_of(door, request("88.118/SITES", types=(b"HS_SITE.",))) == [1, 2]
    assert indexes_of(door, request("88.118/SITES", types=(b"HS_SITE",))) == [2]


def test_nothing_that_is_asked_for(door: HandleDoor) -> None:
    said = ask(door, request("88.118/ABC", (7,), (b"EMAIL",)))
    assert (said.code, said.text) == (Code.VALUES_NOT_FOUND, "no public value is what was asked for")


@pytest.mark.parametrize("flags", [QUERY_FLAGS, QUERY_FLAGS & ~PUBLIC_ONLY])
def test_private_values_are_never_answered(door: HandleDoor, flags: int) -> None:
    said = ask(door, request("88.118/PRIVATE", flags=flags))
    assert [value.index for value in decode_resolution_response(said.body).values] == [1, 402]
    assert said.message.flags & PUBLIC_ONLY
    assert ask(door, request("88.118/PRIVATE", types=(b"HS_SECKEY",), flags=flags)).code == Code.VALUES_NOT_FOUND
    assert ask(door, request("88.118/SECRET", (301,), flags=flags)).code == Code.VALUES_NOT_FOUND


@pytest.mark.parametrize("name", ["88.118/ABC", "88.118/长", "0.NA/88.118.8", "0.na/88.118.8", "88.118.8"])
def test_the_name_is_repeated_as_asked(world: World, door: HandleDoor, name: str) -> None:
    said = ask(door, request(name, types=(b"HS_SITE", b"URL")))
    assert decode_resolution_response(said.body).name == name.encode()


def test_a_bare_prefix_means_its_record(world: World, door: HandleDoor) -> None:
    assert values_of(door, request("88.118.8")) == world.values("0.NA/88.118.8")


def test_token_of_the_other_dialect_is_ignored(world: World, door: HandleDoor) -> None:
    for token in (b"", b"tok.en.sig"):
        body = encode_resolution_request(ResolutionRequest(b"88.118/ABC", token=token))
        asked = request("", body=body, version=(2, 10), flags=0x19000004)
        assert values_of(door, asked) == world.values("88.118/ABC")


def test_a_hashed_key_of_the_table_is_no_name(world: World, doors: Callable[..., HandleDoor]) -> None:
    long = "88.118/" + "长" * 240
    world.put(long, URL)
    door = doors(world)
    (hashed,) = [key for key, _ in table_of(door).records() if b"\0" in key]
    assert ask(door, request(hashed)).code == Code.INVALID_NAME
    assert values_of(door, request(long)) == world.values(long)


# ---- not here, not any more, not a name


def test_no_such_identifier(door: HandleDoor) -> None:
    for name in ("88.118/NO", "88.118/没有", "88.118/" + "x" * 200, "0.NA/88.118.7"):
        said = ask(door, request(name))
        assert (said.code, said.text) == (Code.NOT_FOUND, "88.118 has no such identifier")
        assert said.message.flags & AUTHORITATIVE


def test_deleted_identifier_says_since_when(door: HandleDoor) -> None:
    said = ask(door, request("88.118/OLD"))
    assert (said.code, said.text) == (Code.NOT_FOUND, "deleted on 2027-01-15, and not given again")


@pytest.mark.parametrize(
    "name",
    [b"", b"/", b"/x", b"88.118/", b"88..118/x", b"88_1/x", b"\xff\xfe/x", b"88.118/\xc3", b"88.118/a\x07b",
     b"88.118/a\xe2\x80\x8bb", b"88.118/" + b"x" * 3000, b"x" * 70_000, b"no slash", "八八".encode(), b"88.118/" + b"x" * 300],
)  # fmt: skip
def test_invalid_name(door: HandleDoor, name: bytes) -> None:
    said = ask(door, request(name), stream=True)
    assert said.code == Code.INVALID_NAME
    assert said.text
    assert len(said.text) < 400


def test_delegated_away_is_a_referral_that_verifies(world: World, door: HandleDoor) -> None:
    for name in ("88.118.8/X", "88.118.8.7/X", "0.NA/88.118.8.7"):
        said = ask(door, request(name))
        assert said.code == Code.PREFIX_REFERRAL
        referral = decode_referral(said.body)
        assert referral == (b"0.NA/88.118.8", world.values("0.NA/88.118.8"))


@pytest.mark.parametrize("fields", [{"version": (2, 10)}, {"version": (2, 3), "suggested": (2, 9)}, {"flags": DO_NOT_REFER}])
def test_no_referral_for_who_fails_on_it(door: HandleDoor, fields: dict[str, Any]) -> None:
    said = ask(door, request("88.118.8/X", **fields))
    assert said.code == Code.NOT_RESPONSIBLE
    assert said.text == "88.118.8 is served by 127.0.0.1:2643; ask there, or ask a recursive server"


def test_a_client_that_does_not_know_the_site_yet_gets_a_referral(door: HandleDoor) -> None:
    assert ask(door, request("88.118.8/X", version=(2, 3), suggested=(2, 11))).code == Code.PREFIX_REFERRAL


def test_not_homed_here(door: HandleDoor) -> None:
    for name in ("77/X", "88.119/X", "0.NA/88", "0.0/0.0", "0"):
        said = ask(door, request(name))
        assert (said.code, said.text) == (Code.NOT_RESPONSIBLE, "this prefix is not homed here")


# ---- site info


def test_site_info_whatever_the_session(door: HandleDoor) -> None:
    asked = encode_message(Message(Op.SITE_INFO, pack_data(b"/"), request_id=9, session_id=10_001, version=(2, 10)))
    said = ask(door, asked)
    assert (said.code, said.body) == (Code.SUCCESS, encode_site(door.desk.site))
    assert (said.message.session_id, said.message.request_id) == (10_001, 9)


# ---- header and envelope of a response


def test_header_of_a_response(door: HandleDoor) -> None:
    flags = QUERY_FLAGS | CERTIFIED | KEEP_ALIVE
    for _ in ("cold", "warm"):
        message = ask(door, request("88.118/ABC", flags=flags, session_id=5, recursion=3, request_id=2**32 - 1)).message
        assert message.flags == QUERY_FLAGS | CERTIFIED | AUTHORITATIVE
        assert (message.session_id, message.request_id, message.recursion) == (5, 2**32 - 1, 3)
        assert message.expires == int(NOW) + ANSWER_SECONDS
        assert message.serial == door.desk.site.serial
        assert (message.op, message.credential) == (Op.RESOLUTION, b"")


def test_expiration_of_the_request_is_neither_copied_nor_part_of_the_question(door: HandleDoor) -> None:
    for expires in (0, 1, 2**32 - 1):
        assert ask(door, request("88.118/ABC", expires=expires)).message.expires == int(NOW) + ANSWER_SECONDS
    assert len(door.cache) == 1


@pytest.mark.parametrize(
    ("version", "suggested", "expected"),
    [
        ((2, 11), (2, 11), (2, 11)),
        ((2, 3), (2, 11), (2, 11)),
        ((2, 10), (2, 11), (2, 11)),
        ((2, 10), (2, 10), (2, 10)),
        ((2, 6), (2, 6), (2, 6)),
        ((2, 12), (2, 99), (2, 11)),
        ((2, 11), (3, 0), (2, 11)),
        ((2, 1), (1, 9), (2, 0)),
        ((5, 0), (0, 0), (2, 0)),
        ((2, 5), (0, 7), (2, 5)),  # low bits of zero: the sender knows no other version than the one it writes
    ],
)
def test_version_of_a_response(door: HandleDoor, version: Version, suggested: Version, expected: Version) -> None:
    asked = request("88.118/ABC", types=(b"URL",), version=version, suggested=suggested, flags=QUERY_FLAGS | REQUEST_DIGEST)
    for _ in ("cold", "warm"):
        said = ask(door, asked)  # checks the digest, whose form depends on the version too
        assert said.code == Code.SUCCESS
        assert (said.message.version, said.message.suggested) == (expected, (2, 11))


@pytest.mark.parametrize("version", [(1, 0), (3, 0), (0, 0), (22, 3)])
def test_version_that_cannot_be_read(door: HandleDoor, version: Version) -> None:
    said = ask(door, request("88.118/ABC", version=version))
    assert (said.code, said.message.version, said.message.request_id) == (Code.PROTOCOL_ERROR, (2, 11), 7)


def test_digest_belongs_to_each_request(door: HandleDoor) -> None:
    for name in ("88.118/ABC", "88.118/NO", "77/X"):
        for expires in (1, 2, 3):
            asked = request(name, flags=QUERY_FLAGS | REQUEST_DIGEST, expires=expires, request_id=expires)
            for stream in (False, True):
                assert ask(door, asked, stream=stream).message.request_id == expires


# ---- what is refused


@pytest.mark.parametrize(
    "op", [0, 3, 100, 101, 102, 103, 104, 105, 106, 200, 201, 300, 301, 302, 400, 401, 402, 1000, 1001, 1002, 1003, 2001, 2**32 - 1]
)
def test_operation_that_is_not_supported(door: HandleDoor, op: int) -> None:
    said = ask(door, encode_message(Message(op, b"whatever", request_id=11, session_id=10_001, credential=None)))
    assert (said.code, said.message.op, said.message.request_id) == (Code.NOT_SUPPORTED, op, 11)
    assert str(op) in said.text


def test_malformed_messages(door: HandleDoor) -> None:
    good = request("88.118/ABC")
    body = encode_resolution_request(ResolutionRequest(b"88.118/ABC", (1,), (b"URL",)))
    many = encode_resolution_request(ResolutionRequest(b"88.118/ABC", tuple(range(300))))
    bad = [
        good[:20] + good[24:],  # shorter than its envelope tells
        good[:16] + (8).to_bytes(4, "big") + good[20:28],  # shorter than a header
        good[:40] + (2**31).to_bytes(4, "big") + good[44:],  # body longer than the message
        good[:44] + (2**31 - 1).to_bytes(4, "big") + good[48:],  # name longer than the body
        good[:2] + b"\x82" + good[3:],  # compressed
        request("", body=body[:-1]),
        request("", body=body[:-9]),
        request("", body=many),
        request("88.118/ABC", credential=None) + b"\0",
    ]
    for packet in bad:
        for stream in (False, True):
            said = ask(door, packet, stream=stream)
            assert (said.code, said.message.request_id) == (Code.PROTOCOL_ERROR, 7), packet
            assert said.text


def test_octets_that_are_no_message(door: HandleDoor) -> None:
    assert ask(door, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", stream=True).code == Code.PROTOCOL_ERROR
    assert ask(door, b"", stream=True).code == Code.PROTOCOL_ERROR
    assert door.answer_datagram(b"\x02\x0b", SOURCE, NOW) is None
    assert door.answer_datagram(b"", SOURCE, NOW) is None
    assert door.desk.metrics.total("query", "handle-udp", "dropped") == 2


def test_a_response_is_not_answered(door: HandleDoor) -> None:
    response = encode_message(Message(Op.RESOLUTION, bytes(4), code=Code.NOT_FOUND))
    assert door.answer_datagram(response, SOURCE, NOW) is None
    assert door.answer_stream(response, SOURCE, NOW) is None


def test_sessions_are_unknown(door: HandleDoor) -> None:
    good = request("88.118/ABC", session_id=3)
    encrypted = good[:2] + b"\x42" + good[3:]
    signed = request("88.118/ABC", session_id=3, credential=b"HS_MAC...")
    for packet in (encrypted, signed):
        said = ask(door, packet)
        assert (said.code, said.message.session_id, said.message.request_id) == (Code.SESSION_UNKNOWN, 3, 7)


def test_handed_on_too_often(door: HandleDoor) -> None:
    assert ask(door, request("88.118/ABC", recursion=16)).code == Code.SUCCESS
    said = ask(door, request("88.118/ABC", recursion=17))
    assert (said.code, said.message.recursion) == (Code.RECURSION_TOO_HIGH, 17)


class Breaking(NoRecursion):
    """In place of a recursion: fails."""

    def __init__(self, error: WaymarkError) -> None:
        self._error = error

    def known(self, query: Query) -> Outcome | None:  # noqa: ARG002
        raise self._error


@pytest.mark.parametrize(
    ("error", "version", "code"),
    [
        (StoreError("disk"), (2, 11), Code.SERVER_BACKUP),
        (StoreError("disk"), (2, 4), Code.PREFIX_REFERRAL),  # what that was called before 2.5
        (OverloadError("full"), (2, 11), Code.TOO_BUSY),
        (WaymarkError("broken"), (2, 11), Code.ERROR),
    ],
)
def test_breakage_has_a_code(error: WaymarkError, version: Version, code: int) -> None:
    door = HandleDoor(node(None, Breaking(error)))
    said = ask(door, request("88.118/ABC", suggested=version))
    assert (said.code, said.text) == (code, str(error))


def test_corrupt_record_is_an_error(world: World, tmp_path: Path, doors: Callable[..., HandleDoor]) -> None:
    path = world.publish("88.118", tmp_path / "table")
    writer = TableWriter(path)
    octets = encode_stored(world.records[b"88.118/ABC"])
    writer.apply([Change(900, b"88.118/ABC", octets[:-30]), Change(901, b"88.118/X", b"\x09" + octets[1:])])
    writer.close()
    door = doors(world)
    for name, types in (("88.118/ABC", ()), ("88.118/ABC", (b"NAME",)), ("88.118/X", ())):
        said = ask(door, request(name, types=types))
        assert said.code == Code.SERVER_BACKUP
        assert "stored record" in said.text


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
    changed: Record = world.put("88.118/ABC", URL)
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


# ---- framing


def test_message_octets(door: HandleDoor) -> None:
    first, second = request("88.118/ABC"), request("88.118/NO")
    stream = first + second
    assert [door.message_octets(stream[:length]) for length in (0, 1, 19)] == [0, 0, 0]
    assert door.message_octets(stream[:20]) == len(first)
    assert door.message_octets(stream) == len(first)
    assert door.message_octets(stream[len(first) :]) == len(second)


@pytest.mark.parametrize("start", [b"G", b"\x16\x03\x01", b"\x02\x0b\x02\x0b" + bytes(12) + b"\x00\x04\x00\x00", b"\xff" * 20])
def test_what_can_never_be_a_message(door: HandleDoor, start: bytes) -> None:
    with pytest.raises(WaymarkError, match="Handle"):
        door.message_octets(start)
