"""Handle values as DNS records: TXT for every value, URI for those that are URLs.

A value becomes one TXT record: its first string is index and type (`1 URL`), the data follows in strings of up to 255 octets. The
values that sign a record are kept apart from those that they sign: they are found at `_sig.<owner>`.

The values are read from their wire form (`wire.values`) without an object for each, as this stands on the way of every answer.
All records of a set have one TTL (RFC 2181, 5.2): the least of its values'.
"""

from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from resolver.core.errors import FormatError, LimitError
from resolver.core.record import PUBLIC_READ, TYPE_ENVELOPE, Value, is_signature_type
from resolver.core.wire.dns import CLASS_IN, MESSAGE_OCTETS_MAX, POINTER_TO_QUESTION, TXT, URI, rr, string, uri_rdata
from resolver.core.wire.framing import U16, U32

TTL_MAX = 2**31 - 1  # RFC 2181, 8
URI_PRIORITY, URI_WEIGHT = 10, 1  # no URL of a record is preferred to another

_value_head = Struct(">I4xBIBI").unpack_from  # index, TTL type, TTL, permissions, length of type
_u32 = U32.unpack_from
_TXT_HEAD = POINTER_TO_QUESTION + U16.pack(TXT) + U16.pack(CLASS_IN)
_txt_head = Struct(">IHB").pack  # TTL, length of the data, length of the first string
_OCTET = [bytes((number,)) for number in range(256)]
_STRING_OCTETS_MAX = 255
_SIGNATURE = TYPE_ENVELOPE.encode()
_URL = b"URL"
_NO_REFERENCES = b"\0\0\0\0"


class Shown(NamedTuple):
    """Values to be shown in DNS: index, type and data of each. `ends` says that `ttl` is what is left until a fixed time."""

    items: list[tuple[int, bytes, bytes]]
    ttl: int
    ends: bool


def shown(octets: bytes, start: int, now: int, signatures: bool = False, all_public: bool = False) -> Shown:
    """The public values among those that are encoded from `start` to the end: the signatures, or all others. Raises FormatError.

    `all_public` says that they are known to be public and no signatures (`stored.ALL_PUBLIC`), and saves looking.
    """
    items = []
    least, ends = TTL_MAX, False
    position, end_of_all = start, len(octets)
    try:
        while position < end_of_all:
            index, absolute, ttl, permissions, type_octets = _value_head(octets, position)
            position += 18
            data_start = position + type_octets + 4
            (data_octets,) = _u32(octets, data_start - 4)
            type_ = octets[position : data_start - 4]
            position = data_start + data_octets + 4
            if octets[position - 4 : position] != _NO_REFERENCES:
                position = _references_end(octets, position - 4)
            if all_public or (permissions & PUBLIC_READ and _is_signature(type_) == signatures):
                items.append((index, type_, octets[data_start : data_start + data_octets]))
                if absolute:
                    ttl, ends = max(0, ttl - now), True
                if ttl < least:
                    least = ttl
    except struct_error:
        raise FormatError(f"values: cut off at octet {end_of_all}") from None
    if position != end_of_all:
        raise FormatError(f"values: they end at octet {position}, but there are {end_of_all}")
    return Shown(items, least, ends)


def txt_rrs(items: list[tuple[int, bytes, bytes]], ttl: int) -> bytes:
    """The TXT records of these values, owned by the question's name. Raises LimitError for a value that no TXT record can hold."""
    parts: list[bytes] = []
    for index, type_, data in items:
        first = b"%d %b" % (index, type_)
        first_octets, octets = len(first), len(data)
        if first_octets > _STRING_OCTETS_MAX:
            raise LimitError(f"value {index}: its type of {len(type_)} octets is too long for DNS; ask over Handle or HTTP")
        if 0 < octets <= _STRING_OCTETS_MAX:
            parts += (_TXT_HEAD, _txt_head(ttl, first_octets + octets + 2, first_octets), first, _OCTET[octets], data)
        else:
            strings = _strings(index, data)
            parts += (_TXT_HEAD, _txt_head(ttl, first_octets + len(strings) + 1, first_octets), first, strings)
    return b"".join(parts)


def urls(items: list[tuple[int, bytes, bytes]]) -> list[bytes]:
    """The data of the values of type URL."""
    return [data for _, type_, data in items if data and type_.upper() == _URL]


def uri_rrs(targets: list[bytes], ttl: int) -> bytes:
    """URI records, owned by the question's name. Raises LimitError for a target that is too long."""
    return b"".join([rr(POINTER_TO_QUESTION, URI, ttl, uri_rdata(URI_PRIORITY, URI_WEIGHT, target)) for target in targets])


def read_txt(rdata: bytes, ttl: int) -> Value:
    """The value that a TXT record shows: index, type and data; DNS does not carry the rest. Raises FormatError."""
    strings, position = [], 0
    while position < len(rdata):
        end = position + 1 + rdata[position]
        if end > len(rdata):
            raise FormatError(f"TXT: the string at octet {position} is cut off")
        strings.append(rdata[position + 1 : end])
        position = end
    index, space, type_ = strings[0].partition(b" ") if strings else (b"", b"", b"")
    if not space or not index.isdigit() or len(index) > 10 or not 0 < int(index) < 2**31:
        raise FormatError("TXT: the first string must be an index from 1 to 2147483647, a space and a type")
    try:
        return Value(int(index), type_.decode(), b"".join(strings[1:]), ttl)
    except UnicodeDecodeError:
        raise FormatError(f"TXT: the type of value {int(index)} is not UTF-8") from None


def _is_signature(type_: bytes) -> bool:
    return type_.startswith(_SIGNATURE) and is_signature_type(type_.decode("utf-8", "replace"))


def _strings(index: int, data: bytes) -> bytes:
    """Long data as character-strings, each but the last of 255 octets; no data as none."""
    if len(data) > MESSAGE_OCTETS_MAX - 1024:
        raise LimitError(f"value {index}: its {len(data)} octets are too long for DNS; ask over Handle or HTTP")
    pieces = range(0, len(data), _STRING_OCTETS_MAX)
    return b"".join([string(data[start : start + _STRING_OCTETS_MAX]) for start in pieces])


def _references_end(octets: bytes, position: int) -> int:
    """Offset behind a reference list: a count, then a name behind its length, and an index."""
    (references,) = _u32(octets, position)
    position += 4
    for _ in range(references):
        (name_octets,) = _u32(octets, position)
        position += 8 + name_octets
    return position
