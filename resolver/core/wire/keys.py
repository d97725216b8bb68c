"""Keys as octets: the data of HS_PUBKEY, and private keys as deployed tools keep them in files.

A public key is its name, two octets of flags (zero) and its numbers; a private key is its name and its numbers. Numbers are
length-prefixed, big-endian and written as two's complement, so with a zero octet in front when the top bit is set; they are read
as unsigned. What is particular:

    RSA_PUB_KEY   e, n, then four zero octets: deployed key comparison warns when they are missing, so they are always written
    DSA_PUB_KEY   q, p, g, y
    SM2_PUB_KEY   one string: the key as PEM text, or as DER SubjectPublicKeyInfo; both are met
    -----BEGIN    HS_PUBKEY may also be PEM text of a public key or of an X.509 certificate

A private key file is a 4-octet encryption type and the key. Type 1, not encrypted, is read and written here.
"""

import binascii
from base64 import b64decode, urlsafe_b64encode
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.wire.framing import U32, Reader, pack_data

PEM_START = b"-----BEGIN "
FILE_CLEAR = 1

_RSA_PUBLIC, _DSA_PUBLIC, _SM2_PUBLIC = b"RSA_PUB_KEY", b"DSA_PUB_KEY", b"SM2_PUB_KEY"
_FLAGS = bytes(2)
_SM2_SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")  # ends with: uncompressed point
_SM2_SPKI_OCTETS = len(_SM2_SPKI_HEAD) + 64


class RsaPublicKey(NamedTuple):
    n: int
    e: int


class DsaPublicKey(NamedTuple):
    q: int
    p: int
    g: int
    y: int


class Sm2PublicKey(NamedTuple):
    """`content` is as it stands in the record: PEM text or DER."""

    content: bytes

    @property
    def spki(self) -> bytes:
        """The DER SubjectPublicKeyInfo."""
        return pem_body(self.content, "SM2 key")[1] if self.content.startswith(PEM_START) else self.content


class RsaPrivateKey(NamedTuple):
    """With the Chinese remainder numbers; fields in the order of the wire."""

    n: int
    e: int
    d: int
    p: int
    q: int
    dp: int
    dq: int
    qi: int


class DsaPrivateKey(NamedTuple):
    x: int
    p: int
    q: int
    g: int


PublicKey = RsaPublicKey | DsaPublicKey | Sm2PublicKey
PrivateKey = RsaPrivateKey | DsaPrivateKey
_N = TypeVar("_N", bound="DsaPublicKey | RsaPrivateKey | DsaPrivateKey")

_PRIVATE: dict[bytes, type[RsaPrivateKey] | type[DsaPrivateKey]] = {
    b"RSA_PRIVCRT_KEY": RsaPrivateKey,
    b"DSA_PRIV_KEY": DsaPrivateKey,
}


# ---- public keys


def encode_rsa_public(n: int, e: int) -> bytes:
    """HS_PUBKEY data of an RSA key with modulus `n` and exponent `e`."""
    return b"".join((pack_data(_RSA_PUBLIC), _FLAGS, _pack_number(e), _pack_number(n), bytes(4)))


def encode_public_key(key: PublicKey) -> bytes:
    """HS_PUBKEY data of `key`, in the binary form."""
    match key:
        case RsaPublicKey(n, e):
            return encode_rsa_public(n, e)
        case DsaPublicKey():
            return b"".join((pack_data(_DSA_PUBLIC), _FLAGS, *map(_pack_number, key)))
        case Sm2PublicKey(content):
            return b"".join((pack_data(_SM2_PUBLIC), _FLAGS, pack_data(content)))


def decode_public_key(octets: bytes, place: str = "HS_PUBKEY") -> PublicKey:
    """The key in HS_PUBKEY data, of whichever form. Raises FormatError."""
    if len(octets) > limits.public_key_octets.default:
        raise LimitError(f"{place}: a key of {len(octets)} octets; at most {limits.public_key_octets.default} are allowed")
    if octets.startswith(PEM_START):
        return _from_pem(octets, place)
    reader = Reader(octets, place)
    name = reader.data("name of the key")
    if reader.take(2, "flags of the key") != _FLAGS:
        raise FormatError(f"{place}: the flags of a public key must be zero")
    match name:
        case b"RSA_PUB_KEY":
            e, n = _number(reader, "exponent"), _number(reader, "modulus")
            if reader.remaining and reader.data("end of the key"):
                raise FormatError(f"{place}: an RSA key ends with an empty string after the modulus")
            key: PublicKey = RsaPublicKey(n, e)
        case b"DSA_PUB_KEY":
            key = _numbers(reader, DsaPublicKey)
        case b"SM2_PUB_KEY":
            key = Sm2PublicKey(reader.data("SM2 key"))
            _check_sm2(key.spki, place)
        case _:
            raise FormatError(f"{place}: there is no key called {name[:40]!r}; known are RSA_PUB_KEY, DSA_PUB_KEY, SM2_PUB_KEY")
    reader.done()
    return key


