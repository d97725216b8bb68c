"""The resolver: drives walks (`core.walk`) with a client, and lets equal questions share one.

A question whose answer is in the cache costs no waiting (`known`). Else a walk begins. Who asks the same while it is under way
waits for it; and walks for different identifiers that put the same request to the same server at the same time share that exchange,
so that a burst of questions below one prefix fetches its delegations once. Walks and waiters are bounded; beyond that the answer is
"busy" at once. A walk outlives whoever asked first and went away: others may wait for it, and what it finds is kept.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from resolver.anchor import Anchor
from resolver.client import Client
from resolver.core import limits
from resolver.core.attempts import Attempts
from resolver.core.errors import FormatError, OverloadError, ReferralError, UnreachableError, WaymarkError
from resolver.core.exchange import UDP, Endpoint, Told
from resolver.core.held import Held, RecordCache
from resolver.core.identifier import Identifier, scope
from resolver.core.limits import Limits
from resolver.core.message import Answer, Failed, NotFound, Outcome, Query, Referral, Refused, gone_since
from resolver.core.record import Value
from resolver.core.referral import Contact, check_referral, site_contacts, way
from resolver.core.trust import Verdict
from resolver.core.walk import Ask, Resolution, Root, Step, Walk
from resolver.core.wire.handle import Code

__all__ = ["Resolution", "Resolver", "Step"]


class Asker(Protocol):
    """One exchange with one server; `client.Client` is one. Raises UnreachableError, FormatError or OverloadError."""

    async def ask(self, identifier: Identifier, endpoint: Endpoint, patience: float, recursive: bool = False) -> Told: ...


class _Shared:
    """A walk under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Resolution]) -> None:
        self.task = task
        self.waiters = 0


