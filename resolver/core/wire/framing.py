"""The octets below every message: big-endian integers and length-prefixed strings (RFC 3652, 2.1).

A `Reader` never reads past its end, never trusts a length before it compared it with what is there, and raises FormatError and
nothing else. `Writer`s are plain byte joins: see the `pack_` functions.
"""

from struct import Struct

from resolver.core.errors import FormatError, LimitError

U16, U32 = Struct(">H"), Struct(">I")
_STRING_OCTETS_MAX = 1_048_576  # deployed decoders refuse longer strings and arrays


class Reader:
    """A cursor over octets. `place` names what is being read, for errors."""

    __slots__ = ("end", "octets", "place", "position")

    def __init__(self, octets: bytes, place: str, start: int = 0, end: int | None = None) -> None:
        self.octets = octets
        self.place = place
        self.position = start
        self.end = len(octets) if end is None else end

    @property
    def remaining(self) -> int:
        return self.end - self.position

    def take(self, count: int, what: str) -> bytes:
        start = self.position
        if count < 0 or count > self.end - start:
            raise FormatError(f"{self.place}: {what} needs {count} octets at offset {start}, but {self.end - start} remain")
        self.position = start + count
        return self.octets[start : start + count]

    def u8(self, what: str) -> int:
        return self.take(1, what)[0]

    def u16(self, what: str) -> int:
        return int(U16.unpack(self.take(2, what))[0])

    def u32(self, what: str) -> int:
        return int(U32.unpack(self.take(4, what))[0])

    def data(self, what: str) -> bytes:
        """A string of octets behind its 4-octet length."""
        length = self.u32(f"length of {what}")
        if length > _STRING_OCTETS_MAX:
            raise LimitError(f"{self.place}: {what} claims {length} octets; at most {_STRING_OCTETS_MAX} are allowed")
        return self.take(length, what)

    def text(self, what: str) -> str:
        """A length-prefixed UTF-8 string."""
        octets = self.data(what)
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{self.place}: {what} is not UTF-8 at octet {error.start}") from None

    def count(self, what: str, at_most: int, each_octets: int) -> int:
        """A 4-octet count of items of at least `each_octets` each: checked against the bound and against what is left."""
        number = self.u32(f"count of {what}")
        if number > at_most:
            raise LimitError(f"{self.place}: {number} {what}; at most {at_most} are allowed")
        if number * each_octets > self.remaining:
            raise FormatError(f"{self.place}: {number} {what} cannot fit into the {self.remaining} octets that remain")
        return number

    def done(self) -> None:
        """Raises FormatError if anything is left."""
        if self.remaining:
            raise FormatError(f"{self.place}: {self.remaining} octets too many at offset {self.position}")


def pack_data(octets: bytes) -> bytes:
    return U32.pack(len(octets)) + octets


def pack_text(text: str) -> bytes:
    return pack_data(text.encode())
