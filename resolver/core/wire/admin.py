"""HS_ADMIN: who administers a record, and what they may do (RFC 3651, 3.2.1; deployed layout).

Two octets of permissions, the identifier of the administrator, and the index of the administrator's key or list of keys, 0 for any.
Old tools wrote two zero octets after that; such data stays as it is, since its octets may have been signed.
"""

from typing import NamedTuple

from resolver.core.errors import FormatError
from resolver.core.wire.framing import U16, U32, Reader, pack_text

ADD_HANDLE, DELETE_HANDLE, ADD_DERIVED_PREFIX, DELETE_DERIVED_PREFIX = 0x001, 0x002, 0x004, 0x008
MODIFY_VALUE, REMOVE_VALUE, ADD_VALUE = 0x010, 0x020, 0x040
MODIFY_ADMIN, REMOVE_ADMIN, ADD_ADMIN = 0x080, 0x100, 0x200
READ_VALUE, LIST_HANDLES = 0x400, 0x800

_LEGACY_END = bytes(2)


class Admin(NamedTuple):
    """`permissions` is a set of the bits above. `legacy`: the encoding ends with two more zero octets."""

    identifier: str
    index: int  # type: ignore[assignment]  # the field's word in RFC 3651, as in record.Reference
    permissions: int
    legacy: bool = False


def encode_admin(admin: Admin) -> bytes:
    end = _LEGACY_END if admin.legacy else b""
    return U16.pack(admin.permissions) + pack_text(admin.identifier) + U32.pack(admin.index) + end


def decode_admin(octets: bytes, place: str = "HS_ADMIN") -> Admin:
    """Raises FormatError for anything but one whole HS_ADMIN."""
    reader = Reader(octets, place)
    permissions, identifier, index = reader.u16("permissions"), reader.text("administrator"), reader.u32("index")
    if permissions > 0x0FFF:
        raise FormatError(f"{place}: permissions {permissions:#06x}; twelve bits are defined")
    legacy = reader.remaining == len(_LEGACY_END)
    if legacy and reader.take(2, "end") != _LEGACY_END:
        raise FormatError(f"{place}: the two octets after the index must be zero")
    reader.done()
    return Admin(identifier, index, permissions, legacy)
