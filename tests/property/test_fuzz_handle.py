"""Any octets: a Handle decoder raises FormatError or nothing, and the door answers or drops, at a bounded cost.

Golden vectors are broken in many ways, more than 200,000 times in all. A failing assertion tells the seed and the number of the
input, with which the failure comes back.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.core.errors import FormatError
from resolver.core.record import Value
from resolver.core.wire.admin import decode_admin
from resolver.core.wire.bodies import (
    ResolutionRequest,
    decode_error,
    decode_referral,
    decode_resolution_request,
    decode_resolution_response,
    decode_site_info_request,
    encode_resolution_request,
)
from resolver.core.wire.fragments import Reassembler, fragment
from resolver.core.wire.framing import Reader
from resolver.core.wire.handle import (
    ENVELOPE_OCTETS,
    QUERY_FLAGS,
    REQUEST_DIGEST,
    Code,
    body_after_digest,
    decode_credential,
    decode_envelope,
    decode_message,
)
from resolver.core.wire.keys import decode_key_file, decode_private_key, decode_public_key
from resolver.core.wire.site import decode_site
from resolver.core.wire.values import decode_values, read_references
from resolver.doors.handle import HandleDoor
from tests.support.dns import node
from tests.support.fuzz import calls_of, mutated
from tests.support.handle import SOURCE, ask, request, whole
from tests.support.world import World
from tests.vectors.test_handle_vectors import names, octets_of

SEED = 3652
DECODER_INPUTS = 12_000  # for each of them
DOOR_INPUTS = 30_000  # each over UDP and over TCP
CALLS_MAX = 6_000  # of one packet, whatever it is: a plain answer takes about 60

MESSAGES = [octets_of(name) for name in names("message")]
BODIES = [decode_message(octets).body for octets in MESSAGES]
VALUES = [octets_of(name) for name in names("handle_value")]
KEYS = [octets_of(name) for name in names("pubkey", "privkey", "privkey-file")]
PEM = [octets_of("idis.key.sm2.public")[21:]]
DATA = [octets_of(name) for name in names("hs_admin", "hs_site")] + KEYS
CREDENTIALS = [message.credential for message in map(decode_message, MESSAGES) if message.credential]
ALL_CODES = set(map(int, Code))
REQUEST = request("88.118/ABC", flags=QUERY_FLAGS | REQUEST_DIGEST)
HASHED = b"88.118/\0" + bytes(range(32))


def answer_to_the_request(octets: bytes) -> bytes:
    return body_after_digest(decode_message(octets), REQUEST)


def references(octets: bytes) -> object:
    return read_references(Reader(octets, "HS_VLIST"))


DECODERS: list[tuple[Callable[[bytes], object], list[bytes]]] = [
    (decode_envelope, MESSAGES),
    (decode_message, MESSAGES),
    (answer_to_the_request, MESSAGES),
    (decode_credential, CREDENTIALS),
    (decode_resolution_request, BODIES),
    (decode_resolution_response, BODIES),
    (decode_referral, BODIES),
    (decode_error, BODIES),
    (decode_site_info_request, BODIES),
    (decode_site, DATA),
    (decode_admin, DATA),
    (decode_values, VALUES),
    (references, [value[-40:] for value in VALUES]),
    (decode_public_key, KEYS + PEM),
    (decode_private_key, KEYS),
    (lambda octets: decode_key_file(octets, "key.bin"), KEYS),
]


def refusal(decode: Callable[[bytes], object], octets: bytes) -> str | None:
    """The text of the FormatError that `octets` are refused with, None if they are not."""
    try:
        decode(octets)
    except FormatError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("decode", "good"), DECODERS)
def test_decoders_raise_nothing_but_format_errors(decode: Callable[[bytes], object], good: list[bytes]) -> None:
    random, refused = Random(SEED), 0
    for number in range(DECODER_INPUTS):
        octets = mutated(random, good)
        try:
            text = refusal(decode, octets)
        except Exception as error:
            pytest.fail(f"seed {SEED}, input {number}: {error!r} for {octets.hex()}")
        if text is not None:
            refused += 1
            assert 0 < len(text) < 1000, f"seed {SEED}, input {number}: {text[:2000]}"
    assert refused, "nothing was broken enough"


@pytest.mark.parametrize("decode", [decode for decode, _ in DECODERS])
@given(octets=st.binary(max_size=300))
def test_decoders_on_octets_of_all_kinds(decode: Callable[[bytes], object], octets: bytes) -> None:
    assert refusal(decode, octets) != ""


def test_reassembler_stays_within_its_bounds() -> None:
    random, pieces = Random(SEED), Reassembler(16, 5, 65_536)
    good = [piece for octets in (*MESSAGES, REQUEST + bytes(2000)) for piece in fragment(octets, truncated=True)]
    for number in range(DECODER_INPUTS):
        try:
            message = pieces.add(random.randrange(4), mutated(random, good), number / 100)
        except FormatError:
            continue
        assert len(pieces) <= 16
        assert message is None or len(message) == ENVELOPE_OCTETS + decode_envelope(message).length


# ---- the door


@pytest.fixture(name="door", scope="module")
def _door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HandleDoor]:
    path: Path = tmp_path_factory.mktemp("fuzz") / "table"
    world = World(now=1_800_000_000)
    for prefix in ("88", "88.118", "88.118.8", "88.111", "88.111.1"):
        world.delegate(prefix)
    world.put("88.118/ABC", Value(1, "URL", b"https://example.org/"), Value(2, "HS_SECKEY", b"x", permissions=0x0C))
    world.put("88.111.1/test", Value(1, "URL", b"https://example.org/"))
    many = (Value(index, f"{'a.' * 40}T{index}", b"") for index in range(1, 1025))
    world.put("88.118/MANY", *many)
    door = HandleDoor(node(world.publish(["88.118", "88.111.1"], path), bounds={"answer_cache_octets": 200_000}))
    yield door
    assert door.desk.table is not None
    door.desk.table.close()


def check(door: HandleDoor, packet: bytes, now: float) -> set[int]:
    """Both ways in: the door answers with the request's number, in datagrams that fit, or drops. Returns the codes it said."""
    codes = set()
    for reply in (door.answer_datagram(packet, SOURCE, now), door.answer_stream(packet, SOURCE, now)):
        if reply is None:
            continue
        for datagram in reply if isinstance(reply, tuple) else ():
            assert len(datagram) <= 512
        message = decode_message(whole(reply))
        assert message.code in ALL_CODES
        codes.add(message.code)
        assert message.request_id == int.from_bytes(packet[8:12].ljust(4, b"\0"), "big")
    assert refusal(door.message_octets, packet) != ""
    return codes


