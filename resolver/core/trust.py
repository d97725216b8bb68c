"""Trust: what a signature covers, who may sign what, and when an answer is believed. One verdict, fail closed.

A record's signature is a value of type HS_SIGNATURE.ED25519 at index 402: a compact JWS (RFC 7515, RFC 8037) whose claims are
    sub      the identifier in its canonical spelling
    iss      the key that signs, as a value reference: `302:0.NA/<prefix>`, at the root `302:0.0/0.0`
    iat nbf exp   whole seconds since 1970, all required
    serial   grows with every version of the record
    digests  index and SHA-256 of every public value, over its encoding without its first 8 octets (index, timestamp);
             values that are themselves signatures are left out
It is read strictly: the public values must be exactly those of the list, none added, dropped, changed or doubled; the algorithm
comes from the key and from an allow-list of one; the names alone say which key may sign (`identifier.signer`).

A delegation is the record `0.NA/<prefix>`, signed by the prefix above. Its JWK values are the keys of `<prefix>`. So a chain leads
from any record up to `0.0/0.0`, which is signed by a key of the anchor that the resolver was configured with. Below the anchor
there is no "insecure": a record is verified or refused.

*Verify, then parse*: no claim is looked at before the signature over it holds. `Trusted` is made here and nowhere else, so having
one means that it was verified.
"""

import json
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from json.encoder import encode_basestring
from struct import Struct
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from resolver.core import limits
from resolver.core.errors import FormatError, SignatureError
from resolver.core.identifier import ANCHOR, Identifier, signer
from resolver.core.record import INDEX_KEY, INDEX_SIGNATURE, PUBLIC_READ, TYPE_KEY, TYPE_SIGNATURE, Value, is_signature_type
from resolver.core.wire.values import SIGNED_FROM, encode_value

_HEADER = b"eyJhbGciOiJFZERTQSJ9"  # {"alg":"EdDSA"}
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_CLAIM_NUMBERS = ("iat", "nbf", "exp", "serial")
_VALUE_FIXED = Struct(">I9xBI")  # of an encoded value: its index, at offset 13 its permissions, and the length of its type
_U32 = Struct(">I")
_SIGNATURE_TYPE = b"HS_SIGNATURE"


class Reason(StrEnum):
    """Why a record was refused. Every kind of tampering has its own."""

    NO_SIGNATURE = "no-signature"
    BAD_TOKEN = "bad-token"  # noqa: S105
    ALGORITHM = "algorithm"
    BAD_SIGNATURE = "bad-signature"
    WRONG_SIGNER = "wrong-signer"
    WRONG_SCOPE = "wrong-scope"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    SERIAL_REGRESS = "serial-regress"
    CHANGED_VALUE = "changed-value"
    MISSING_VALUE = "missing-value"
    EXTRA_VALUE = "extra-value"
    DUPLICATE_VALUE = "duplicate-value"
    NO_KEY = "no-key"
    BROKEN_CHAIN = "broken-chain"
    CHAIN_TOO_LONG = "chain-too-long"


class Keys(NamedTuple):
    """The keys that one prefix signs with. `holder` is the canonical identifier of the record that names them."""

    holder: str
    public: Mapping[int, bytes]  # index -> 32 octets, Ed25519
    expires: int


class Trusted(NamedTuple):
    """A record whose signature holds under keys that are themselves trusted. Times in seconds since 1970."""

    identifier: Identifier
    values: tuple[Value, ...]  # the public ones, signature values left out
    signature: Value
    issuer: str
    serial: int
    issued: int
    expires: int

    @property
    def keys(self) -> Keys:
        """The keys that this prefix record hands down. Raises SignatureError if it names none."""
        return Keys(self.identifier.canonical, public_keys(self.values, self.identifier.canonical), self.expires)


class Verdict(NamedTuple):
    """What is said of an answer: `reason` is "verified", a Reason, "no-such-identifier" or "unreachable"; `text` a sentence."""

    verified: bool
    reason: str
    text: str


# ---- writing: claims and token of a record


