"""The pages of an LMDB file, read from the file itself: is every page what and where it should be?

LMDB trusts its file. It follows a damaged page number into other data and may end the process, so before a table is read through
it, `table_check` walks the tree here. What is checked, of the snapshot that a transaction holds:

    both meta pages    magic, version, sizes; their transactions follow one another
    every page         its number, its kind, its depth; nodes that fill it exactly, within its bounds, in ascending key order
    every branch       keys that separate what is below them
    every database     numbers of pages and entries as its head says
    the file           every page belongs to exactly one tree, or is free

What LMDB never reads cannot be checked, and holds no data: the pages that are free, the gap in the middle of a page, the octet
that pads a node to an even length, two unused octets in a page's head, the counters of the snapshot before this one. The layout is
that of LMDB 0.9 (`mdb.c`), in the machine's byte order.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from sys import byteorder
from typing import NamedTuple

from resolver.core.errors import CorruptError

_PAGE = Struct("=QHHHH")  # number, unused, kind, lower, upper; of an overflow page the last two are its number of pages
_META = Struct("=IIQQ")  # magic, version, address, map size; then two databases, last page, transaction
_DATABASE = Struct("=IHHQQQQQ")  # page size (of the free list's), flags, depth, branches, leaves, overflow pages, entries, root
_LAST = Struct("=QQ")
_NODE = Struct("=HHHH")  # size or page, low and high; flags or page, highest; size of the key
_U64 = Struct("=Q")
_U32 = Struct("=I")
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE_OCTETS = 4096
_HEAD = _PAGE.size
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 0x01, 0x02, 0x04, 0x08
_BIG, _SUB = 0x01, 0x02  # a node's data is in overflow pages; is a database
_NO_PAGE = 2**64 - 1
_INTEGER_KEYS = 0x08
_DEPTH_MAX = 32
_ONLY_GROWS = ("records", "hashed")  # nothing is deleted there, so a branch names the first key below it exactly
_KEY_MAX = 511


class Database(NamedTuple):
    name: str
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class Pages:
    """The pages of one snapshot. Every method raises CorruptError at the first fault."""

    def __init__(self, path: Path, transaction: int) -> None:
        """`transaction` is the one that a reader holds, so that its pages stay while they are read."""
        self._file = open(path, "rb")  # noqa: SIM115  # closed in `close`
        self._size = path.stat().st_size
        self._transaction = transaction
        self._free, self._main, self._last = self._meta()
        self._seen = bytearray(self._last + 1)

    def close(self) -> None:
        self._file.close()

    def check(self) -> None:
        """Walks everything."""
        self._seen[0] = self._seen[1] = 1
        try:
            free = [number for key, data in self._walk(self._free) for number in self._freed(key, data)]
            for _ in self._walk(self._main):
                pass
        except (struct_error, OverflowError) as error:
            raise CorruptError(f"a page does not hold what its head says: {error}") from None
        for number in free:
            if not 1 < number <= self._last or self._seen[number]:
                raise CorruptError(f"page {number} is both free and in use, or does not exist")
            self._seen[number] = 1
        lost = self._seen.find(0)
        if lost >= 0:
            raise CorruptError(f"page {lost} is neither free nor in use")

    def _freed(self, key: bytes, data: bytes) -> tuple[int, ...]:
        """The pages in an item of the free list: under a transaction a count, then the pages that it gave up."""
        (count,) = _U64.unpack_from(data)
        by = int.from_bytes(key, byteorder)
        if not 0 < by <= self._transaction or len(data) < 8 * (count + 1):
            raise CorruptError(f"the free list has {len(data)} octets that claim {count} pages of transaction {by}")
        pages: tuple[int, ...] = Struct(f"={count}Q").unpack_from(data, 8)
        return pages

    # ---- meta pages

    def _meta(self) -> tuple[Database, Database, int]:
        self._file.seek(0)
        head = self._file.read(2 * _PAGE_OCTETS)
        if len(head) != 2 * _PAGE_OCTETS or self._size % _PAGE_OCTETS:
            raise CorruptError(f"the file has {self._size} octets, which is no whole number of pages")
        found = [_read_meta(head, number) for number in (0, 1)]
        numbers = sorted(meta[3] for meta in found)
        if numbers[1] - numbers[0] != 1 or any(meta[3] % 2 != number for number, meta in enumerate(found)):
            raise CorruptError(f"the meta pages are of transactions {numbers}, which do not follow one another")
        for free, main, last, number in found:
            if last * _PAGE_OCTETS >= self._size:
                raise CorruptError(f"meta page {number % 2}: the last page is {last}, beyond the end of the file")
            if number == self._transaction:
                return free, main, last
        raise CorruptError(f"the meta pages are of transactions {numbers}, not of {self._transaction}, which is being read")

    # ---- trees

    def _walk(self, database: Database) -> Iterator[tuple[bytes, bytes]]:
        """Every key and its data, those of named databases after their own. Counts are compared at the end."""
        if database.root == _NO_PAGE:
            if any(database[2:7]):
                raise CorruptError(f"{database.name} has no root page, but is not empty")
            return
        counts = [0, 0, 0, 0]  # branches, leaves, overflow pages, entries
        below = []
        for key, data, flags in self._descend(database, database.root, 1, counts, b"", None):
            if flags & _SUB:
                below.append(_read_database(data, 0, key.decode("utf-8", "replace")))
            yield key, data
        if tuple(counts) != database[3:7]:
            raise CorruptError(f"{database.name}: pages and entries are {counts}, its head says {list(database[3:7])}")
        for named in below:
            yield from self._walk(named)

    def _descend(
        self, database: Database, number: int, depth: int, counts: list[int], low: bytes, high: bytes | None
    ) -> Iterator[tuple[bytes, bytes, int]]:
        """The nodes below a page whose keys must be at least `low` and below `high`."""
        octets, kind, nodes = self._page(database, number)
        if (kind == _LEAF) != (depth == database.depth) or depth > _DEPTH_MAX:
            raise CorruptError(f"page {number}: a page of kind {kind} at depth {depth} of {database.depth} of {database.name}")
        counts[0 if kind == _BRANCH else 1] += 1
        if kind == _LEAF:
            previous = None
            for offset in nodes:
                size_low, size_high, flags, key_octets = _NODE.unpack_from(octets, offset)
                start = offset + 8 + key_octets
                key = octets[offset + 8 : start]
                rank = _rank(database, key)
                if (previous is not None and rank <= previous) or rank < low or (high is not None and rank >= high):
                    raise CorruptError(f"page {number} of {database.name}: the key {key!r} is out of order")
                if previous is None and low and rank != low and database.name in _ONLY_GROWS:
                    raise CorruptError(f"page {number} of {database.name}: begins with {key!r}, the page above it says {low!r}")
                previous = rank
                counts[3] += 1
                size = size_low | size_high << 16
                if flags & _BIG:
                    (first,) = _U64.unpack_from(octets, start)
                    yield key, self._overflow(first, size, counts), flags
                else:
                    yield key, octets[start : start + size], flags
            return
        separators = [octets[offset + 8 : offset + 8 + _NODE.unpack_from(octets, offset)[3]] for offset in nodes]
        ranks = [low, *[_rank(database, key) for key in separators[1:]]]
        if separators[0] or any(one >= other for one, other in pairwise(ranks[1:])):
            raise CorruptError(f"page {number} of {database.name}: its keys are out of order")
        for place, offset in enumerate(nodes):
            page_low, page_high, page_highest, _ = _NODE.unpack_from(octets, offset)
            child = page_low | page_high << 16 | page_highest << 32
            above = ranks[place + 1] if place + 1 < len(ranks) else high
            yield from self._descend(database, child, depth + 1, counts, ranks[place], above)

    def _page(self, database: Database, number: int) -> tuple[bytes, int, list[int]]:
        """A branch or leaf: its octets, its kind, and where its nodes begin."""
        octets = self._read(number, 1)
        found, _, kind, lower, upper = _PAGE.unpack_from(octets)
        where = f"page {number} of {database.name}"
        if found != number or kind not in (_BRANCH, _LEAF):
            raise CorruptError(f"{where}: its head says page {found}, kind {kind}")
        count = (lower - _HEAD) // 2
        if not _HEAD < lower <= upper <= _PAGE_OCTETS or lower % 2:
            raise CorruptError(f"{where}: its space is said to be from {lower} to {upper}")
        nodes = list(Struct(f"={count}H").unpack_from(octets, _HEAD))
        position = upper
        for offset in sorted(nodes):
            if offset != position or offset + 8 > _PAGE_OCTETS:
                raise CorruptError(f"{where}: a node begins at {offset}, expected at {position}")
            size_low, size_high, flags, key_octets = _NODE.unpack_from(octets, offset)
            if key_octets > _KEY_MAX or (kind == _LEAF and flags not in (0, _BIG, _SUB)):
                raise CorruptError(f"{where}: node at {offset} has a key of {key_octets} octets and flags {flags}")
            data = 0 if kind == _BRANCH else 8 if flags & _BIG else size_low | size_high << 16
            position += (8 + key_octets + data + 1) & ~1
        if position != _PAGE_OCTETS:
            raise CorruptError(f"{where}: its nodes end at {position}, not at its end")
        return octets, kind, nodes

    def _overflow(self, number: int, size: int, counts: list[int]) -> bytes:
        found, _, kind, _, _ = _PAGE.unpack_from(self._octets(number, 1))
        (pages,) = _U32.unpack_from(self._octets(number, 1), _HEAD - 4)
        if found != number or kind != _OVERFLOW or pages * _PAGE_OCTETS < _HEAD + size:
            raise CorruptError(f"page {number}: its head is not that of overflow pages for {size} octets")
        counts[2] += pages
        return self._read(number, pages)[_HEAD : _HEAD + size]

    def _read(self, number: int, pages: int) -> bytes:
        """Octets of pages that nobody else has. Marks them as seen."""
        if not 1 < number <= self._last - pages + 1:
            raise CorruptError(f"page {number} does not exist; the last one is {self._last}")
        if any(self._seen[number : number + pages]):
            raise CorruptError(f"page {number} belongs to two trees")
        self._seen[number : number + pages] = b"\1" * pages
        return self._octets(number, pages)

    def _octets(self, number: int, pages: int) -> bytes:
        self._file.seek(number * _PAGE_OCTETS)
        octets = self._file.read(pages * _PAGE_OCTETS)
        if len(octets) != pages * _PAGE_OCTETS:
            raise CorruptError(f"page {number} is beyond the end of the file")
        return octets


def _read_meta(head: bytes, number: int) -> tuple[Database, Database, int, int]:
    """The two databases, the last page and the transaction of meta page `number`."""
    at = number * _PAGE_OCTETS
    page, _, kind, lower, upper = _PAGE.unpack_from(head, at)
    magic, version, address, _ = _META.unpack_from(head, at + _HEAD)
    if (page, kind, lower, upper, magic, version, address) != (number, _META_PAGE, 0, 0, _MAGIC, _VERSION, 0):
        raise CorruptError(f"meta page {number} does not have the head of one")
    if head[at + _HEAD + 16 : at + _HEAD + 24] != head[_HEAD + 16 : _HEAD + 24]:
        raise CorruptError("the meta pages name different map sizes")
    start = at + _HEAD + _META.size
    if _U32.unpack_from(head, start)[0] != _PAGE_OCTETS:
        raise CorruptError(f"meta page {number}: pages of {_U32.unpack_from(head, start)[0]} octets; {_PAGE_OCTETS} are read here")
    free, main = (
        _read_database(head, start, "the free list"),
        _read_database(head, start + _DATABASE.size, "the list of databases"),
    )
    last, transaction = _LAST.unpack_from(head, start + 2 * _DATABASE.size)
    if free.flags != _INTEGER_KEYS or main.flags:
        raise CorruptError(f"meta page {number}: flags of its databases are {free.flags} and {main.flags}")
    return free, main, last, transaction


def _read_database(octets: bytes, start: int, name: str) -> Database:
    if len(octets) < start + _DATABASE.size:
        raise CorruptError(f"{name}: the head of a database has {len(octets) - start} octets")
    _, flags, *rest = _DATABASE.unpack_from(octets, start)
    return Database(name, flags, *rest)


def _rank(database: Database, key: bytes) -> bytes:
    """The key as octets that compare as the database orders it."""
    return int.from_bytes(key, byteorder).to_bytes(8, "big") if database.flags & _INTEGER_KEYS else key