def test_door_answers_or_drops_whatever_comes(door: HandleDoor) -> None:
    random = Random(SEED)
    good = [*MESSAGES, REQUEST, request("88.118/ABC", (1,), (b"URL", b"HS_SITE."), session_id=5)]
    good += [request("88.118.8/X"), request("88.118/ABC", (7,)), request(HASHED)]
    codes: set[int] = set()
    for number in range(DOOR_INPUTS):
        packet = mutated(random, good)
        try:
            codes |= check(door, packet, 1_800_000_000.0 + number / 1000)
        except Exception as error:
            pytest.fail(f"seed {SEED}, input {number}: {error!r} for {packet.hex()}")
    expected = {Code.SUCCESS, Code.PROTOCOL_ERROR, Code.NOT_SUPPORTED, Code.NOT_FOUND, Code.INVALID_NAME, Code.NOT_RESPONSIBLE}
    assert codes >= expected | {Code.PREFIX_REFERRAL, Code.VALUES_NOT_FOUND, Code.SESSION_UNKNOWN, Code.RECURSION_TOO_HIGH}
    assert ask(door, REQUEST).code == Code.SUCCESS
    assert door.cache.octets <= 200_000


@given(packet=st.binary(max_size=600), head=st.sampled_from([b"", REQUEST[:20], REQUEST[:44], REQUEST[:48]]))
def test_door_on_octets_of_all_kinds(door: HandleDoor, head: bytes, packet: bytes) -> None:
    check(door, head + packet, 1_800_000_000.0)


def costly() -> list[bytes]:
    """Packets made to cost much: as many filters as are allowed, long dotted types, names that suggest others."""

    def filtered(indexes: int, types: list[bytes]) -> bytes:
        body = encode_resolution_request(ResolutionRequest(b"88.118/ABC", tuple(range(indexes)), tuple(types)))
        return request("", body=body)

    names_ = ["88." * 600 + "1/x", "88 118 " * 200, "https://" + "%41" * 500, "\u200b" * 600, "８８．１１８／" * 50, "x" * 2048]
    return [
        filtered(256, [b"T%d" % number for number in range(256)]),
        filtered(256, [b"." * 200] * 256),
        *map(request, names_),
        request(b"\xff" * 60_000),
        request(b"88.118/" + b"a" * 60_000),
    ]


def test_no_packet_costs_much(door: HandleDoor) -> None:
    random = Random(SEED)
    packets = costly() + [mutated(random, [*MESSAGES, REQUEST]) for _ in range(1500)]
    for packet in packets:
        assert calls_of(door.answer_stream, packet, SOURCE, 1_900_000_000.0) < CALLS_MAX, packet[:200].hex()


def test_cost_of_a_filter_grows_with_the_record_alone(door: HandleDoor) -> None:
    def cost(types: list[bytes]) -> int:
        body = encode_resolution_request(ResolutionRequest(b"88.118/MANY", (), tuple(types)))
        return calls_of(door.answer_stream, request("", body=body), SOURCE, 1_900_000_000.0)

    few, many = cost([b"X" * 256 + b"."]), cost([b"X" * number + b"." for number in range(1, 257)])
    assert many < 1.2 * few
    assert few < 150 * 1024
