"""Which values of a record an asker wants, and those values picked out of a record in wire form, without making objects of them.

The list of indexes and the list of types are or-ed; both empty means all. Types compare without regard to ASCII case, and a type
that ends in a dot (`HS_SITE.`) means that type and all below it. Values that are not for the public are never picked.
"""

from collections.abc import Iterable
from struct import Struct

from resolver.core.record import PUBLIC_READ
from resolver.core.wire.framing import U32

_VALUE_FIXED = Struct(">I9xBI")  # of an encoded value: its index, at offset 13 its permissions, and the length of its type
_TYPE_AT = 18


class Selection:
    """What one resolution asks for. `everything` when it names no index and no type."""

    __slots__ = ("_above", "_exact", "_indexes", "_longest", "everything")

    def __init__(self, indexes: Iterable[int] = (), types: Iterable[bytes] = ()) -> None:
        folded = [type_.lower() for type_ in types]
        above = [type_ for type_ in folded if type_.endswith(b".")]
        self._indexes = frozenset(indexes)
        self._exact = frozenset([*folded, *[type_[:-1] for type_ in above]])
        self._above = frozenset(above)
        self._longest = max(map(len, above), default=0)
        self.everything = not self._indexes and not self._exact

    def takes(self, index: int, type_: bytes) -> bool:
        """Whether a value of this index and type is asked for."""
        return self.everything or index in self._indexes or self._takes_type(type_.lower())

    def _takes_type(self, folded: bytes) -> bool:
        if folded in self._exact:
            return True
        dot = folded.find(b".", 0, self._longest)
        while dot >= 0:
            if folded[: dot + 1] in self._above:
                return True
            dot = folded.find(b".", dot + 1, self._longest)
        return False

    def pick(self, encoded: bytes, position: int = 0) -> list[bytes]:
        """The public values that are asked for, each in wire form, among those in `encoded` (joined) from `position` on."""
        picked = []
        indexes, exact, above, everything = self._indexes, self._exact, self._above, self.everything
        fixed, u32 = _VALUE_FIXED.unpack_from, U32.unpack_from
        end_of_all = len(encoded)
        while position < end_of_all:
            index, permissions, type_octets = fixed(encoded, position)
            type_at = position + _TYPE_AT
            type_end = type_at + type_octets
            end = type_end + 4 + u32(encoded, type_end)[0]
            (references,) = u32(encoded, end)
            end += 4
            while references:
                end += 8 + u32(encoded, end)[0]
                references -= 1
            if permissions & PUBLIC_READ and (
                index in indexes
                or everything
                or (exact and ((type_ := encoded[type_at:type_end].lower()) in exact or (above and self._takes_type(type_))))
            ):
                picked.append(encoded[position:end])
            position = end
        return picked
