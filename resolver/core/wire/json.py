"""Handle values as JSON: the shape that deployed HTTP clients read and write.

    {"index": 1, "type": "URL", "data": {"format": "string", "value": "https://example.org/"}, "ttl": 86400,
     "timestamp": "2026-11-20T04:48:46Z", "permissions": "1100", "references": [{"handle": "88.1/a", "index": 300}]}

Permissions are admin read, admin write, public read, public write, and are left out when they are the usual 1110. A TTL that is a
time instead of a number is absolute. A timestamp of 0 and an empty list of references are left out. Data has a *format*:

    string   UTF-8 without control characters other than tab and line ends: the content decides, not the type
    base64   any other octets; `hex` is understood as well, but not written
    admin    HS_ADMIN: {"handle", "index", "permissions": twelve binary digits, "legacyByteLength": two zero octets follow}
    vlist    HS_VLIST: [{"handle", "index"}]
    site     HS_SITE: see `json_site`
    key      HS_PUBKEY: a JWK (RFC 7517)

The last four are written only where they give the very same octets back, so that no record changes by being read and put again.
Going in, data may be a bare string, and only type and data are required. What is wrong is told with its place:
`values[3].data.value`.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NoReturn, TypeGuard

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.record import DEFAULT_PERMISSIONS, DEFAULT_TTL_SECONDS, TTL_ABSOLUTE, TTL_RELATIVE, Reference, Value
from resolver.core.wire.admin import Admin, decode_admin, encode_admin
from resolver.core.wire.framing import Reader
from resolver.core.wire.json_site import key_from_json, key_to_json, site_from_json, site_to_json
from resolver.core.wire.values import encode_references, read_references

INDEX_MAX = 0x7FFFFFFF
U32_MAX = 0xFFFFFFFF

_FIELDS = frozenset(("index", "type", "data", "ttl", "permissions", "timestamp", "references"))
_PLAIN_FIELDS = frozenset(("index", "type", "data"))
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PERMISSIONS = {f"{bits:04b}": bits for bits in range(16)} | {"*": 0b1111}
_ADMIN_PERMISSIONS = re.compile("[01]{12}")


# ---- out


def value_to_json(value: Value) -> dict[str, Any]:
    """The document of one value."""
    document: dict[str, Any] = {"index": value.index, "type": value.type, "data": data_to_json(value.type, value.data)}
    if value.permissions != DEFAULT_PERMISSIONS:
        document["permissions"] = f"{value.permissions:04b}"
    document["ttl"] = iso_time(value.ttl) if value.ttl_type == TTL_ABSOLUTE else value.ttl
    if value.timestamp:
        document["timestamp"] = iso_time(value.timestamp)
    if value.references:
        document["references"] = _references_to_json(value.references)
    return document


def data_to_json(type_: str, data: bytes) -> dict[str, Any]:
    """Format and value of a value's data, by its type and its content."""
    family = type_.partition(".")[0]
    if family in _STRUCTURED:
        format_, read, write = _STRUCTURED[family]
        try:
            document = read(data)
            if write(document, type_) == data:
                return {"format": format_, "value": document}
        except FormatError:
            pass  # not what the type promises: shown as the octets that it is
    text = printable(data)
    if text is None:
        return {"format": "base64", "value": b64encode(data).decode()}
    return {"format": "string", "value": text}


