"""Which values of a record an asker wants, and those values picked out of a record in wire form, without making objects of them.

The list of indexes and the list of types are or-ed; both empty means all. Types compare without regard to ASCII case, and a type
that ends in a dot (`HS_SITE.`) means that type and all below it. Values that are not for the public are never picked.
"""

from collections.abc import Iterable
from struct import Struct

from resolver.core.record import PUBLIC_READ
from resolver.core.wire.framing import U32

_VALUE_FIXED = Struct(">I10xI")  # of an encoded value: its index, and at offset 14 the length of its type
_PERMISSIONS_AT, _TYPE_AT = 13, 18


class Selection:
    """What one resolution asks for. True when it asks for something, False when for everything."""

    __slots__ = ("_above", "_exact", "_indexes", "_longest")

    def __init__(self, indexes: Iterable[int] = (), types: Iterable[bytes] = ()) -> None:
        self._indexes = frozenset(indexes)
        folded = [type_.lower() for type_ in types]
        self._exact = frozenset([*folded, *[type_[:-1] for type_ in folded if type_[-1:] == b"."]])
        self._above = frozenset([type_ for type_ in folded if type_[-1:] == b"."])
        self._longest = max(map(len, self._above), default=0)

    def __bool__(self) -> bool:
        return bool(self._indexes or self._exact)

    def takes(self, index: int, type_: bytes) -> bool:
        """Whether a value of this index and type is asked for."""
        if index in self._indexes:
            return True
        type_ = type_.lower()
        if type_ in self._exact:
            return True
        dot = type_.find(b".", 0, self._longest) if self._above else -1
        while dot >= 0:
            if type_[: dot + 1] in self._above:
                return True
            dot = type_.find(b".", dot + 1, self._longest)
        return not self

    def pick(self, encoded: bytes) -> list[bytes]:
        """The public values among `encoded` (values in wire form, joined) that are asked for, each in wire form."""
        picked = []
        position, end_of_all = 0, len(encoded)
        while position < end_of_all:
            index, type_octets = _VALUE_FIXED.unpack_from(encoded, position)
            type_at = position + _TYPE_AT
            type_end = type_at + type_octets
            end = type_end + 4 + U32.unpack_from(encoded, type_end)[0]
            references = U32.unpack_from(encoded, end)[0]
            end += 4
            while references:
                end += 8 + U32.unpack_from(encoded, end)[0]
                references -= 1
            if encoded[position + _PERMISSIONS_AT] & PUBLIC_READ and self.takes(index, encoded[type_at:type_end]):
                picked.append(encoded[position:end])
            position = end
        return picked
