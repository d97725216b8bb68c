"""The walk from the root down to one record: a state machine that knows neither sockets nor clocks.

    walk = Walk(...)
    while (ask := walk.next_ask(now)) is not None:
        ... wait `ask.pause`, put the question for `ask.identifier` to `ask.endpoint`, for `ask.patience` seconds at most ...
        walk.receive(what came of it, now)
    walk.resolution

The way is known beforehand (`referral.way`): each record of it is asked of the servers that the verified record above it names, and
verified under the keys that the record above it holds, before anything below is believed. What is held in the cache is not asked
again: the walk starts below the deepest record that is fresh. So far the good case. Each of the others has one rule.

*A server fails.* The next one is tried, see `attempts`. The gravest failure is what the walk reports in the end: a signature that
does not hold says more than a silent server.

*All servers of a record fail.* If the delegation that named them came from the cache, it may be out of date (the prefix moved, its
key was changed): it is fetched again, once. Then what is held beyond its TTL serves: a stale delegation leads on, a stale record is
answered and marked so; but never in the place of an answer whose signature did not hold. Else the walk has failed.

*A server says that there is no such record.* It is believed, since verified delegations led to it. No delegation, no identifier.

*The identifier is known by its hash only* (`owner.HashedName`). The way down is the same, since the prefix is known. The last
server's answer names the identifier; that name must have the hash, and its record is verified like any other.
"""

from collections.abc import Sequence
from typing import NamedTuple

from resolver.core import limits, trust
from resolver.core.attempts import Attempt, Attempts
from resolver.core.errors import FormatError, OverloadError, ReferralError, SignatureError, UnreachableError, WaymarkError
from resolver.core.exchange import TCP, Endpoint, Told
from resolver.core.held import Held, Negative, RecordCache, hold
from resolver.core.identifier import Identifier, scope
from resolver.core.limits import Limits
from resolver.core.message import Answer, Failed, NotFound, Outcome, gone_since, gone_text
from resolver.core.record import Value
from resolver.core.referral import Contact, check_referral, contacts, way
from resolver.core.trust import Keys, Trusted, Verdict
from resolver.core.wire.handle import Code

_NOT_NOW = {Code.TOO_BUSY: "too busy", Code.SERVER_BACKUP: "unable for now"}
_GRAVITY = (UnreachableError, FormatError, ReferralError, SignatureError)


class Ask(NamedTuple):
    """One exchange to be made. `pause` seconds before it, `patience` seconds for it; `recursive`: the server may ask others."""

    identifier: Identifier
    endpoint: Endpoint
    recursive: bool
    pause: float
    patience: float


class Step(NamedTuple):
    """One exchange that was made, for the trace."""

    server: str
    asked: str
    said: str
    milliseconds: float


class Resolution(NamedTuple):
    """What a walk found, what is to be thought of it, and how it went. `chain` leads from the record up to `0.0/0.0`."""

    outcome: Outcome
    verdict: Verdict
    chain: tuple[Trusted, ...] = ()
    steps: tuple[Step, ...] = ()


class Root(NamedTuple):
    """Where every walk begins: the anchor's keys, and the servers it names."""

    keys: Keys
    contacts: tuple[Contact, ...]


