"""Ready answers: raw question -> finished reply, so that a question asked again is answered without being read.

Bounded in octets. An entry ends by age, and as soon as the record it came from changes: each identifier falls into one of 2^20
buckets with a version number; an entry remembers its bucket's version and is dead once that has moved. So a change costs one
increment, whatever the number of questions that were answered from the record. When space runs out the oldest entries go.
"""

from array import array
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

_BUCKETS = 2**20
_ENTRY_OCTETS = 260  # dict slot, key object, entry tuple, queue slot: measured with 100,000 entries

Q = TypeVar("Q", bound=Hashable)
R = TypeVar("R")


class Entry(NamedTuple, Generic[R]):
    reply: R
    expires: float
    bucket: int
    version: int
    octets: int


class AnswerCache(Generic[Q, R]):
    """Ready answers of one door. Times are in seconds of whatever clock the caller uses throughout."""

    __slots__ = ("_entries", "_order", "_versions", "octets", "octets_max")

    def __init__(self, octets_max: int) -> None:
        self.octets_max = octets_max
        self.octets = 0
        self._entries: dict[Q, Entry[R]] = {}
        self._order: deque[Q] = deque()
        self._versions = array("I", bytes(4 * _BUCKETS)) if octets_max else array("I", bytes(4))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Q, now: float) -> R | None:
        entry = self._entries.get(question)
        if entry is None or entry.expires < now or self._versions[entry.bucket] != entry.version:
            return None
        return entry.reply

    def put(self, question: Q, reply: R, key: bytes, octets: int, expires: float) -> None:
        """Keeps `reply` (of `octets` octets, question included) until `expires` or a change of the identifier `key`."""
        octets += _ENTRY_OCTETS
        if octets > self.octets_max // 64:
            return
        old = self._entries.get(question)
        if old is None:
            self._order.append(question)
        else:
            self.octets -= old.octets
        bucket = hash(key) % len(self._versions)
        self._entries[question] = Entry(reply, expires, bucket, self._versions[bucket], octets)
        self.octets += octets
        while self.octets > self.octets_max:
            self.octets -= self._entries.pop(self._order.popleft()).octets

    def forget(self, keys: Iterable[bytes] | None) -> None:
        """Drops what was answered from these identifiers; None drops everything."""
        if keys is None:
            self._entries.clear()
            self._order.clear()
            self.octets = 0
            return
        for key in keys:
            bucket = hash(key) % len(self._versions)
            self._versions[bucket] = (self._versions[bucket] + 1) & 0xFFFFFFFF
