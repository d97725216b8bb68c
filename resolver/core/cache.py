"""Ready answers: raw question -> finished reply, so that a question asked again is answered without being read.

Each door has a cache of its own, all doors of a worker share one budget of octets: when it is spent, the oldest answers of
whichever cache is largest go, so a door that is busy takes what the others do not need.

An answer ends by age, and as soon as the record it came from changes: each identifier falls into one of 2^18 buckets with a
version number; an entry remembers its bucket's version and is dead once that has moved. So a change costs one increment, whatever
the number of questions that were answered from the record.
"""

from array import array
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any, Generic, TypeVar

_BUCKETS = 2**18
_ENTRY_OCTETS = 260  # dict slot, key object, entry tuple, queue slot: measured with 100,000 entries
_SHARE = 64  # no answer takes more than this part of the budget

Q = TypeVar("Q", bound=Hashable)
R = TypeVar("R")


class Budget:
    """The memory that the answer caches of one worker share; `octets` of `octets_max` are in use. 0 turns them off."""

    __slots__ = ("_caches", "octets", "octets_max")

    def __init__(self, octets_max: int) -> None:
        self.octets_max = octets_max
        self.octets = 0
        self._caches: list[AnswerCache[Any, Any]] = []

    def join(self, cache: "AnswerCache[Any, Any]") -> None:
        self._caches.append(cache)

    def keep(self) -> None:
        """Makes the caches smaller until they fit."""
        while self.octets > self.octets_max:
            max(self._caches, key=lambda cache: cache.octets).drop_oldest()


class AnswerCache(Generic[Q, R]):
    """Ready answers of one door. Times are in seconds of whatever clock the caller uses throughout."""

    __slots__ = ("_budget", "_entries", "_order", "_versions", "octets")

    def __init__(self, budget: Budget) -> None:
        self.octets = 0
        self._budget = budget
        self._entries: dict[Q, tuple[R, float, int, int, int]] = {}  # reply, expires, bucket, version, octets
        self._order: deque[Q] = deque()
        self._versions = array("I", bytes(4 * _BUCKETS))
        budget.join(self)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Q, now: float) -> R | None:
        entry = self._entries.get(question)
        if entry is None:
            return None
        reply, expires, bucket, version, _ = entry
        return reply if expires >= now and self._versions[bucket] == version else None

    def put(self, question: Q, reply: R, key: bytes, octets: int, expires: float) -> None:
        """Keeps `reply` (of `octets` octets, question included) until `expires` or a change of the identifier `key`."""
        octets += _ENTRY_OCTETS
        if octets > self._budget.octets_max // _SHARE:
            return
        old = self._entries.get(question)
        if old is None:
            self._order.append(question)
        else:
            self._count(-old[4])
        bucket = hash(key) % _BUCKETS
        self._entries[question] = (reply, expires, bucket, self._versions[bucket], octets)
        self._count(octets)
        self._budget.keep()

    def drop_oldest(self) -> None:
        self._count(-self._entries.pop(self._order.popleft())[4])

    def forget(self, keys: Iterable[bytes] | None) -> None:
        """Drops what was answered from these identifiers; None drops everything."""
        if keys is None:
            self._entries.clear()
            self._order.clear()
            self._count(-self.octets)
            return
        for key in keys:
            bucket = hash(key) % _BUCKETS
            self._versions[bucket] = (self._versions[bucket] + 1) & 0xFFFFFFFF

    def _count(self, octets: int) -> None:
        self.octets += octets
        self._budget.octets += octets