def printable(data: bytes) -> str | None:
    """`data` as text, or None if it is not UTF-8 or has control characters other than tab and line ends."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() or not _CONTROL.search(text) else None


@lru_cache(maxsize=4096)  # a record's values mostly have one time, and so have records that were registered together
def iso_time(seconds: int) -> str:
    """`2026-11-20T04:48:46Z` for seconds since 1970."""
    day, second = divmod(seconds, 86_400)
    return f"{_iso_day(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


@lru_cache(maxsize=4096)
def _iso_day(day: int) -> str:
    return date.fromordinal(719_163 + day).isoformat()


# ---- in


def value_from_json(document: object, place: str, index: int = 1) -> Value:
    """The value that `document` describes. `index` is taken if it names none. Raises FormatError naming `place` and the rule."""
    if type(document) is dict and document.keys() == _PLAIN_FIELDS:  # the way of nearly every line of a bulk registration
        data = document["data"]
        if type(data) is dict and len(data) == 2 and data.get("format") == "string":
            data = data.get("value")
        number, type_ = document["index"], document["type"]
        fits = type(number) is int and 0 < number <= INDEX_MAX and type(type_) is str and type_ and type_.isascii()
        if fits and type(data) is str and (data.isascii() or data.isprintable()):  # so it has no half of a surrogate pair
            return Value(number, type_, data.encode())
    return _value_from_any(document, place, index)


def values_from_json(documents: object, place: str) -> tuple[Value, ...]:
    """The values of a list. Those that name no index get the lowest free ones, from 1. Raises FormatError."""
    if not isinstance(documents, list):
        raise _wrong(place, "must be a list of values", documents)
    if len(documents) > limits.record_values.most:
        raise LimitError(f"{place}: {len(documents)} values; at most {limits.record_values.most} are allowed")
    named = {document.get("index") for document in documents if isinstance(document, dict) and _is_number(document.get("index"))}
    free = (index for index in range(1, 2 * limits.record_values.most + 2) if index not in named)
    return tuple(
        value_from_json(d, f"{place}[{i}]", 1 if isinstance(d, dict) and "index" in d else next(free))
        for i, d in enumerate(documents)
    )


def document_from_octets(octets: bytes, place: str) -> Any:
    """Any JSON document (RFC 8259) in UTF-8, nested no deeper than `json_depth`. Raises FormatError naming `place`."""
    try:
        document = _DECODER.decode(octets.decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"{place}: not UTF-8 at octet {error.start}") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"{place}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise LimitError(f"{place}: JSON nested deeper than {limits.json_depth.default}") from None
    except ValueError as error:
        raise FormatError(f"{place}: not JSON: {error}") from None
    if octets.count(b"{") + octets.count(b"[") > limits.json_depth.default:
        _check_depth(document, place)
    return document


def _value_from_any(document: object, place: str, index: int) -> Value:
    if not isinstance(document, dict):
        raise _wrong(place, "a value must be an object with type and data", document)
    unknown = document.keys() - _FIELDS
    if unknown:
        raise FormatError(f"{place}: there is no field {min(unknown)[:40]!r} in a value; known are {', '.join(sorted(_FIELDS))}")
    for required in ("type", "data"):
        if required not in document:
            raise FormatError(f"{place}: the field {required!r} is missing")
    type_ = document["type"]
    if not isinstance(type_, str) or not type_:
        raise _wrong(f"{place}.type", "must be a text that is not empty", type_)
    _encoded(type_, f"{place}.type")
    index = _number(document.get("index", index), f"{place}.index", 1, INDEX_MAX)
    ttl_type, ttl = _ttl(document.get("ttl", DEFAULT_TTL_SECONDS), f"{place}.ttl")
    permissions = _PERMISSIONS.get(p) if isinstance(p := document.get("permissions", "1110"), str) else None
    if permissions is None:
        raise _wrong(
            f"{place}.permissions", 'must be four binary digits (admin read, admin write, public read, public write) or "*"', p
        )
    timestamp = _time(document["timestamp"], f"{place}.timestamp") if "timestamp" in document else 0
    references = _references(document.get("references", []), f"{place}.references")
    return Value(index, type_, _data(document["data"], f"{place}.data"), ttl, ttl_type, timestamp, permissions, references)


def _data(document: object, place: str) -> bytes:
    if isinstance(document, str):
        return _encoded(document, place)
    if not isinstance(document, dict) or "format" not in document or "value" not in document:
        raise _wrong(place, "must be a text, or an object with format and value", document)
    read = _FORMATS.get(format_) if isinstance(format_ := document["format"], str) else None
    if read is None:
        raise _wrong(f"{place}.format", f"must be one of {', '.join(sorted(_FORMATS))}", format_)
    return read(document["value"], f"{place}.value")


def _ttl(document: object, place: str) -> tuple[int, int]:
    if isinstance(document, str):
        return TTL_ABSOLUTE, _time(document, place)
    if not _is_number(document):
        raise _wrong(place, f"must be seconds from 0 to {U32_MAX}, or a time such as 2026-11-20T04:48:46Z", document)
    return TTL_RELATIVE, _number(document, place, 0, U32_MAX)


def _time(document: object, place: str) -> int:
    try:
        moment = datetime.fromisoformat(document) if isinstance(document, str) else None
        if moment is not None and moment.tzinfo is not None and 0 <= (seconds := int(moment.timestamp())) <= U32_MAX:
            return seconds
    except (ValueError, OverflowError):
        pass
    raise _wrong(place, "must be a time from 1970 to 2106 with its zone, such as 2026-11-20T04:48:46Z", document)


def _references(document: object, place: str) -> tuple[Reference, ...]:
    if not isinstance(document, list):
        raise _wrong(place, "must be a list of references", document)
    if len(document) > limits.record_values.most:
        raise LimitError(f"{place}: {len(document)} references; at most {limits.record_values.most} are allowed")
    return tuple(_reference(item, f"{place}[{number}]") for number, item in enumerate(document))


def _reference(document: object, place: str) -> Reference:
    if not isinstance(document, dict):
        raise _wrong(place, "a reference must be an object with handle and index", document)
    handle, index = document.get("handle"), document.get("index")
    if not isinstance(handle, str):
        raise _wrong(f"{place}.handle", "must be a text", handle)
    _encoded(handle, f"{place}.handle")
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) <= 10:  # deployed clients send "200"
        index = int(index)
    return Reference(handle, _number(index, f"{place}.index", 0, U32_MAX))


def _references_to_json(references: tuple[Reference, ...]) -> list[dict[str, Any]]:
    return [{"handle": handle, "index": index} for handle, index in references]


# ---- formats of data


def _read_string(document: object, place: str) -> bytes:
    if not isinstance(document, str):
        raise _wrong(place, "must be a text", document)
    return _encoded(document, place)


def _read_base64(document: object, place: str) -> bytes:
    if not isinstance(document, str):
        raise _wrong(place, "must be base64", document)
    try:
        return b64decode(document, validate=True)
    except ValueError as error:
        raise FormatError(f"{place}: must be base64 (RFC 4648, 4) with its padding: {error}") from None


def _read_hex(document: object, place: str) -> bytes:
    if not isinstance(document, str):
        raise _wrong(place, "must be hexadecimal digits", document)
    try:
        return bytes.fromhex(document)
    except ValueError:
        raise FormatError(f"{place}: must be an even number of hexadecimal digits") from None


def _read_admin(document: object, place: str) -> bytes:
    handle, index = _reference(document, place)
    assert isinstance(document, dict)
    bits = document.get("permissions")
    if not isinstance(bits, str) or not _ADMIN_PERMISSIONS.fullmatch(bits):
        raise _wrong(f"{place}.permissions", "must be twelve binary digits", bits)
    return encode_admin(Admin(handle, index, int(bits, 2), document.get("legacyByteLength") is True))


def _admin_to_json(data: bytes) -> dict[str, Any]:
    admin = decode_admin(data)
    document: dict[str, Any] = {"handle": admin.identifier, "index": admin.index, "permissions": f"{admin.permissions:012b}"}
    return document | {"legacyByteLength": True} if admin.legacy else document


def _read_vlist(document: object, place: str) -> bytes:
    return encode_references(_references(document, place))


def _vlist_to_json(data: bytes) -> list[dict[str, Any]]:
    return _references_to_json(read_references(Reader(data, "HS_VLIST")))


_FORMATS: dict[str, Callable[[object, str], bytes]] = {
    "string": _read_string,
    "base64": _read_base64,
    "hex": _read_hex,
    "admin": _read_admin,
    "vlist": _read_vlist,
    "site": site_from_json,
    "key": key_from_json,
}
# First label of a type -> format, how to read the data, and how to write it again.
_STRUCTURED: dict[str, tuple[str, Callable[[bytes], Any], Callable[[object, str], bytes]]] = {
    "HS_ADMIN": ("admin", _admin_to_json, _read_admin),
    "HS_VLIST": ("vlist", _vlist_to_json, _read_vlist),
    "HS_SITE": ("site", site_to_json, site_from_json),
    "HS_PUBKEY": ("key", key_to_json, key_from_json),
}


# ---- rules that several fields share


def _number(document: object, place: str, least: int, most: int) -> int:
    if not _is_number(document) or not least <= document <= most:
        raise _wrong(place, f"must be a whole number from {least} to {most}", document)
    return document


def _is_number(document: object) -> TypeGuard[int]:
    return type(document) is int  # a bool is an int, but not here


def _encoded(text: str, place: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{place}: half of a surrogate pair at character {error.start + 1}") from None


def _wrong(place: str, rule: str, document: object) -> FormatError:
    match document:
        case None:
            came = "null or nothing"
        case dict():
            came = "an object"
        case list():
            came = "a list"
        case int() if document.bit_length() > 64:
            came = "a number of more than 64 bits"
        case _:
            came = json.dumps(document)
    return FormatError(f"{place}: {rule}, not {came if len(came) <= 60 else came[:57] + '...'}")


def _check_depth(document: object, place: str) -> None:
    level, depth = [document], 0  # all lists and objects of one depth
    while level := [outer for outer in level if isinstance(outer, dict | list)]:
        depth += 1
        if depth > limits.json_depth.default:
            raise LimitError(f"{place}: JSON nested deeper than {limits.json_depth.default}")
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object, and which of the two is meant cannot be known")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_refuse_constant)