def value_digests(encoded: bytes) -> list[tuple[int, str]]:
    """Index and base64 SHA-256 of each public value in `encoded` (values in wire form, joined) that is not a signature."""
    found = []
    fixed, u32 = _VALUE_FIXED.unpack_from, _U32.unpack_from
    position, end_of_all = 0, len(encoded)
    while position < end_of_all:
        index, permissions, type_octets = fixed(encoded, position)
        type_end = end = position + 18 + type_octets
        end += 4 + u32(encoded, end)[0]
        (references,) = u32(encoded, end)
        end += 4
        while references:
            end += 8 + u32(encoded, end)[0]
            references -= 1
        if permissions & PUBLIC_READ and not (
            encoded.startswith(_SIGNATURE_TYPE, position + 18)
            and (type_end == position + 18 + len(_SIGNATURE_TYPE) or encoded[position + 18 + len(_SIGNATURE_TYPE)] == ord("."))
        ):
            digest = sha256(encoded[position + SIGNED_FROM : end]).digest()
            found.append((index, b2a_base64(digest, newline=False).decode()))
        position = end
    return found


def signing_input(
    subject: str, issuer: str, issued: int, not_before: int, expires: int, serial: int, digests: Iterable[tuple[int, str]]
) -> bytes:
    """What is signed: header and claims of the JWS, base64url, joined by a dot. The same facts always give the same octets."""
    listed = ",".join([f'{{"index":{index},"digest":"{digest}"}}' for index, digest in digests])
    claims = (
        f'{{"sub":{encode_basestring(subject)},"iss":"{issuer}","iat":{issued},"nbf":{not_before},"exp":{expires},'
        f'"serial":{serial},"digests":{{"alg":"SHA-256","digests":[{listed}]}}}}'
    )
    return _HEADER + b"." + _base64url(claims.encode())


def token(signed: bytes, signature: bytes) -> bytes:
    """The compact JWS of `signed` (from `signing_input`) and its 64-octet signature."""
    return signed + b"." + _base64url(signature)


def issuer(identifier: Identifier, key_index: int = INDEX_KEY) -> str:
    """The value reference of the key that signs `identifier`, as `iss` has it."""
    return f"{key_index}:{signer(identifier).canonical}"


def signature_value(jws: bytes, issued: int, ttl: int) -> Value:
    """The value that carries a record's signature in an answer."""
    return Value(INDEX_SIGNATURE, TYPE_SIGNATURE, jws, ttl, timestamp=issued)


# ---- keys


def jwk(public: bytes) -> dict[str, str]:
    """A public Ed25519 key (32 octets) as a JWK (RFC 8037, 2)."""
    return {"kty": "OKP", "crv": "Ed25519", "x": urlsafe_b64encode(public).rstrip(b"=").decode()}


def read_jwk(document: object, place: str) -> bytes:
    """The 32 octets of an Ed25519 public key. Raises FormatError naming `place`."""
    if not isinstance(document, dict) or document.get("kty") != "OKP" or document.get("crv") != "Ed25519":
        raise FormatError(f"{place}: expected a JWK with kty OKP and crv Ed25519")
    if "d" in document:
        raise FormatError(f"{place}: this JWK holds a private key; publish the public part only")
    x = document.get("x")
    octets = _unbase64url(x.encode()) if isinstance(x, str) and x.isascii() else None
    if octets is None or len(octets) != 32:
        raise FormatError(f"{place}: x must be 32 octets in base64url without padding")
    return octets


def public_keys(values: Iterable[Value], place: str) -> dict[int, bytes]:
    """The keys among `values`: type JWK, by index. Raises SignatureError if there is none, or one cannot be read."""
    found: dict[int, bytes] = {}
    for value in values:
        if value.type == TYPE_KEY:
            try:
                found[value.index] = read_jwk(json.loads(value.data), f"key {value.index}:{place}")
            except (ValueError, RecursionError, FormatError) as error:
                raise SignatureError(Reason.NO_KEY, f"key {value.index}:{place} cannot be read: {error}") from None
    if not found:
        raise SignatureError(Reason.NO_KEY, f"{place} names no key (a value of type JWK), so nothing below it can be verified")
    return found


# ---- reading: verification is the constructor of trusted data


