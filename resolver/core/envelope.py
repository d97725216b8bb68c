"""The envelope that deployed verifiers read: RS256 beside our own chain, made from the same facts.

HS_SIGNATURE, index 400: a compact JWS (RFC 7515) over the digests of a record's public values, signature values left out. Its
`iss` is `300:0.NA/<PREFIX>`. It stands in the record as an ordinary value, but is itself in no digest.

HS_CERT, index 401 of a prefix record: a compact JWS by which the parent's key binds the child's RSA key to `300:0.NA/<PREFIX>`,
with permissions. They are always those of the child's own prefix and no others, since a deployed verifier checks the permissions
of each certificate against the record in question only, never against those of the certificate above. The root's certificate is
its own and permits everything.

Forms and rules were run against both deployed verifiers: header exactly {"alg":"RS256"}, prefixes in ASCII upper case, times as
whole numbers, digests in base64 with padding. RS256 must be on along the whole path to the root to be of use.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from resolver.core.errors import FormatError, SignatureError
from resolver.core.identifier import ANCHOR, Identifier, fold_prefix, prefix_record, signer
from resolver.core.record import (
    INDEX_CERTIFICATE,
    INDEX_ENVELOPE,
    INDEX_PUBKEY,
    TYPE_CERTIFICATE,
    TYPE_ENVELOPE,
    Value,
)
from resolver.core.trust import Reason
from resolver.core.wire.keys import RsaPublicKey, jwk_to_key, key_to_jwk

_HEADER = b"eyJhbGciOiJSUzI1NiJ9"  # {"alg":"RS256"}


# ---- writing


def record_input(identifier: Identifier, issued: int, expires: int, serial: int, digests: Iterable[tuple[int, str]]) -> bytes:
    """What the RSA key of the record's signer signs; `digests` as `trust.value_digests` gives them. Times since 1970."""
    return _signing_input(
        {
            "digests": {"alg": "SHA-256", "digests": [{"index": index, "digest": digest} for index, digest in digests]},
            "iss": key_reference(signer(identifier)),
            "sub": identifier.canonical,
            "exp": expires,
            "nbf": issued,
            "iat": issued,
            "serial": serial,
        }
    )


def certificate_input(prefix: str, key: RsaPublicKey, issued: int, expires: int, *, delegates: bool) -> bytes:
    """What the parent signs to certify the RSA key of `prefix`; `delegates`: there will be prefixes below it."""
    holder = prefix_record(fold_prefix(prefix))
    permissions = ["handlesUnderThisPrefix", "derivedPrefixes"] if delegates else ["handlesUnderThisPrefix"]
    return _certificate_input(
        [{"handle": holder.canonical, "perm": permission} for permission in permissions],
        key, signer(holder), holder, issued, expires,
    )  # fmt: skip


def root_certificate_input(key: RsaPublicKey, issued: int, expires: int) -> bytes:
    """What the root signs to certify its own RSA key."""
    root = Identifier.parse(ANCHOR)
    return _certificate_input([{"perm": "everything"}], key, root, root, issued, expires)


def token(signed: bytes, signature: bytes) -> bytes:
    """The compact JWS of what was signed and its signature: the data of the value."""
    return signed + b"." + _base64url(signature)


def signature_value(jws: bytes, timestamp: int) -> Value:
    return Value(INDEX_ENVELOPE, TYPE_ENVELOPE, jws, timestamp=timestamp)


def certificate_value(jws: bytes, timestamp: int) -> Value:
    return Value(INDEX_CERTIFICATE, TYPE_CERTIFICATE, jws, timestamp=timestamp)


def key_reference(holder: Identifier) -> str:
    """How a signature names the RSA key of `holder`, octet for octet the `sub` of its certificate."""
    return f"{INDEX_PUBKEY}:{holder.canonical}"


# ---- reading


def verify(jws: bytes, key: RsaPublicKey, place: str) -> dict[str, Any]:
    """The claims of a JWS made by `key`. Raises SignatureError; what the claims say is for the caller to check."""
    signed, _, tail = jws.rpartition(b".")
    header, _, _ = signed.partition(b".")
    if header != _HEADER:
        raise SignatureError(Reason.ALGORITHM, f'{place}: JWS header {header[:60]!r}; only {{"alg":"RS256"}} is allowed')
    try:
        RSAPublicNumbers(key.e, key.n).public_key().verify(_octets(tail), signed, PKCS1v15(), SHA256())
        return claims_of(jws)
    except InvalidSignature:
        raise SignatureError(Reason.BAD_SIGNATURE, f"{place}: the RSA key offered did not make this signature") from None
    except (ValueError, RecursionError) as error:
        raise SignatureError(Reason.BAD_TOKEN, f"{place}: not a compact JWS of claims: {error}") from None


def claims_of(jws: bytes) -> dict[str, Any]:
    """The claims of a JWS that is known to be good: made here, or verified. Raises ValueError if it is not one."""
    claims = json.loads(_octets(jws.split(b".")[1] if jws.count(b".") == 2 else b""))
    if not isinstance(claims, dict):
        raise ValueError("claims are not a JSON object")
    return claims


def certified_key(claims: dict[str, Any], place: str) -> RsaPublicKey:
    """The key that a certificate's claims bind. Raises SignatureError if it is no RSA key."""
    try:
        key = jwk_to_key(claims.get("publicKey"), f"{place}: publicKey")
    except FormatError as error:
        raise SignatureError(Reason.NO_KEY, str(error)) from None
    if not isinstance(key, RsaPublicKey):
        raise SignatureError(Reason.NO_KEY, f"{place}: publicKey is no RSA key")
    return key


# ---- helpers


def _certificate_input(
    permissions: list[dict[str, str]], key: RsaPublicKey, issuer: Identifier, subject: Identifier, issued: int, expires: int
) -> bytes:
    return _signing_input(
        {
            "perms": permissions,
            "publicKey": key_to_jwk(key),
            "iss": key_reference(issuer),
            "sub": key_reference(subject),
            "exp": expires,
            "nbf": issued,
            "iat": issued,
        }
    )


def _signing_input(claims: dict[str, Any]) -> bytes:
    return _HEADER + b"." + _base64url(json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode())


def _base64url(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def _octets(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
