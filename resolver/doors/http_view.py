"""One identifier as a node sees it now: what it found, whether that is to be believed, and how both were come by.

Nothing is believed because it was in our own table: an authoritative node has its records verified up to the trust anchor exactly
as a recursive one has those of others. That a record was verified is remembered, by a digest of its name and content, until its
chain expires or `answer_cache_seconds` pass.
"""

import re
from collections import OrderedDict
from hashlib import sha256
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import CorruptError, FormatError, WaymarkError
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, AnsweringRecord, Failed, Outcome, Query
from resolver.core.record import TYPE_SIGNATURE, Value
from resolver.core.trust import Trusted, Verdict
from resolver.core.walk import Step
from resolver.core.wire.values import decode_values
from resolver.desk import Desk

REMEMBERED = Verdict(True, "verified", "verified a while ago, and the same since")
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f/\\?#]+[^\s\x00-\x20\x7f]*", re.IGNORECASE)
_NOTHING_TO_VERIFY = Verdict(False, "no-such-identifier", "this node has no record to verify")


class View(NamedTuple):
    """`values` are the public ones, the signature among them; none if there is no record to show."""

    identifier: Identifier
    outcome: Outcome
    verdict: Verdict
    values: tuple[Value, ...] = ()
    chain: tuple[Trusted, ...] = ()  # from the record up to the anchor, as far as it could be verified
    steps: tuple[Step, ...] = ()

    @property
    def record(self) -> AnsweringRecord | None:
        return self.outcome.record if isinstance(self.outcome, Answer) else None

    @property
    def stale(self) -> bool:
        return isinstance(self.outcome, Answer) and self.outcome.stale

    @property
    def issued(self) -> int:
        """When this version of the record was signed; 0 if that is not known."""
        return next((value.timestamp for value in self.values if value.type == TYPE_SIGNATURE), 0)

    @property
    def url(self) -> Value | None:
        """The value to redirect to: the first `URL` with an http(s) address in record order, a `URL.x` only if there is none."""
        plain = [value for value in self.values if value.type.upper() == "URL"]
        below = [value for value in self.values if value.type.upper().startswith("URL.")]
        return next((value for value in plain + below if _URL.fullmatch(value.text or "")), None)


class Viewer:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._verified: OrderedDict[bytes, float] = OrderedDict()  # digest of name and content -> until when
        self._verified_max = desk.config.limits[limits.verdicts]
        self._seconds = desk.config.limits[limits.answer_cache_seconds]

    async def see(self, identifier: Identifier, in_full: bool) -> View:
        """`in_full` asks for chain and trace; otherwise a remembered verdict is enough."""
        try:
            if self._desk.table is None:
                found = await self._desk.recursion.resolve(Query(identifier))
                return View(identifier, found.outcome, found.verdict, _public_values(found.outcome), found.chain, found.steps)
            outcome = self._desk.table.find(identifier)
            if not isinstance(outcome, Answer):
                return View(identifier, outcome, _NOTHING_TO_VERIFY)
            return await self._verify(identifier, outcome, in_full)
        except WaymarkError as error:
            return View(identifier, Failed(error), Verdict(False, "unreachable", str(error)))

    async def _verify(self, identifier: Identifier, outcome: Answer, in_full: bool) -> View:
        values, digest, now = _public_values(outcome), _digest(outcome.record), self._desk.clock()
        if not in_full and self._verified.get(digest, 0.0) > now:
            return View(identifier, outcome, REMEMBERED, values)
        found = await self._desk.recursion.verify(identifier, values)
        if found.verdict.verified:
            self._verified[digest] = min(now + self._seconds, *(link.expires for link in found.chain))
            self._verified.move_to_end(digest)
            while len(self._verified) > self._verified_max:
                self._verified.popitem(last=False)
        return View(identifier, outcome, found.verdict, values, found.chain, found.steps)


def _public_values(outcome: Outcome) -> tuple[Value, ...]:
    if not isinstance(outcome, Answer):
        return ()
    record = outcome.record
    try:
        values = decode_values(record.encoded + record.signature_octets, "values")
    except FormatError as error:
        raise CorruptError(f"the stored record of {record.key.decode()} cannot be read: {error}") from None
    return tuple(value for value in values if value.is_public)


def _digest(record: AnsweringRecord) -> bytes:
    return sha256(b"\0".join((record.key, record.signature_octets, record.encoded))).digest()
