"""A child's proof that it holds the key it asks its parent to delegate to: a compact JWS made by that key (RFC 7515, RFC 8037).

    sub   the child's prefix record, `0.NA/88.118.8`
    aud   the parent's, `0.NA/88.118`: a proof for one parent is none for another
    iat   when it was made; it is taken for `limits.proof_seconds`
    index 302, or 303 for the next key: where the parent is to put it
    key   the public key, JWK (RFC 7517)
    envelope  the child's public RSA key, JWK, where its records are to carry the RS256 envelope

A proof binds name, key and parent, and tells nobody anything secret: sent on by a third party it does what the child asked for.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from resolver.core import limits, trust
from resolver.core.errors import FormatError
from resolver.core.identifier import prefix_record
from resolver.core.record import INDEX_KEY, INDEX_NEXT_KEY
from resolver.core.wire.keys import RsaPublicKey, jwk_to_key, key_to_jwk

_OCTETS_MAX = 8192
_RSA_BITS = range(2048, 4097)


class Proof(NamedTuple):
    """What a proof says: this key (32 octets, Ed25519) belongs at this index of this prefix's record."""

    prefix: str  # folded
    index: int  # type: ignore[assignment]  # the field's word, as in `record.Value`
    public: bytes
    envelope: RsaPublicKey | None


def signing_input(proof: Proof, parent: str, issued: int) -> bytes:
    """What the child signs. `issued` in seconds since 1970."""
    claims: dict[str, object] = {
        "sub": prefix_record(proof.prefix).canonical,
        "aud": prefix_record(parent).canonical,
        "iat": issued,
        "index": proof.index,
        "key": trust.jwk(proof.public),
    }
    if proof.envelope is not None:
        claims["envelope"] = key_to_jwk(proof.envelope)
    return b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": "EdDSA"}, claims))


def assembled(signed: bytes, signature: bytes) -> str:
    return (signed + b"." + _base64url(signature)).decode()


def check(jws: str, prefix: str, parent: str, now: int, age_seconds_max: int) -> Proof:
    """The proof in `jws`, if it holds for `prefix` below `parent` at `now`. Raises FormatError saying what does not."""
    signed, signature, claims = _opened(jws)
    public = trust.read_jwk(claims.get("key"), "proof: key")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except InvalidSignature:
        raise FormatError("proof: the key in it did not make its signature") from None
    for claim, expected in (("sub", prefix_record(prefix).canonical), ("aud", prefix_record(parent).canonical)):
        if claims.get(claim) != expected:
            raise FormatError(f"proof: {claim} is {str(claims.get(claim))[:100]!r}; expected {expected!r}")
    issued, index = claims.get("iat"), claims.get("index")
    if type(issued) is not int or not -limits.clock_skew_seconds.default <= now - issued <= age_seconds_max:
        raise FormatError(
            f"proof: made at {str(issued)[:20]}; it is taken for {age_seconds_max} s, and it is {now} now: make a new one"
        )
    if type(index) is not int or index not in (INDEX_KEY, INDEX_NEXT_KEY):
        raise FormatError(f"proof: index is {str(index)[:20]}; a key stands at {INDEX_KEY} or {INDEX_NEXT_KEY}")
    return Proof(prefix, index, public, _envelope(claims.get("envelope")))


def _opened(jws: str) -> tuple[bytes, bytes, dict[str, object]]:
    try:
        if len(jws) > _OCTETS_MAX:
            raise ValueError(f"{len(jws)} octets")
        header, payload, signature = jws.encode("ascii").split(b".")
        if json.loads(_octets(header)) != {"alg": "EdDSA"}:
            raise ValueError("its header is not that of EdDSA")
        claims = json.loads(_octets(payload))
        if not isinstance(claims, dict):
            raise ValueError("its claims are no object")
        return header + b"." + payload, _octets(signature), claims
    except (ValueError, RecursionError) as error:
        raise FormatError(f"proof: not a compact JWS of a proof: {error}") from None


def _envelope(document: object) -> RsaPublicKey | None:
    if document is None:
        return None
    key = jwk_to_key(document, "proof: envelope")
    if not isinstance(key, RsaPublicKey) or key.n.bit_length() not in _RSA_BITS:
        raise FormatError("proof: envelope must be an RSA key of 2048 to 4096 bits")
    return key


def _base64url(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def _octets(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