class Walk:
    """One walk. `now` is in seconds since 1970 throughout."""

    resolution: Resolution

    def __init__(
        self, identifier: Identifier, root: Root, cache: RecordCache, bounds: Limits, now: float, *,
        received: Sequence[Value] | None = None, first: Contact | None = None, authoritative: bool = False,
    ) -> None:  # fmt: skip
        """`received`: the record itself is at hand, and only what stands above it is to be fetched. `first`: a server to be asked
        before those that the delegations name; it may recurse, and only what verifies is believed of it. `authoritative`: the
        record itself is not to come from the cache.
        """
        self._root, self._cache, self._bounds = root, cache, bounds
        self._received, self._first = received, first
        self._deadline = now + bounds[limits.recursion_seconds]
        self._exchanges_left = limits.recursion_exchanges.default
        self._steps: list[Step] = []
        self.over = False

        identifier = cache.meant(identifier)
        self._path: tuple[Identifier, ...] = (identifier,)
        self._chain: list[Held] = []  # the verified part of the path; the next record of it is being asked for
        self._uncached: set[int] = set()  # positions in the path that are not to be taken from the cache (any more)
        self._fetched: Held | None = None  # the newest part of it that was not held before

        self._attempts = Attempts((), 0)  # for the next record: who is asked in which order,
        self._attempt: Attempt | None = None  # who is being asked,
        self._asked_at = now  # since when,
        self._fault: WaymarkError | None = None  # the gravest failure so far,
        self._spared = False  # and whether its servers are not asked because they were silent a moment ago

        try:
            self._path = way(identifier)
        except SignatureError as error:
            self._fail(error)
            return
        if authoritative or received is not None:
            self._uncached.add(len(self._path) - 1)
        self._chain = self._held_chain(now)
        self._descend(now)

    @property
    def next_record(self) -> Identifier:
        """The record that is being asked for."""
        return self._path[len(self._chain)]

    # ---- what drives it

    def next_ask(self, now: float) -> Ask | None:
        """The exchange to be made next; None once `resolution` is there."""
        while not self.over:
            in_time = now < self._deadline and self._exchanges_left > 0
            self._attempt = self._attempts.next() if in_time else None
            if self._attempt is None:
                self._nobody_left(now, in_time)
                continue
            contact, endpoint, _, pause = self._attempt
            self._exchanges_left -= 1
            self._asked_at = now + pause
            patience = self._bounds[limits.exchange_milliseconds] / 1000 * (2 if endpoint.protocol == TCP else 1)
            patience = max(0.001, min(patience, self._deadline - now - pause))
            return Ask(self.next_record, endpoint, contact == self._first, pause, patience)
        return None

    def receive(self, said: Told | WaymarkError, now: float) -> None:
        """What came of the exchange: what the server said, or the UnreachableError, FormatError or OverloadError instead."""
        attempt = self._attempt
        assert attempt is not None, "an answer follows an ask"
        try:
            self._weigh(said, attempt, now)
        except UnreachableError as error:
            self._cache.put_outage(str(attempt.contact), now)
            self._attempts.silent(attempt)
            self._note(error, attempt, now)
        except FormatError as error:
            self._attempts.unreadable(attempt)
            self._note(error, attempt, now)
        except (ReferralError, SignatureError) as error:
            self._note(error, attempt, now)
        except OverloadError as error:  # ours: no other server would fare better
            self._note(error, attempt, now)
            self._fail(error)

    # ---- an answer

    def _weigh(self, said: Told | WaymarkError, attempt: Attempt, now: float) -> None:
        """Judges what a server said, and goes on if it holds. Raises the error that it is otherwise."""
        if isinstance(said, WaymarkError):
            raise said
        asked, server = self.next_record, attempt.endpoint
        if said.code == Code.NOT_FOUND and attempt.contact != self._first:
            self._step(str(said), attempt, now)
            self._cache.put_negative(asked, scope(asked), now, gone_since(said.text))
            self._not_found(scope(asked), said.text)
            return
        if said.code in _NOT_NOW:
            raise UnreachableError(f"{server} answers {said.code} ({said.text or _NOT_NOW[Code(said.code)]})")
        if said.code == Code.ERROR:  # also what a server says of an answer that is too long for datagrams
            raise FormatError(f"{server} answers {said.code} ({said.text or 'error'})")
        if said.code == Code.SERVICE_REFERRAL:
            raise ReferralError(f"{server} refers {asked} to another service (302), which no delegation vouches for")
        if said.code == Code.PREFIX_REFERRAL and said.name is not None:
            check_referral(self._path, len(self._chain), said.name)
        elif said.code not in (Code.SUCCESS, Code.VALUES_NOT_FOUND):
            raise ReferralError(f"{server} does not answer for {asked}: {said}")
        if said.name is None or not asked.is_answered_by(said.name):
            raise FormatError(f"{server} was asked for {asked} and answers for {said.name}")
        held = self._verified(asked if said.name == asked else said.name, said.values, now)
        self._step(f"{said}: serial {held.serial}, signed by {held.trusted.issuer}", attempt, now)
        if said.name != asked:
            self._cache.put_meant(asked, said.name)
        self._cache.put(held)
        self._cache.end_outage(str(attempt.contact))
        self._uncached.add(len(self._chain))
        self._chain.append(held)
        self._descend(now)

    def _verified(self, identifier: Identifier, values: Sequence[Value], now: float) -> Held:
        """The next record of the path, that of `identifier`, made of `values`. Raises SignatureError."""
        keys = self._chain[-1].trusted.keys if self._chain else self._root.keys
        trusted = trust.verify(identifier, values, keys, int(now), self._cache.serial(identifier.key))
        self._fetched = hold(trusted, values, now, self._bounds[limits.record_ttl_seconds])
        return self._fetched

    # ---- the way down

    def _held_chain(self, now: float) -> list[Held]:
        """The unbroken beginning of the path that is held and ends in a fresh record; above that one, they may be stale."""
        kept: list[Held] = []
        fresh = 0
        for position, identifier in enumerate(self._path):
            held = self._cache.kept(identifier.key, now) if position not in self._uncached else None
            if held is None:
                break
            kept.append(held)
            if now < held.deadline:
                fresh = position + 1
        return kept[:fresh]

    def _descend(self, now: float) -> None:
        """Takes from the cache what is there, down to the record that must be asked for next."""
        while len(self._chain) < len(self._path):
            position = len(self._chain)
            known = self._cache.get(self.next_record.key, now) if position not in self._uncached else None
            if isinstance(known, Held):
                self._chain.append(known)
            elif isinstance(known, Negative):
                self._not_found(known.zone, "" if known.gone_since is None else gone_text(known.gone_since))
                return
            elif self._received is not None and position == len(self._path) - 1:
                self._verify_received(self._received, now)
                return
            else:
                self._open(now)
                return
        self._found(now)

    def _verify_received(self, received: Sequence[Value], now: float) -> None:
        try:
            self._chain.append(self._verified(self.next_record, received, now))
        except SignatureError as error:
            if self._above_may_be_old:
                self._fetch_above_again(now)
            else:
                self._fail(error)
        else:
            self._found(now)

    def _open(self, now: float) -> None:
        """Begins to ask for the next record: its servers in their order, those that were silent a moment ago last."""
        asked = self.next_record
        named = contacts(self._chain[-1].trusted.values, asked) if len(self._chain) > 1 else self._root.contacts
        order = sorted(named, key=lambda contact: self._cache.in_outage(str(contact), now))
        if self._first is not None:
            order = [self._first, *(contact for contact in order if contact != self._first)]
        self._fault = None
        self._spared = self._first is None and self._cache.in_outage(self._servers_name, now)
        if self._spared:
            self._fault = UnreachableError(f"no server of {self._servers_name} answered a moment ago; they are asked again soon")
            order = []
        elif not order:
            self._fault = UnreachableError(f"no server is named that could be asked for {asked}")
        elsewhere = self._above_may_be_old or self._cache.kept(asked.key, now) is not None
        self._attempts = Attempts(order, 0 if elsewhere else self._bounds[limits.exchange_tries])

    @property
    def _servers_name(self) -> str:
        """The servers being asked, as an outage is remembered: a prefix may keep identifiers here, prefix records there."""
        return f"{scope(self.next_record)} {'(prefix records)' if self.next_record.is_prefix_record else '(identifiers)'}"

    # ---- when nobody is left to ask

    @property
    def _above_may_be_old(self) -> bool:
        """Whether the record that names servers and keys of the next one came from the cache."""
        return bool(self._chain) and len(self._chain) - 1 not in self._uncached

    def _fetch_above_again(self, now: float) -> None:
        self._chain.pop()
        self._uncached.add(len(self._chain))
        self._open(now)

    def _nobody_left(self, now: float, in_time: bool) -> None:
        fault = self._fault or UnreachableError(f"no server, or no time, was left to ask for {self.next_record}")
        if self._above_may_be_old and in_time and not self._spared:
            self._fetch_above_again(now)
            return
        if isinstance(fault, UnreachableError) and self._attempts.exhausted and not self._spared:
            self._cache.put_outage(self._servers_name, now)
        if not isinstance(fault, SignatureError):
            stale = self._cache.kept(self.next_record.key, now)
            if stale is not None and in_time:
                self._uncached.add(len(self._chain))
                self._chain.append(stale)
                self._descend(now)
                return
            kept = [self._cache.kept(identifier.key, now) for identifier in self._path]
            if kept[-1] is not None and self._received is None:
                self._chain = [held for held in kept if held is not None]
                self._found(now)
                return
        self._fail(fault)

    # ---- the end

    def _found(self, now: float) -> None:
        held = self._chain[-1]
        stale = now >= held.deadline and held is not self._fetched  # a TTL of 0 forbids to keep a record, not to answer with it
        fresh_seconds = limits.stale_ttl_seconds.default if stale else max(0, int(held.deadline - now))
        text = f"signed by {held.trusted.issuer}, serial {held.serial}; verified up to the anchor, a chain of {len(self._chain)}"
        if stale:
            text += f"; stale, since no server answers: {self._fault}"
        answer = Answer(held, authoritative=False, stale=stale, ttl_limit=fresh_seconds)
        self._finish(answer, Verdict(True, "verified", text))

    def _not_found(self, zone: str, said: str = "") -> None:
        asked, missing = self._path[-1], self.next_record
        what = f"there is no {missing}" if missing == asked else f"there is no {missing}, so no {asked}"
        text = f"{what}, says a server of {zone}: {said}".rstrip(": ")
        since = gone_since(said) if missing == asked else None
        self._finish(NotFound(zone, since, authoritative=False), Verdict(False, "no-such-identifier", text))

    def _fail(self, error: WaymarkError) -> None:
        if isinstance(error, FormatError):  # a server's mistake, which must not be told to the asker as one of its own
            error = UnreachableError(str(error))
        reason = str(error.reason) if isinstance(error, SignatureError) else "unreachable"
        self._finish(Failed(error), Verdict(False, reason, str(error)))

    def _finish(self, outcome: Outcome, verdict: Verdict) -> None:
        self.over = True
        chain = tuple(held.trusted for held in reversed(self._chain))
        self.resolution = Resolution(outcome, verdict, chain, tuple(self._steps))

    # ---- the trace

    def _note(self, error: WaymarkError, attempt: Attempt, now: float) -> None:
        vouched = attempt.contact != self._first or isinstance(error, SignatureError)
        if vouched and (self._fault is None or _gravity(error) > _gravity(self._fault)):
            self._fault = error
        refused = f"refused ({error.reason}): {error}" if isinstance(error, SignatureError) else str(error)
        self._step(refused, attempt, now)

    def _step(self, said: str, attempt: Attempt, now: float) -> None:
        took = max(0.0, now - self._asked_at) * 1000
        self._steps.append(Step(str(attempt.endpoint), self.next_record.canonical, said, took))


def _gravity(error: WaymarkError) -> int:
    return next((rank for rank, kind in enumerate(_GRAVITY) if isinstance(error, kind)), 0)