def pem_body(text: bytes, place: str) -> tuple[bytes, bytes]:
    """Label and DER octets of one PEM block (RFC 7468). Raises FormatError."""
    lines = [line.strip() for line in text.strip().splitlines()]
    label = lines[0].removeprefix(PEM_START).removesuffix(b"-----")
    if lines[0] != PEM_START + label + b"-----" or lines[-1] != b"-----END " + label + b"-----":
        raise FormatError(f"{place}: PEM text must be one block, from a BEGIN line to the END line of the same label")
    try:
        return label, binascii.a2b_base64(b"".join(lines[1:-1]), strict_mode=True)
    except binascii.Error as error:
        raise FormatError(f"{place}: the body of the PEM block is not base64: {error}") from None


def _from_pem(text: bytes, place: str) -> PublicKey:
    label, der = pem_body(text, place)
    if label == b"PUBLIC KEY" and len(der) == _SM2_SPKI_OCTETS and der.startswith(_SM2_SPKI_HEAD):
        return Sm2PublicKey(der)
    try:
        if label == b"CERTIFICATE":
            key: object = x509.load_der_x509_certificate(der).public_key()
        elif label == b"PUBLIC KEY":
            key = load_der_public_key(der)
        else:
            raise FormatError(f"{place}: PEM block {label[:40]!r}; a PUBLIC KEY or a CERTIFICATE was expected")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"{place}: the PEM block cannot be read as a key: {error}") from None
    if isinstance(key, rsa.RSAPublicKey):
        return RsaPublicKey(key.public_numbers().n, key.public_numbers().e)
    if isinstance(key, dsa.DSAPublicKey):
        numbers = key.public_numbers()
        return DsaPublicKey(numbers.parameter_numbers.q, numbers.parameter_numbers.p, numbers.parameter_numbers.g, numbers.y)
    raise FormatError(f"{place}: a key of kind {type(key).__name__}; RSA, DSA or SM2 was expected")


def _check_sm2(spki: bytes, place: str) -> None:
    if len(spki) != _SM2_SPKI_OCTETS or not spki.startswith(_SM2_SPKI_HEAD):
        raise FormatError(f"{place}: an SM2 key must be the {_SM2_SPKI_OCTETS} octets of a SubjectPublicKeyInfo, as PEM or DER")


# ---- public keys as JWK (RFC 7517; RFC 7518, 6.3.1; for DSA, which has none, the form that deployed tools use)


def key_to_jwk(key: PublicKey) -> dict[str, str] | None:
    """`key` as a JWK; None for a kind of key that deployed readers of JWK do not know."""
    match key:
        case RsaPublicKey(n, e):
            return {"kty": "RSA", "n": _base64url(n), "e": _base64url(e)}
        case DsaPublicKey(q, p, g, y):
            return {"kty": "DSA", "y": _base64url(y), "p": _base64url(p), "q": _base64url(q), "g": _base64url(g)}
        case Sm2PublicKey():
            return None


def jwk_to_key(document: object, place: str) -> PublicKey:
    """The RSA or DSA key of a JWK. Raises FormatError."""
    if isinstance(document, dict):
        if document.get("kty") == "RSA":
            return RsaPublicKey(*(_jwk_number(document, name, place) for name in RsaPublicKey._fields))
        if document.get("kty") == "DSA":
            return DsaPublicKey(*(_jwk_number(document, name, place) for name in DsaPublicKey._fields))
    raise FormatError(f"{place}: expected a JWK whose kty is RSA or DSA")


def _base64url(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")).rstrip(b"=").decode()


def _jwk_number(document: dict[str, object], name: str, place: str) -> int:
    text = document.get(name)
    try:
        if isinstance(text, str) and 0 < len(text) <= limits.public_key_octets.default:
            return int.from_bytes(b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), "big")
    except ValueError:
        pass  # told below, as for every other text that is no number
    raise FormatError(f"{place}.{name}: expected a number in base64url without padding")


# ---- private keys


def encode_private_key(key: PrivateKey) -> bytes:
    name = next(name for name, kind in _PRIVATE.items() if kind is type(key))
    return b"".join((pack_data(name), *map(_pack_number, key)))


def decode_private_key(octets: bytes, place: str = "private key") -> PrivateKey:
    reader = Reader(octets, place)
    name = reader.data("name of the key")
    kind = _PRIVATE.get(name)
    if kind is None:
        raise FormatError(f"{place}: there is no key called {name[:40]!r}; known are {b', '.join(_PRIVATE).decode()}")
    key = _numbers(reader, kind)
    reader.done()
    return key


def encode_key_file(key: PrivateKey) -> bytes:
    """The octets of a file with `key` in the clear. Who writes the file sees to it that only its owner reads it."""
    return U32.pack(FILE_CLEAR) + encode_private_key(key)


def decode_key_file(octets: bytes, place: str) -> PrivateKey:
    """The key in a private key file. Raises FormatError, which says so when the file is encrypted."""
    reader = Reader(octets, place)
    encryption = reader.u32("encryption type")
    if encryption != FILE_CLEAR:
        raise FormatError(f"{place}: encryption type {encryption}; decrypt the file first, only type {FILE_CLEAR} is read")
    return decode_private_key(octets[4:], place)


# ---- numbers


def _pack_number(number: int) -> bytes:
    return pack_data(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _number(reader: Reader, what: str) -> int:
    return int.from_bytes(reader.data(what), "big")


def _numbers(reader: Reader, kind: type[_N]) -> _N:
    return kind(*(_number(reader, f"number {name} of the key") for name in kind._fields))
