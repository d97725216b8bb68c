"""Values in wire form straight to JSON text, without an object for each: what a record's JSON answer is made of.

The text is that of `json.value_to_json`, which remains the definition; a test compares the two. What is not plain (data that is no
text, types whose data has a format of its own, references) is handed to it.
"""

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from struct import Struct
from struct import error as struct_error

from resolver.core.errors import FormatError
from resolver.core.record import DEFAULT_PERMISSIONS, PUBLIC_READ, TTL_ABSOLUTE
from resolver.core.wire.framing import Reader
from resolver.core.wire.json import iso_time, printable, value_to_json
from resolver.core.wire.values import read_value

_HEAD = Struct(">IIBIBI")  # index, timestamp, TTL type, TTL, permissions, length of type
_U32 = Struct(">I")

quoted = encode_basestring  # a JSON string; of C speed, and leaves Chinese as it is
Asked = Callable[[int, str], bool]  # whether a value of this index and type is asked for


def public_values_text(encoded: bytes, asked: Asked | None = None) -> list[str]:
    """The JSON texts of the public values in `encoded`, all of them or those `asked` for. Raises FormatError."""
    try:
        return _texts(encoded, asked)
    except (struct_error, UnicodeDecodeError) as error:
        raise FormatError(f"values of {len(encoded)} octets cannot be read: {error}") from None


def _texts(encoded: bytes, asked: Asked | None) -> list[str]:
    texts: list[str] = []
    position, end_of_all = 0, len(encoded)
    moment, timestamp = "", -1
    while position < end_of_all:
        start = position
        index, stamped, ttl_type, ttl, permissions, type_octets = _HEAD.unpack_from(encoded, position)
        position += 18 + type_octets
        type_ = encoded[start + 18 : position].decode()
        data_end = position + 4 + int(_U32.unpack_from(encoded, position)[0])
        data = encoded[position + 4 : data_end]
        references = int(_U32.unpack_from(encoded, data_end)[0])
        position = data_end + 4
        for _ in range(references):
            position += 8 + int(_U32.unpack_from(encoded, position)[0])
        if not permissions & PUBLIC_READ or (asked is not None and not asked(index, type_)):
            continue
        structured = type_.startswith("HS_") and not type_.startswith("HS_SIGNATURE")
        text = None if structured or references or ttl_type == TTL_ABSOLUTE or not stamped else printable(data)
        if text is None:
            document = value_to_json(read_value(Reader(encoded, "value", start, position)))
            texts.append(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
            continue
        if stamped != timestamp:
            timestamp, moment = stamped, iso_time(stamped)
        shown = "" if permissions == DEFAULT_PERMISSIONS else f'"permissions":"{permissions:04b}",'
        texts.append(
            f'{{"index":{index},"type":{quoted(type_)},"data":{{"format":"string","value":{quoted(text)}}},'
            f'{shown}"ttl":{ttl},"timestamp":"{moment}"}}'
        )
    return texts
