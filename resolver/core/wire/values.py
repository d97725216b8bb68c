"""Handle values as octets (RFC 3652, 2.1; the deployed layout: TTL type before TTL, timestamp before both)."""

from collections.abc import Iterable
from struct import Struct
from struct import error as struct_error

from resolver.core import limits
from resolver.core.errors import FormatError
from resolver.core.record import Reference, Value
from resolver.core.wire.framing import U32, Reader, pack_text

_HEAD = Struct(">IIBIBI")  # index, timestamp, TTL type, TTL, permissions, length of type
VALUE_OCTETS_MIN = _HEAD.size + 8
_NO_REFERENCES = bytes(4)
SIGNED_FROM = 8  # a value's digest leaves out index and timestamp: the first 8 octets of its encoding


def encode_value(value: Value) -> bytes:
    type_ = value.type.encode()
    head = _HEAD.pack(value.index, value.timestamp, value.ttl_type, value.ttl, value.permissions, len(type_))
    references = encode_references(value.references) if value.references else _NO_REFERENCES
    return b"".join((head, type_, U32.pack(len(value.data)), value.data, references))


def encode_values(values: Iterable[Value]) -> bytes:
    """The encodings one after another, without a count."""
    return b"".join(map(encode_value, values))


def encode_references(references: tuple[Reference, ...]) -> bytes:
    """A reference list, which is also the data of an HS_VLIST value."""
    parts = [U32.pack(len(references))]
    for reference in references:
        parts += (pack_text(reference.identifier), U32.pack(reference.index))
    return b"".join(parts)


def read_value(reader: Reader) -> Value:
    """The next value. Indexes are 1..2^31-1, times and TTLs unsigned; unknown permission bits are refused."""
    try:
        index, timestamp, ttl_type, ttl, permissions, type_octets = _HEAD.unpack_from(reader.octets, reader.position)
    except struct_error:
        raise FormatError(f"{reader.place}: a value's head needs {_HEAD.size} octets at offset {reader.position}") from None
    reader.take(_HEAD.size, "head of a value")
    if not 1 <= index <= 0x7FFFFFFF:
        raise FormatError(f"{reader.place}: value index {index}; it must be from 1 to 2147483647")
    if ttl_type > 1:
        raise FormatError(f"{reader.place}: TTL type {ttl_type} of value {index}; it must be 0 (relative) or 1 (absolute)")
    if permissions > 0x0F:
        raise FormatError(f"{reader.place}: permissions {permissions:#04x} of value {index}; four bits are defined")
    try:
        type_ = reader.take(type_octets, "type of a value").decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{reader.place}: type of value {index} is not UTF-8 at octet {error.start}") from None
    data = reader.data("data of a value")
    return Value(index, type_, data, ttl, ttl_type, timestamp, permissions, read_references(reader))


def read_references(reader: Reader) -> tuple[Reference, ...]:
    count = reader.count("references", limits.record_values.most, 8)
    return tuple(Reference(reader.text("reference"), reader.u32("index of a reference")) for _ in range(count))


def decode_values(octets: bytes, place: str = "values") -> tuple[Value, ...]:
    """Encodings one after another up to the end."""
    reader = Reader(octets, place)
    values = []
    while reader.remaining:
        values.append(read_value(reader))
        if len(values) > limits.record_values.most:
            raise FormatError(f"{place}: more than {limits.record_values.most} values")
    return tuple(values)