def verify(identifier: Identifier, values: Sequence[Value], keys: Keys, now: int, serial_seen: int = 0) -> Trusted:
    """`values`, as received for `identifier`, verified under `keys`. Raises SignatureError with a Reason.

    `keys` must be those of `identifier.signer`; `serial_seen` is the newest serial already known of this record, 0 if none.
    """
    name = identifier.canonical
    holder = ANCHOR if name == ANCHOR else signer(identifier).canonical
    if keys.holder != holder:
        raise SignatureError(Reason.WRONG_SIGNER, f"{name} is signed by {holder}; the keys offered are of {keys.holder}")
    signature = _the_signature(name, values)
    key_index, claims = _opened(name, signature.data, keys)
    issued, not_before, expires, serial = _checked_claims(name, claims, f"{key_index}:{keys.holder}")
    if now < not_before - limits.clock_skew_seconds.default:
        raise SignatureError(Reason.NOT_YET_VALID, f"{name}: signature is valid from {not_before}, in {not_before - now} s")
    if now >= min(expires, keys.expires):
        late = "signature" if now >= expires else f"the key's own record {keys.holder}"
        raise SignatureError(Reason.EXPIRED, f"{name}: {late} expired at {min(expires, keys.expires)}, {now - expires} s ago")
    if serial < serial_seen:
        raise SignatureError(Reason.SERIAL_REGRESS, f"{name}: serial {serial} is older than {serial_seen}, already seen")
    covered = _covered_values(name, values, claims["digests"])
    return Trusted(identifier, covered, signature, f"{key_index}:{keys.holder}", serial, issued, min(expires, keys.expires))


def verify_chain(records: Sequence[tuple[Identifier, Sequence[Value]]], anchor: Keys, now: int) -> list[Trusted]:
    """A whole chain, from the record in question up to `0.0/0.0`, in that order; returned in the same order.

    Raises SignatureError: for the link that fails, for a link that is not the next one's subject, or for too many of them.
    """
    if len(records) > limits.chain_records.default:
        raise SignatureError(Reason.CHAIN_TOO_LONG, f"chain of {len(records)} records; at most {limits.chain_records.default}")
    if not records or records[-1][0].canonical != ANCHOR:
        raise SignatureError(Reason.BROKEN_CHAIN, f"the chain does not end at {ANCHOR}")
    for (identifier, _), (above, _) in pairwise(records):
        if signer(identifier) != above:
            raise SignatureError(Reason.BROKEN_CHAIN, f"{identifier} is signed by {signer(identifier)}, but {above} follows it")
    keys, trusted = anchor, []
    for identifier, values in reversed(records):
        link = verify(identifier, values, keys, now)
        trusted.append(link)
        keys = link.keys if identifier is not records[0][0] else keys
    return trusted[::-1]


# ---- helpers of reading


def _the_signature(name: str, values: Sequence[Value]) -> Value:
    found = [value for value in values if value.type == TYPE_SIGNATURE]
    if not found:
        raise SignatureError(Reason.NO_SIGNATURE, f"{name} has no value of type {TYPE_SIGNATURE}")
    if len(found) > 1:
        raise SignatureError(Reason.DUPLICATE_VALUE, f"{name} has {len(found)} values of type {TYPE_SIGNATURE}; one is allowed")
    if len(found[0].data) > limits.token_octets.default:
        raise SignatureError(Reason.BAD_TOKEN, f"{name}: signature of {len(found[0].data)} octets")
    return found[0]


