"""The committer: the one task that appends to the truth. Concurrent callers share its commits.

    queue -> take what waits -> one turn of the truth { read the keys' state -> plan in order -> sign -> append } -> replies

The order of the queue is the order of the log. Nobody has a reply before the commit is durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from registry.batch import Batch, Order, Replay, Zone
from registry.config import ROOT_PREFIXES, RegistryConfig
from registry.database.truth import Truth, Turn
from registry.keys import ROOT, KeyDirectory, key_name
from registry.registration import Written
from registry.signing import Signing
from resolver.core import limits
from resolver.core.errors import OverloadError, StoreError, WaymarkError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY
from resolver.core.record import INDEX_PUBKEY
from resolver.core.wire.stored import decode_stored
from resolver.table import Homed

_SIGNED_TOGETHER = 100  # fits the pipe to the signing process (64 KiB), so that it begins at once

_log = logging.getLogger(__name__)


class _Job:
    """The orders of one caller, of which commits take portions."""

    __slots__ = ("done", "orders", "results", "taken")

    def __init__(self, orders: Sequence[Order]) -> None:
        self.orders = orders
        self.taken = 0
        self.results: list[Written] = []
        self.done: asyncio.Future[list[Written]] = asyncio.get_running_loop().create_future()


class Committer:
    """Owns the queue and the homed prefixes. `committed` is called with the new serial after each commit."""

    def __init__(
        self,
        config: RegistryConfig,
        truth: Truth,
        keys: KeyDirectory,
        signing: Signing,
        clock: Callable[[], float],
        committed: Callable[[int], None],
    ) -> None:
        self.zones: dict[str, Zone] = {}
        self._config = config
        self._truth = truth
        self._keys = keys
        self._signing = signing
        self._clock = clock
        self._committed = committed
        self.head = -1  # of the log, as far as this process has seen it; `zones` are of then
        self._queue: deque[_Job] = deque()
        self._waiting = 0  # orders in the queue
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        async with self._truth.turn() as turn:
            await self._read_zones(turn)
        self._task = asyncio.create_task(self._run(), name="committer")

    async def close(self) -> None:
        """Commits what is queued, and takes nothing more."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def submit(self, orders: Sequence[Order]) -> list[Written]:
        """What became of each order, in order, after the durable commit. Raises OverloadError or StoreError."""
        if not orders:
            return []
        if self._closing:
            raise OverloadError("the registry is closing")
        if self._waiting and self._waiting + len(orders) > self._config.limits[limits.write_queue]:
            raise OverloadError(f"{self._waiting} writes are waiting already; try again in a moment")
        job = _Job(orders)
        self._queue.append(job)
        self._waiting += len(orders)
        self._wake.set()
        return await job.done

    # ---- the task

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            portions = self._take()
            try:
                await self._commit(portions)
            except Exception as error:  # whatever it is, the callers must hear of it and the next commit must come
                if not isinstance(error, WaymarkError):
                    _log.exception("a commit failed")
                    error = StoreError(f"a commit failed: {error!r}")
                self._fail([job for job, _ in portions], error)

    def _take(self) -> list[tuple[_Job, Sequence[Order]]]:
        """The next portion of work: whole jobs while they fit, or a part of one that is larger than a commit."""
        room = self._config.limits[limits.commit_changes]
        portions: list[tuple[_Job, Sequence[Order]]] = []
        while self._queue and room:
            job = self._queue[0]
            part = job.orders[job.taken : job.taken + room]
            portions.append((job, part))
            job.taken += len(part)
            room -= len(part)
            self._waiting -= len(part)
            if job.taken == len(job.orders):
                self._queue.popleft()
        return portions

    def _fail(self, jobs: list[_Job], error: Exception) -> None:
        for job in jobs:
            if job.taken < len(job.orders) and self._queue and self._queue[0] is job:
                self._waiting -= len(job.orders) - job.taken
                self._queue.popleft()
            if not job.done.done():
                job.done.set_exception(error)

    async def _commit(self, portions: list[tuple[_Job, Sequence[Order]]]) -> None:
        orders = [order for _, part in portions for order in part]
        now = int(self._clock())
        async with self._truth.turn() as turn:
            if turn.head != self.head:
                await self._read_zones(turn)
            batch = Batch(self._config.limits, self.zones, turn.head, now, self._zone)
            batch.found = await turn.newest(batch.keys(orders))
            if any(order.once for order in orders):
                batch.replies = await turn.replies([(o.actor.name, o.once.key) for o in orders if o.once], now)
            entries = batch.sealed(await self._planned_and_signed(batch, orders))
            if entries or batch.new_replies:
                await turn.append(entries, batch.new_replies, now)
        self.zones, self.head = batch.zones, batch.head
        if entries:
            self._committed(self.head)
        results = iter([await self._finished(outcome) for outcome in batch.outcomes])
        for job, part in portions:
            job.results += [next(results) for _ in part]
            if len(job.results) == len(job.orders) and not job.done.done():
                job.done.set_result(job.results)

    async def _planned_and_signed(self, batch: Batch, orders: Sequence[Order]) -> list[bytes]:
        """Plans the orders; what is planned is signed in the other process while the rest is being planned."""
        portions = []
        for start in range(0, len(orders), _SIGNED_TOGETHER):
            for order in orders[start : start + _SIGNED_TOGETHER]:
                batch.add(order)
            portions.append(asyncio.create_task(self._signing.sign(batch.take_requests())))
            await asyncio.sleep(0)
        return [signature for portion in await asyncio.gather(*portions) for signature in portion]

    async def _finished(self, outcome: "Written | Replay") -> Written:
        if isinstance(outcome, Written):
            return outcome
        version = await self._truth.history(outcome.key, outcome.serial + 1, 1)
        return Written(outcome.status, decode_stored(outcome.key, version[0].record))

    # ---- zones

    async def _read_zones(self, turn: Turn) -> None:
        homed = [Homed.decode(version.record) for version in await self._truth.homed()]
        self.zones, self.head = {each.prefix: self._zone(each) for each in homed}, turn.head

    def _zone(self, homed: Homed) -> Zone:
        root = homed.prefix in ROOT_PREFIXES
        index = next(iter(homed.keys))
        holder = ANCHOR if root else f"{PREFIX_AUTHORITY}/{homed.prefix}"
        wanted = self._config.has_envelope(homed.prefix)
        rsa = key_name(homed.prefix, INDEX_PUBKEY) if wanted and self._keys.public_rsa(homed.prefix) else None
        if wanted and rsa is None:
            _log.warning("%s: its envelope is on, but it has no RSA key; delegate it again, or: waymark keygen --rsa", homed.prefix)
        return Zone(homed, index, key_name(ROOT if root else homed.prefix, index), f"{index}:{holder}", rsa)
