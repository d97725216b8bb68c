"""Bodies of the Handle door's responses: values of a record as they are asked for, and the texts for people in everything else.

A body with values is written from a record's values in wire form, which are copied whole or picked, never decoded. The signature
value is not stored among them: it is made, which costs more than all the rest, and only if it is asked for.
"""

from functools import lru_cache
from struct import error as struct_error

from resolver.core.errors import CorruptError, FormatError
from resolver.core.message import AnsweringRecord, gone_text
from resolver.core.record import INDEX_SIGNATURE, TYPE_SIGNATURE, TYPE_SITE
from resolver.core.wire.bodies import read_filter
from resolver.core.wire.framing import U32
from resolver.core.wire.selection import Selection
from resolver.core.wire.site import PROTOCOL_TCP, PROTOCOL_UDP, addresses, decode_site
from resolver.core.wire.stored import ALL_PUBLIC, HEAD_OCTETS, read_stored
from resolver.core.wire.values import decode_values

EVERYTHING = Selection()
NO_LISTS = bytes(8)  # what a resolution that asks for everything has in place of indexes and types
NO_SESSION = "this server has no sessions; resolution needs none"

_SIGNATURE_TYPE = TYPE_SIGNATURE.encode()
_COMMON_LISTS_OCTETS = 64


# ---- values


def resolved(name: bytes, record: AnsweringRecord, selection: Selection) -> bytes | None:
    """Body of an answer or a referral; `name` has its length in front. None if no public value is what was asked for.

    Raises CorruptError.
    """
    try:
        if selection.everything and record.flags & ALL_PUBLIC:
            return b"".join((name, U32.pack(record.count + 1), record.encoded, record.signature_octets))
        picked = selection.pick(record.encoded)
        if selection.takes(INDEX_SIGNATURE, _SIGNATURE_TYPE):
            picked.append(record.signature_octets)
    except struct_error as error:
        raise CorruptError(f"stored record of {record.key!r} cannot be read: {error}") from None
    return _joined(name, picked)


def resolved_from_stored(name: bytes, lists: bytes, filter_items: int, key: bytes, octets: bytes) -> bytes | None:
    """As `resolved`, straight from the `octets` that are stored under `key`. `lists`: the indexes and types as they were received.

    Raises FormatError for lists that are none, CorruptError for a record that is none.
    """
    selection = EVERYTHING
    if lists != NO_LISTS:
        selection = (_common_selection if len(lists) <= _COMMON_LISTS_OCTETS else _selection)(lists, filter_items)
    if selection.takes(INDEX_SIGNATURE, _SIGNATURE_TYPE):
        return resolved(name, read_stored(key, octets), selection)
    try:
        return _joined(name, selection.pick(octets, HEAD_OCTETS))
    except struct_error as error:
        raise CorruptError(f"stored record of {key!r} cannot be read: {error}") from None


def _joined(name: bytes, picked: list[bytes]) -> bytes | None:
    return b"".join((name, U32.pack(len(picked)), *picked)) if picked else None


def _selection(lists: bytes, filter_items: int) -> Selection:
    indexes, types, _ = read_filter(lists, 0, len(lists), filter_items)
    return Selection(indexes, types)


_common_selection = lru_cache(maxsize=1024)(_selection)  # deployed clients ask for a handful of different ones


# ---- texts


def not_found(zone: str, gone_since: int | None = None) -> str:
    return f"{zone} has no such identifier" if gone_since is None else gone_text(gone_since)


def not_supported(op: int) -> str:
    if op in (200, 201, 400, 401, 402, 2001):
        return f"operation {op} is not supported: there are no sessions or logins here; resolution needs none"
    if 100 <= op < 2000:
        return f"operation {op} is not supported: administration goes through the registry's HTTP interface"
    return f"there is no operation {op}"


def served_elsewhere(prefix: str, delegation: AnsweringRecord) -> str:
    """For who fails on a referral: where to ask instead."""
    try:
        sites = [decode_site(value.data) for value in decode_values(delegation.encoded) if value.type == TYPE_SITE]
    except FormatError:
        sites = []
    found = [f"{host}:{port}" for site in sites for host, port in addresses(site, PROTOCOL_TCP) or addresses(site, PROTOCOL_UDP)]
    servers = ", ".join(dict.fromkeys(found)) or "other servers"
    return f"{prefix} is served by {servers}; ask there, or ask a recursive server"