def _opened(name: str, jws: bytes, keys: Keys) -> tuple[int, dict[str, Any]]:
    """Index of the key that made `jws`, and its claims. The claims are parsed only once the signature holds."""
    signed, _, tail = jws.rpartition(b".")
    header, _, payload = signed.partition(b".")
    if header != _HEADER:
        claimed = _unbase64url(header)
        if claimed is None or b"." in payload or not payload:
            raise SignatureError(Reason.BAD_TOKEN, f"{name}: signature is not a compact JWS")
        raise SignatureError(Reason.ALGORITHM, f'{name}: JWS header {claimed[:60]!r}; only {{"alg":"EdDSA"}} is allowed')
    octets, signature = _unbase64url(payload), _unbase64url(tail)
    if octets is None or signature is None or len(signature) != 64:
        raise SignatureError(Reason.BAD_TOKEN, f"{name}: signature is not a compact JWS with 64 octets of signature")
    for key_index, public in list(keys.public.items())[: limits.signatures_verified.default]:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
        except InvalidSignature:
            continue
        try:
            claims = json.loads(octets, object_pairs_hook=_no_twins)
        except (ValueError, RecursionError) as error:
            raise SignatureError(Reason.BAD_TOKEN, f"{name}: claims are not JSON: {error}") from None
        if not isinstance(claims, dict):
            raise SignatureError(Reason.BAD_TOKEN, f"{name}: claims are not a JSON object")
        return key_index, claims
    raise SignatureError(Reason.BAD_SIGNATURE, f"{name}: no key of {keys.holder} made this signature")


def _checked_claims(name: str, claims: dict[str, Any], key_reference: str) -> tuple[int, int, int, int]:
    if claims.get("sub") != name:
        raise SignatureError(Reason.WRONG_SCOPE, f"signature is for {claims.get('sub')!r}, not for {name}")
    if claims.get("iss") != key_reference:
        raise SignatureError(Reason.WRONG_SIGNER, f"{name}: signature names {claims.get('iss')!r}, but {key_reference} made it")
    numbers = [claims.get(claim) for claim in _CLAIM_NUMBERS]
    for claim, number in zip(_CLAIM_NUMBERS, numbers, strict=True):
        if type(number) is not int or not 0 <= number < 2**63:
            raise SignatureError(Reason.BAD_TOKEN, f"{name}: claim {claim} must be a whole number, not {number!r}")
    issued, not_before, expires, serial = (int(n) for n in numbers if n is not None)
    return issued, not_before, expires, serial


def _covered_values(name: str, values: Sequence[Value], listed: object) -> tuple[Value, ...]:
    """The public values, if they are exactly those that `listed` names."""
    expected = _read_digests(name, listed)
    covered: dict[int, Value] = {}
    for value in values:
        if value.index in covered:
            raise SignatureError(Reason.DUPLICATE_VALUE, f"{name}: two values have index {value.index}")
        if not value.is_public or is_signature_type(value.type):
            continue
        if value.index not in expected:
            raise SignatureError(Reason.EXTRA_VALUE, f"{name}: value {value.index} ({value.type}) is not covered by the signature")
        if sha256(encode_value(value)[SIGNED_FROM:]).digest() != expected[value.index]:
            raise SignatureError(Reason.CHANGED_VALUE, f"{name}: value {value.index} ({value.type}) is not what was signed")
        covered[value.index] = value
    missing = expected.keys() - covered.keys()
    if missing:
        raise SignatureError(Reason.MISSING_VALUE, f"{name}: signed value {min(missing)} is missing")
    return tuple(covered.values())


def _read_digests(name: str, listed: object) -> dict[int, bytes]:
    rule = SignatureError(Reason.BAD_TOKEN, f"{name}: claim digests must list an index and a SHA-256 digest for each value")
    if not isinstance(listed, dict) or listed.get("alg") != "SHA-256" or not isinstance(listed.get("digests"), list):
        raise rule
    expected: dict[int, bytes] = {}
    for item in listed["digests"]:
        if not isinstance(item, dict) or type(item.get("index")) is not int or not isinstance(item.get("digest"), str):
            raise rule
        try:
            digest = b64decode(item["digest"], validate=True)
        except (Base64Error, ValueError):
            raise rule from None
        if len(digest) != 32 or item["index"] in expected:
            raise rule
        expected[item["index"]] = digest
    return expected


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _base64url(octets: bytes) -> bytes:
    """Without padding. As `urlsafe_b64encode`, in half the time: this stands on the way of every signed answer."""
    return b2a_base64(octets, newline=False).translate(_URL_SAFE).rstrip(b"=")


def _unbase64url(text: bytes) -> bytes | None:
    """Strict base64url without padding: None unless `text` is the one encoding of its octets."""
    if len(text) % 4 == 1:
        return None
    try:
        octets = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        return None
    return octets if urlsafe_b64encode(octets).rstrip(b"=") == text else None
