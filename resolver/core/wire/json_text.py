"""Values in wire form straight to JSON text, without an object for each: what a record's JSON answer is made of.

The text is that of `json.value_to_json`, which remains the definition; a test compares the two. What is not plain (data that is no
text, types whose data has a format of its own, references) is handed to it.
"""

import json
from functools import lru_cache
from json.encoder import encode_basestring
from struct import Struct
from struct import error as struct_error

from resolver.core.errors import FormatError
from resolver.core.record import (
    DEFAULT_PERMISSIONS,
    DEFAULT_TTL_SECONDS,
    INDEX_SIGNATURE,
    PUBLIC_READ,
    TTL_ABSOLUTE,
    TYPE_SIGNATURE,
    is_signature_type,
)
from resolver.core.wire.framing import Reader
from resolver.core.wire.json import iso_time, printable, value_to_json
from resolver.core.wire.selection import Selection
from resolver.core.wire.values import read_value

_HEAD = Struct(">IIBIBI")  # index, timestamp, TTL type, TTL, permissions, length of type
_U32 = Struct(">I")
_NO_REFERENCES = bytes(4)

quoted = encode_basestring  # a JSON string; of C speed, and leaves Chinese as it is


def public_values_text(encoded: bytes, selection: Selection | None = None) -> list[str]:
    """The JSON texts of the public values in `encoded`, all of them or those of a `selection`. Raises FormatError."""
    try:
        return _texts(encoded if selection is None or selection.everything else b"".join(selection.pick(encoded)))
    except (struct_error, UnicodeDecodeError) as error:
        raise FormatError(f"values of {len(encoded)} octets cannot be read: {error}") from None


def signature_text(jws: str, issued: int) -> str:
    """The JSON text of the value (402) that carries a record's signature."""
    return (
        f'{{"index":{INDEX_SIGNATURE},"type":"{TYPE_SIGNATURE}","data":{{"format":"string","value":"{jws}"}},'
        f'"ttl":{DEFAULT_TTL_SECONDS},"timestamp":"{iso_time(issued)}"}}'
    )


def _texts(encoded: bytes) -> list[str]:
    texts: list[str] = []
    start, end_of_all = 0, len(encoded)
    head, u32 = _HEAD.unpack_from, _U32.unpack_from
    while start < end_of_all:
        index, stamped, ttl_type, ttl, permissions, type_octets = head(encoded, start)
        data_start = start + 22 + type_octets
        opening = _opening(encoded[start + 18 : data_start - 4])
        data_end = data_start + u32(encoded, data_start - 4)[0]
        end = data_end + 4
        plain = opening is not None and stamped and ttl_type != TTL_ABSOLUTE
        if encoded[data_end:end] != _NO_REFERENCES:
            plain = False
            for _ in range(u32(encoded, data_end)[0]):
                end += 8 + u32(encoded, end)[0]
        if permissions & PUBLIC_READ:
            text = printable(encoded[data_start:data_end]) if plain else None
            if text is None:
                document = value_to_json(read_value(Reader(encoded, "value", start, end)))
                texts.append(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
            else:
                shown = "" if permissions == DEFAULT_PERMISSIONS else f'"permissions":"{permissions:04b}",'
                texts.append(f'{{"index":{index},{opening}{quoted(text)}}},{shown}"ttl":{ttl},"timestamp":"{iso_time(stamped)}"}}')
        start = end
    return texts


@lru_cache(maxsize=1024)
def _opening(octets: bytes) -> str | None:
    """The text from a type to a value's plain data; None where the data may have a format of its own."""
    type_ = octets.decode()
    if type_.startswith("HS_") and not is_signature_type(type_):
        return None
    return f'"type":{quoted(type_)},"data":{{"format":"string","value":'
