"""A record as the truth and the answer table store it: a fixed head, then its handle values in wire form.

    offset  size
       0      1   version of this layout: 1
       1      1   flags: 1 every value is public and none is a signature, 2 gone
       2      2   number of values
       4      2   index of the key that signed
       6      8   serial
      14     12   issued, not before, expires: seconds since 1970, 4 octets each
      26     64   Ed25519 signature; zero on a gone record
      90      4   CRC-32 of the key, octets 0..89 and the values: finds a flipped bit that no signature covers
      94      -   the values, ascending by index, one after another

The JWS text is not stored: claims and digests are made again from these octets, which costs 5 us and saves 650 octets a record.
"""

from struct import Struct
from struct import error as struct_error
from typing import NamedTuple
from zlib import crc32

from resolver.core.errors import CorruptError, FormatError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier
from resolver.core.record import (
    DEFAULT_PERMISSIONS,
    DEFAULT_TTL_SECONDS,
    INDEX_SIGNATURE,
    PUBLIC_READ,
    TTL_RELATIVE,
    TYPE_SIGNATURE,
    Record,
    is_signature_type,
)
from resolver.core.trust import issuer, signing_input, token, value_digests
from resolver.core.wire.values import decode_values, encode_values

LAYOUT = 1
ALL_PUBLIC, GONE = 0x01, 0x02
_HEAD = Struct(">BBHHQIII64s")
_CHECKED = Struct(">BBHHQIII64sI")
HEAD_OCTETS = _CHECKED.size

_SIGNATURE_TYPE = TYPE_SIGNATURE.encode()
_SIGNATURE_HEAD = Struct(f">IIBIBI{len(_SIGNATURE_TYPE)}sI")  # of an encoded signature value: all that stands before the JWS
_NO_REFERENCES = bytes(4)
EXPIRES_AT = slice(22, 26)


class Stored(NamedTuple):
    """A stored record with its values still in wire form: what the doors answer from."""

    key: bytes  # canonical identifier, UTF-8
    flags: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    key_index: int
    serial: int
    issued: int
    not_before: int
    expires: int
    signature: bytes
    encoded: bytes

    @property
    def gone(self) -> bool:
        return bool(self.flags & GONE)

    @property
    def identifier(self) -> Identifier:
        return Identifier.decode(self.key)

    @property
    def jws(self) -> bytes:
        """The compact JWS over this record, made again from what is stored. Raises CorruptError if its values cannot be read."""
        name = self.key.decode()
        prefix = name.partition("/")[0]
        if prefix in (PREFIX_AUTHORITY, "0.0"):
            issued_by = issuer(Identifier.parse(name), self.key_index)
        else:  # as `issuer` says, without parsing: the key is the canonical spelling
            issued_by = f"{self.key_index}:{PREFIX_AUTHORITY}/{prefix}"
        try:
            digests = value_digests(self.encoded)
        except struct_error:
            raise CorruptError(f"stored record of {name}: its values are cut off") from None
        signed = signing_input(name, issued_by, self.issued, self.not_before, self.expires, self.serial, digests)
        return token(signed, self.signature)

    @property
    def signature_octets(self) -> bytes:
        """The encoded value (index 402) that carries the signature in a Handle answer."""
        jws = self.jws
        head = _SIGNATURE_HEAD.pack(
            INDEX_SIGNATURE, self.issued, TTL_RELATIVE, DEFAULT_TTL_SECONDS, DEFAULT_PERMISSIONS,
            len(_SIGNATURE_TYPE), _SIGNATURE_TYPE, len(jws),
        )  # fmt: skip
        return b"".join((head, jws, _NO_REFERENCES))


def encode_stored(record: Record) -> bytes:
    """The octets under which `record` is stored. Raises CorruptError for a number that does not fit."""
    return pack_stored(record, encode_values(record.values))


def pack_stored(record: Record, encoded: bytes) -> bytes:
    """As `encode_stored`, of a record whose values are encoded already."""
    flags = ALL_PUBLIC | GONE if record.gone else ALL_PUBLIC
    for value in record.values:
        if not value.permissions & PUBLIC_READ or is_signature_type(value.type):
            flags &= ~ALL_PUBLIC
            break
    try:
        head = _HEAD.pack(
            LAYOUT, flags, len(record.values), record.key_index, record.serial,
            record.issued, record.not_before, record.expires, record.signature,
        )  # fmt: skip
    except struct_error as error:
        raise CorruptError(f"{record.identifier}: record cannot be stored: {error}") from None
    return b"".join((head, checksum(record.identifier.key, head, encoded).to_bytes(4, "big"), encoded))


def read_stored(key: bytes, octets: bytes) -> Stored:
    """The stored record of `key`. Only the layout is checked, since this stands on the way of every answer."""
    try:
        layout, flags, count, key_index, serial, issued, not_before, expires, signature, _ = _CHECKED.unpack_from(octets)
    except struct_error:
        raise CorruptError(f"stored record of {key!r} has {len(octets)} octets; its head alone needs {HEAD_OCTETS}") from None
    if layout != LAYOUT:
        raise CorruptError(f"stored record of {key!r} has layout {layout}; this program reads layout {LAYOUT}")
    return Stored(key, flags, count, key_index, serial, issued, not_before, expires, signature, octets[HEAD_OCTETS:])


def decode_stored(key: bytes, octets: bytes) -> Record:
    """The stored record of `key`, every octet checked. Raises CorruptError."""
    stored = read_stored(key, octets)
    if checksum(key, octets[: _HEAD.size], stored.encoded) != int.from_bytes(octets[_HEAD.size : HEAD_OCTETS], "big"):
        raise CorruptError(f"stored record of {key!r} does not match its checksum")
    try:
        identifier = Identifier.decode(key)
        values = decode_values(stored.encoded, f"stored record of {identifier}")
    except FormatError as error:
        raise CorruptError(f"stored record of {key!r}: {error}") from None
    if len(values) != stored.count:
        raise CorruptError(f"stored record of {identifier} has {len(values)} values; its head says {stored.count}")
    return Record(
        identifier, values, stored.serial, stored.issued, stored.not_before, stored.expires,
        stored.signature, stored.key_index, stored.gone,
    )  # fmt: skip


def checksum(key: bytes, head: bytes, encoded: bytes) -> int:
    return crc32(encoded, crc32(head, crc32(key)))
