"""What the Handle door says to resolutions: values, referrals, that there is nothing; and the header of a response."""

from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from resolver.core import trust
from resolver.core.identifier import Identifier, signer
from resolver.core.record import Value
from resolver.core.wire.bodies import (
    ResolutionRequest,
    decode_referral,
    decode_resolution_response,
    encode_resolution_request,
)
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
from resolver.table import Change, TableWriter
from tests.support.handle import NOW, ask, request, table_of, values_of
from tests.support.world import World


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


def hashed_name(name: str) -> bytes:
    prefix, _, suffix = name.partition("/")
    return prefix.encode() + b"/\0" + sha256(suffix.encode()).digest()


@pytest.mark.parametrize("suffix", ["长" * 7, "长" * 240, "A" * 21, "x" * 61])
def test_a_hashed_name_is_answered_with_the_identifier(world: World, doors: Callable[..., HandleDoor], suffix: str) -> None:
    """Also where it is the very key of the record in the table."""
    name = f"88.118/{suffix}"
    world.put(name, Value(1, "URL", b"https://example.org/"), Value(301, "HS_SECKEY", b"s3cret", permissions=0x0C))
    door = doors(world)
    for _ in ("written", "ready"):
        assert decode_resolution_response(ask(door, request(hashed_name(name))).body).name == name.encode()
    assert values_of(door, request(hashed_name(name), request_id=9)) == tuple(v for v in world.values(name) if v.is_public)
    assert [v.type for v in values_of(door, request(hashed_name(name), types=(b"URL",)))] == ["URL"]


def test_a_ready_answer_to_a_hashed_name_ends_with_its_record(
    world: World, doors: Callable[..., HandleDoor], tmp_path: Path
) -> None:
    name = "88.118/" + "长" * 7
    world.put(name, Value(1, "URL", b"https://example.org/"))
    with closing(TableWriter(world.publish("88.118", tmp_path / "table"))) as writer:
        door = doors(world)
        for _ in ("written", "ready"):
            assert ask(door, request(hashed_name(name))).code == Code.SUCCESS
        writer.apply([Change(world.serial + 1, name.encode(), encode_stored(world.delete(name)))])
        door.forget(table_of(door).refresh())
        gone = ask(door, request(hashed_name(name)))
    assert gone.code == Code.NOT_FOUND
    assert gone.text.startswith("gone since")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (hashed_name("88.118/" + "无" * 7), Code.NOT_FOUND),
        (hashed_name("88.118/ABC"), Code.NOT_FOUND),  # it has a label of its own
        (hashed_name("88.118.8/" + "无" * 7), Code.PREFIX_REFERRAL),
        (hashed_name("99/" + "无" * 7), Code.NOT_RESPONSIBLE),
        (hashed_name("0.NA/88.118." + "A" * 40), Code.INVALID_NAME),
        (hashed_name("0.na/88.118." + "A" * 40), Code.INVALID_NAME),
        (hashed_name("88..118/" + "无" * 7), Code.INVALID_NAME),
        (hashed_name("八八/" + "无" * 7), Code.INVALID_NAME),
        (b"88.118/\0" + bytes(31), Code.INVALID_NAME),
        (b"88.118/\0" + bytes(33), Code.INVALID_NAME),
        (b"88.118/\0", Code.INVALID_NAME),
        (b"88.118/x/\0" + bytes(32), Code.INVALID_NAME),
    ],
)
def test_hashed_names_without_an_answer(door: HandleDoor, name: bytes, code: Code) -> None:
    assert ask(door, request(name)).code == code


# ---- not here, not any more, not a name


def test_no_such_identifier(door: HandleDoor) -> None:
    for name in ("88.118/NO", "88.118/没有", "88.118/" + "x" * 200, "0.NA/88.118.7"):
        said = ask(door, request(name))
        assert (said.code, said.text) == (Code.NOT_FOUND, "88.118 has no such identifier")
        assert said.message.flags & AUTHORITATIVE


def test_deleted_identifier_says_since_when(door: HandleDoor) -> None:
    said = ask(door, request("88.118/OLD"))
    assert (said.code, said.text) == (Code.NOT_FOUND, "gone since 2027-01-15T08:00:00Z: deleted, and not given away again")


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
