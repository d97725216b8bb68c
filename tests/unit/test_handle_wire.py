"""Handle messages as octets: what is refused, versions, digests, datagrams, keys; and that picking values equals selecting them."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import md5
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.identifier import Identifier
from resolver.core.record import Reference, Value, selected
from resolver.core.trust import value_digests
from resolver.core.wire.admin import Admin, decode_admin, encode_admin
from resolver.core.wire.bodies import (
    ReferralResponse,
    ResolutionRequest,
    ResolutionResponse,
    decode_error,
    decode_referral,
    decode_resolution_request,
    decode_resolution_response,
    encode_referral,
    encode_resolution_request,
    encode_resolution_response,
)
from resolver.core.wire.fragments import PIECE_OCTETS, Reassembler, fragment
from resolver.core.wire.framing import pack_data
from resolver.core.wire.handle import (
    ENVELOPE_OCTETS,
    OURS,
    REQUEST_DIGEST,
    Code,
    Credential,
    Message,
    Op,
    body_after_digest,
    code_at,
    decode_credential,
    decode_envelope,
    decode_message,
    encode_credential,
    encode_message,
    request_digest,
    response_version,
)
from resolver.core.wire.keys import (
    DsaPublicKey,
    RsaPublicKey,
    Sm2PublicKey,
    decode_key_file,
    decode_private_key,
    decode_public_key,
    encode_public_key,
    encode_rsa_public,
    jwk_to_key,
    key_to_jwk,
)
from resolver.core.wire.selection import Selection
from resolver.core.wire.site import Server, Site, server_of
from resolver.core.wire.values import decode_values, encode_values
from tests.vectors.test_handle_vectors import fields_of, octets_of

U32 = st.integers(0, 2**32 - 1)
TYPES = st.text(st.sampled_from("aAbB._é"), max_size=8)
REFERENCES = st.lists(st.builds(Reference, TYPES, U32), max_size=2).map(tuple)
VALUES = st.lists(
    st.builds(
        Value, st.integers(1, 9), TYPES, st.binary(max_size=9), U32, st.integers(0, 1), U32, st.integers(0, 15), REFERENCES
    ),
    max_size=6,
).map(tuple)  # fmt: skip


# ---- messages


@given(
    st.builds(
        Message, U32, st.binary(max_size=40), U32, U32, U32, U32,
        st.tuples(st.just(2), st.integers(0, 255)), st.tuples(st.integers(1, 3), st.integers(0, 255)),
        st.integers(0, 65_535), st.integers(0, 255), U32, st.none() | st.binary(max_size=9),
    )
)  # fmt: skip
def test_message_comes_back(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.text(), st.text(), st.binary(), U32, st.text())
def test_credential_comes_back(kind: str, hash_name: str, signature: bytes, counter: int, signer: str) -> None:
    credential = Credential(kind, hash_name, signature, counter, signer)
    assert decode_credential(encode_credential(credential)) == credential


def test_envelope_that_is_too_long_is_refused_before_the_message_has_come() -> None:
    octets = encode_message(Message(Op.RESOLUTION))
    with pytest.raises(LimitError, match="262144"):
        decode_envelope(octets[:16] + (262_144 - 19).to_bytes(4, "big"))
    assert decode_envelope(octets[:16] + (262_144 - 20).to_bytes(4, "big")).length == 262_124


@pytest.mark.parametrize("bits", [0x80, 0x40])
def test_compressed_or_encrypted_message_cannot_be_read(bits: int) -> None:
    octets = encode_message(Message(Op.RESOLUTION))
    with pytest.raises(FormatError, match="cannot be read"):
        decode_message(octets[:2] + bytes((octets[2] | bits,)) + octets[3:])


def test_old_alias_of_the_first_version() -> None:
    octets = encode_message(Message(Op.RESOLUTION))
    envelope = decode_envelope(b"\x05\x07" + bytes(2) + octets[4:])
    assert (envelope.version, envelope.suggested) == ((2, 0), (2, 0))


def test_versions() -> None:
    assert [response_version(v) for v in ((2, 3), (2, 11), (2, 12), (3, 0), (1, 0))] == [(2, 3), OURS, OURS, OURS, (2, 0)]
    assert code_at((2, 4), Code.INVALID_VALUE) == Code.VALUE_EXISTS
    assert code_at((2, 5), Code.INVALID_VALUE) == Code.INVALID_VALUE
    assert code_at((2, 4), Code.NOT_FOUND) == Code.NOT_FOUND


def test_digest_before_the_digests_had_codes() -> None:
    request = encode_message(Message(Op.RESOLUTION, b"body", credential=b"not covered"))
    digest = request_digest((2, 0), request)
    assert digest == pack_data(md5(request[ENVELOPE_OCTETS : ENVELOPE_OCTETS + 28], usedforsecurity=False).digest())
    response = Message(Op.RESOLUTION, digest + b"rest", flags=REQUEST_DIGEST, version=(2, 0))
    assert body_after_digest(response, request) == b"rest"


def test_response_to_another_request_is_refused() -> None:
    request, other = (encode_message(Message(Op.RESOLUTION, body)) for body in (b"this", b"that"))
    response = Message(Op.RESOLUTION, request_digest(OURS, request) + b"rest", flags=REQUEST_DIGEST)
    assert body_after_digest(response, request) == b"rest"
    with pytest.raises(FormatError, match="another question"):
        body_after_digest(response, other)
    assert body_after_digest(Message(Op.RESOLUTION, b"rest"), other) == b"rest"


# ---- bodies


@given(st.binary(max_size=20), st.lists(U32, max_size=5), st.lists(st.binary(max_size=9), max_size=5), st.none() | st.binary())
def test_resolution_request_comes_back(name: bytes, indexes: list[int], types: list[bytes], token: bytes | None) -> None:
    request = ResolutionRequest(name, tuple(indexes), tuple(types), token)
    assert decode_resolution_request(encode_resolution_request(request)) == request


@given(st.binary(max_size=20), VALUES)
def test_answers_and_referrals_come_back(name: bytes, values: tuple[Value, ...]) -> None:
    answer, referral = ResolutionResponse(name, values), ReferralResponse(name, values)
    assert decode_resolution_response(encode_resolution_response(answer)) == answer
    assert decode_referral(encode_referral(referral)) == referral


def test_as_many_filter_items_as_are_allowed() -> None:
    def body(indexes: int, types: int) -> bytes:
        return encode_resolution_request(ResolutionRequest(b"88/x", tuple(range(indexes)), (b"T",) * types))

    assert len(decode_resolution_request(body(256, 256)).types) == 256
    for indexes, types in ((257, 0), (0, 257)):
        with pytest.raises(LimitError, match="at most 256"):
            decode_resolution_request(body(indexes, types))
    with pytest.raises(LimitError, match="at most 3 "):
        decode_resolution_request(body(4, 0), filter_items=3)


def test_error_text_is_read_whatever_it_is() -> None:
    assert decode_error(b"") == ""
    assert decode_error(pack_data(b"caf\xe9") + b"\0\0\0\1") == "caf\ufffd"


# ---- picking values


@given(VALUES, st.lists(st.integers(0, 10), max_size=3), st.lists(TYPES, max_size=3))
@settings(max_examples=300)
def test_picking_is_selecting(values: tuple[Value, ...], indexes: list[int], types: list[str]) -> None:
    """The same as `record.selected` over decoded values, which folds letters beyond ASCII too: they are left out here."""
    types = [type_ for type_ in types if type_.isascii()]
    public = tuple(value for value in values if value.is_public)
    picked = Selection(indexes, [type_.encode() for type_ in types]).pick(encode_values(values))
    assert decode_values(b"".join(picked)) == selected(public, tuple(indexes), tuple(types))


def test_only_signature_types_are_left_out_of_the_digests() -> None:
    types = ("HS_SIGNATURE", "HS_SIGNATURE.ED25519", "HS_SIGNATURES", "HS_SIGNATURE_X", "URL")
    values = [Value(index, type_, b"x") for index, type_ in enumerate(types, 1)]
    assert [index for index, _ in value_digests(encode_values(values))] == [3, 4, 5]


# ---- datagrams


@given(st.integers(0, 5 * PIECE_OCTETS), st.randoms(use_true_random=False))
def test_datagrams_in_any_order(octets: int, order: Random) -> None:
    message = encode_message(Message(Op.RESOLUTION, bytes(octets), request_id=5))
    datagrams = list(fragment(message, truncated=True))
    assert all(len(datagram) <= limits.handle_fragment_octets.default for datagram in datagrams)
    order.shuffle(datagrams)
    pieces = Reassembler(2, 5)
    assert [pieces.add("a", datagram, 0) for datagram in datagrams] == [None] * (len(datagrams) - 1) + [message]
    assert len(pieces) == 0


def parts(request_id: int, octets: int = 600) -> tuple[bytes, ...]:
    return fragment(encode_message(Message(Op.RESOLUTION, bytes(octets), request_id=request_id)))


def test_sets_of_datagrams_are_bounded_in_number_and_time() -> None:
    pieces = Reassembler(3, 5)
    for number in range(10):
        assert pieces.add("a", parts(number)[0], now=number / 10) is None
    assert len(pieces) == 3
    assert pieces.add("a", parts(6)[1], now=1) is None, "the oldest had to go"
    assert pieces.add("a", parts(9)[1], now=1) is not None
    assert pieces.add("a", parts(8)[1], now=5.85) is None, "too late"
    assert len(pieces) == 2


def test_pieces_of_different_askers_are_not_mixed() -> None:
    pieces = Reassembler(9, 5)
    first, second = parts(1)
    assert pieces.add("a", first, 0) is None
    assert pieces.add("b", second, 0) is None
    assert pieces.add("a", parts(2)[1], 0) is None
    assert pieces.add("a", parts(1, 700)[1], 0) is None
    assert pieces.add("a", second, 0) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda piece: piece[:-1],
        lambda piece: piece + b"x",
        lambda piece: piece[:12] + (7).to_bytes(4, "big") + piece[16:],
        lambda piece: piece[:12] + (2**32 - 1).to_bytes(4, "big") + piece[16:],
        lambda piece: piece[:16] + (70_000).to_bytes(4, "big") + piece[20:],
        lambda piece: piece[:16] + bytes(4) + piece[20:],
    ],
)
def test_datagram_that_can_be_no_piece(spoil: Callable[[bytes], bytes]) -> None:
    pieces = Reassembler(9, 5, octets_max=65_536)
    with pytest.raises(FormatError):
        pieces.add("a", spoil(parts(1)[0]), 0)
    assert len(pieces) == 0


def test_server_of_a_site_without_servers() -> None:
    with pytest.raises(FormatError, match="no server"):
        server_of(Site(()), Identifier.parse("88/x"))
    only = Server(1, "127.0.0.1", b"", ())
    assert server_of(Site((only,)), Identifier.parse("88/x")) is only


# ---- keys and administrators


def pem(key: rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_rsa_key_in_each_form() -> None:
    private = rsa.generate_private_key(65_537, 1024)
    n = private.public_key().public_numbers().n
    expected = RsaPublicKey(n, 65_537)
    binary = encode_rsa_public(n, 65_537)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key()).serial_number(1)
    dated = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    certificate = dated.sign(private, SHA256()).public_bytes(serialization.Encoding.PEM)
    assert binary.endswith(bytes(4))
    for octets in (binary, binary[:-4], pem(private.public_key()), certificate, certificate.replace(b"\n", b"\r\n")):
        assert decode_public_key(octets) == expected
    assert encode_public_key(expected) == binary
    assert jwk_to_key(key_to_jwk(expected), "key") == expected


def test_dsa_and_sm2_keys_as_pem() -> None:
    spki = bytes.fromhex(fields_of("key.dsa.public")["spki_hex"])
    public = serialization.load_der_public_key(spki)
    assert isinstance(public, dsa.DSAPublicKey)
    assert decode_public_key(pem(public)) == decode_public_key(octets_of("key.dsa.public"))
    key = decode_public_key(octets_of("idis.key.sm2.public"))
    assert isinstance(key, Sm2PublicKey)
    from_der = decode_public_key(encode_public_key(Sm2PublicKey(key.spki)))
    from_pem = decode_public_key(key.content)
    assert isinstance(from_der, Sm2PublicKey)
    assert isinstance(from_pem, Sm2PublicKey)
    assert from_der.spki == from_pem.spki == key.spki
    assert key_to_jwk(key) is None


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "length of name"),
        (pack_data(b"EC_PUB_KEY") + bytes(2), "no key called"),
        (pack_data(b"RSA_PUB_KEY") + b"\0\1" + bytes(8), "flags"),
        (pack_data(b"RSA_PUB_KEY") + bytes(2) + pack_data(b"\3") + pack_data(b"\5") + pack_data(b"x"), "empty string"),
        (pack_data(b"RSA_PUB_KEY") + bytes(2) + pack_data(b"\3") + pack_data(b"\5") + bytes(5), "too many"),
        (pack_data(b"SM2_PUB_KEY") + bytes(2) + pack_data(b"x" * 91), "SubjectPublicKeyInfo"),
        (b"-----BEGIN PUBLIC KEY-----", "one block"),
        (b"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----", "base64"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "was expected"),
        (bytes(20_000), "at most 16384"),
    ],
)
def test_public_key_that_is_none(octets: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        decode_public_key(octets, "300:0.NA/88")


def test_key_of_another_kind() -> None:
    with pytest.raises(FormatError, match="RSA, DSA or SM2"):
        decode_public_key(pem(ec.generate_private_key(ec.SECP256R1()).public_key()))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"kty": "OKP"},
        {"kty": "RSA", "n": "AQ"},
        {"kty": "RSA", "n": "A Q", "e": "AQ"},
        {"kty": "DSA", "p": 7},
        {"kty": []},
    ],
)
def test_jwk_that_is_none(document: object) -> None:
    with pytest.raises(FormatError, match="key"):
        jwk_to_key(document, "key")


def test_private_key_that_cannot_be_read() -> None:
    with pytest.raises(FormatError, match="decrypt the file first"):
        decode_key_file(b"\0\0\0\4" + bytes(40), "admpriv.bin")
    with pytest.raises(FormatError, match="RSA_PRIVCRT_KEY, DSA_PRIV_KEY"):
        decode_private_key(pack_data(b"RSA_PRIV_KEY"))


def test_dsa_numbers_are_read_as_unsigned() -> None:
    key = DsaPublicKey(0x80, 0xFF, 0, 2**64)
    assert decode_public_key(encode_public_key(key)) == key


@given(st.integers(0, 0x0FFF), st.text(max_size=9), U32, st.booleans())
def test_admin_comes_back(permissions: int, identifier: str, index: int, legacy: bool) -> None:
    admin = Admin(identifier, index, permissions, legacy)
    assert decode_admin(encode_admin(admin)) == admin


@pytest.mark.parametrize("octets", [b"", b"\x10\x00" + bytes(8), encode_admin(Admin("a", 1, 1)) + b"\0\1", bytes(13)])
def test_admin_that_is_none(octets: bytes) -> None:
    with pytest.raises(FormatError, match="HS_ADMIN"):
        decode_admin(octets)
