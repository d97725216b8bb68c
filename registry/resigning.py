"""Signing again, before signatures run out: in the last third of its term a record gets a new signature, a few at a time.

The values stay as they are; the history shows the action "resign". What was signed longest ago stands first in the log, so the
way to it is short, and a pass ends at the first record that is young enough.
"""

import asyncio
import logging
from collections.abc import Callable

from registry.batch import Order
from registry.certificates import Certificates
from registry.committer import Committer
from registry.database.truth import Truth
from registry.registration import Actor, Write
from resolver.core import limits
from resolver.core.errors import WaymarkError
from resolver.core.limits import Limits
from resolver.core.wire.stored import decode_stored

_log = logging.getLogger(__name__)
_DAY_SECONDS = 86_400
REGISTRY = Actor("registry", "operator")


class Resigning:
    """A task beside the committer."""

    def __init__(
        self, truth: Truth, committer: Committer, certificates: Certificates, bounds: Limits, clock: Callable[[], float]
    ) -> None:
        self._truth = truth
        self._committer = committer
        self._certificates = certificates
        self._bounds = bounds
        self._clock = clock
        self._seen = 0  # the serial up to which no record is left to sign again
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="resigning")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> int:
        """Signs one portion of records again. Returns how many were due."""
        now = int(self._clock())
        due = now - self._bounds[limits.signature_days] * _DAY_SECONDS * 2 // 3
        versions = await self._truth.aging(self._seen, due, self._bounds[limits.resign_changes])
        orders = []
        for version in versions:
            record = decode_stored(version.key, version.record)
            write = Write("resign", record.identifier, self._certificates.renewed(record, now), if_match=record.serial)
            orders.append(Order(REGISTRY, write, trusted=True))
        await self._committer.submit(orders)
        if versions:
            self._seen = versions[-1].serial
        return len(versions)

    async def _run(self) -> None:
        while True:
            pause = self._bounds[limits.resign_seconds]
            try:
                if await self.once() == self._bounds[limits.resign_changes]:
                    pause = 1
            except WaymarkError as error:
                _log.warning("records could not be signed again, next try in %d s: %s", pause, error)
            await asyncio.sleep(pause)