class Resolver:
    """Answers and verifies from one trust anchor. Belongs to one event loop; implements `desk.Recursion`."""

    def __init__(
        self,
        anchor: Anchor,
        bounds: Limits | None = None,
        client: Asker | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bounds = bounds or Limits()
        self._root = Root(anchor.keys, tuple(site_contacts(anchor.site)))
        self._client = client or Client(clock=clock)
        self._clock = clock
        self.cache = RecordCache(self._bounds)
        self._walks: dict[tuple[bytes, bool], _Shared] = {}
        self._exchanges: dict[tuple[Endpoint, Identifier, bool], asyncio.Task[Told | WaymarkError]] = {}
        self._verifying = 0

    def known(self, query: Query) -> Outcome | None:
        """The outcome, if it is in the cache and fresh: no waiting."""
        if query.authoritative:
            return None
        now = self._clock()
        entry = self.cache.get(self.cache.meant(query.identifier).key, now)
        if entry is None:
            return None
        if isinstance(entry, Held):
            return Answer(entry, authoritative=False, ttl_limit=int(entry.deadline - now))
        return NotFound(entry.zone, entry.gone_since, authoritative=False)

    async def resolve(self, query: Query) -> Resolution:
        """The record of `query.identifier`, verified, with all its public values: what of them is wanted, the door selects."""
        key = (query.identifier.key, query.authoritative)
        shared = self._walks.get(key)
        if shared is None:
            walk = self._walk(query.identifier, authoritative=query.authoritative)
            if walk.over:
                return walk.resolution
            if self._full:
                return self._busy()
            shared = self._walks[key] = _Shared(asyncio.create_task(self._drive(walk)))
            shared.task.add_done_callback(lambda _: self._walks.pop(key))
        if shared.waiters >= self._bounds[limits.recursion_waiters]:
            return self._busy()
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiters -= 1

    async def verify(self, identifier: Identifier, values: tuple[Value, ...]) -> Resolution:
        """Verifies a record that came from elsewhere (a table, a file, another door), fetching only what stands above it."""
        return await self._verify(identifier, values, None)

    async def resolve_at(self, identifier: Identifier, address: tuple[str, int]) -> Resolution:
        """What the server at `address` (host, port of its Handle door) says of `identifier`, verified up to our own anchor.

        The records above it are asked of that server first, and of those that the delegations name where it does not know them. A
        referral is not followed but told, once its delegation is verified.
        """
        server = Contact(address[0], address[1], address[1])
        told, steps = await self._ask_one(identifier, server)
        try:
            found = await self._weigh(identifier, server, told)
        except WaymarkError as error:
            found = Resolution(Failed(error), Verdict(False, "unreachable", str(error)))
        return found._replace(steps=(*steps, *found.steps))

    async def close(self) -> None:
        """Ends all that is under way. Whoever waits for it is cancelled."""
        tasks = [*(shared.task for shared in self._walks.values()), *self._exchanges.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- walks

    def _walk(
        self, identifier: Identifier, *, received: tuple[Value, ...] | None = None, first: Contact | None = None,
        authoritative: bool = False,
    ) -> Walk:  # fmt: skip
        return Walk(
            identifier, self._root, self.cache, self._bounds, self._clock(),
            received=received, first=first, authoritative=authoritative,
        )  # fmt: skip

    async def _drive(self, walk: Walk) -> Resolution:
        while (ask := walk.next_ask(self._clock())) is not None:
            if ask.pause:
                await asyncio.sleep(ask.pause)
            walk.receive(await self._exchange(ask), self._clock())
        return walk.resolution

    async def _verify(self, identifier: Identifier, values: tuple[Value, ...], first: Contact | None) -> Resolution:
        walk = self._walk(identifier, received=values, first=first)
        if walk.over:
            return walk.resolution
        if self._full:
            return self._busy()
        self._verifying += 1
        try:
            return await self._drive(walk)
        finally:
            self._verifying -= 1

    @property
    def _full(self) -> bool:
        return len(self._walks) + self._verifying >= self._bounds[limits.recursion_walks]

    def _busy(self) -> Resolution:
        error = OverloadError(f"busy: {len(self._walks)} questions are being resolved; ask again in a moment")
        return Resolution(Failed(error), Verdict(False, "unreachable", str(error)))

    # ---- exchanges

    async def _exchange(self, ask: Ask) -> Told | WaymarkError:
        """What came of `ask`; of an equal one that is under way, if there is one."""
        key = (ask.endpoint, ask.identifier, ask.recursive)
        task = self._exchanges.get(key)
        if task is None:
            task = self._exchanges[key] = asyncio.create_task(self._outcome(ask))
            task.add_done_callback(lambda _: self._exchanges.pop(key))
        return await asyncio.shield(task)

    async def _outcome(self, ask: Ask) -> Told | WaymarkError:
        try:
            return await self._client.ask(ask.identifier, ask.endpoint, ask.patience, ask.recursive)
        except (UnreachableError, FormatError, OverloadError) as error:
            return error

    # ---- one server's word

    async def _ask_one(self, identifier: Identifier, server: Contact) -> tuple[Told | WaymarkError, list[Step]]:
        """Asks `server` itself, and again over TCP if need be; it may have to walk itself, so then it gets the time for that."""
        steps = []
        attempts = Attempts((server,), 2)
        said: Told | WaymarkError = UnreachableError(f"{server.address} was not asked")
        while (attempt := attempts.next()) is not None:
            udp = attempt.endpoint.protocol == UDP
            patience = self._bounds[limits.exchange_milliseconds] / 1000 if udp else self._bounds[limits.recursion_seconds]
            began = self._clock()
            said = await self._exchange(Ask(identifier, attempt.endpoint, True, 0.0, patience))
            took = max(0.0, self._clock() - began) * 1000
            steps.append(Step(str(attempt.endpoint), identifier.canonical, str(said), took))
            if isinstance(said, UnreachableError):
                attempts.silent(attempt)
            elif isinstance(said, FormatError) or (isinstance(said, Told) and said.code == Code.ERROR):
                attempts.unreadable(attempt)  # also what a server says of an answer that is too long for datagrams
            else:
                break
        return said, steps

    async def _weigh(self, identifier: Identifier, server: Contact, said: Told | WaymarkError) -> Resolution:
        """What is to be thought of the one answer that was asked for. Raises WaymarkError if it is none."""
        if isinstance(said, FormatError):
            raise UnreachableError(str(said))
        if isinstance(said, WaymarkError):
            raise said
        if said.code in (Code.SUCCESS, Code.VALUES_NOT_FOUND):
            if said.name is not None and said.name != identifier:
                raise UnreachableError(f"{server.address} was asked for {identifier} and answers for {said.name}")
            return await self._verify(identifier, said.values, server)
        if said.code == Code.PREFIX_REFERRAL and said.name is not None:
            path = way(identifier)
            if said.name not in path[:-1]:
                check_referral(path, len(path) - 1, said.name)
            found = await self._verify(said.name, said.values, server)
            if not isinstance(found.outcome, Answer):
                return found
            verdict = Verdict(True, "verified", f"it refers to the servers of {said.name.suffix}; {found.verdict.text}")
            return found._replace(outcome=Referral(said.name.suffix, found.outcome.record), verdict=verdict)
        if said.code == Code.NOT_FOUND:
            text = f"there is no {identifier}, says {server.address}: {said.text}".rstrip(": ")
            outcome = NotFound(scope(identifier), gone_since(said.text), authoritative=False)
            return Resolution(outcome, Verdict(False, "no-such-identifier", text))
        text = f"{server.address} does not answer for {identifier}: {said}"
        if said.code == Code.NOT_RESPONSIBLE:
            return Resolution(Refused(text), Verdict(False, "unreachable", text))
        raise ReferralError(text) if said.code == Code.SERVICE_REFERRAL else UnreachableError(text)
