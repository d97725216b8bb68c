"""A recursion without a network: it knows a `World` whole, verifies like the real one, and fails on demand."""

from resolver.core import trust
from resolver.core.errors import SignatureError, UnreachableError
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, Failed, NotFound, Outcome, Query
from resolver.core.record import Value
from resolver.core.trust import Verdict
from resolver.core.walk import Resolution, Step
from resolver.core.wire.stored import encode_stored, read_stored
from resolver.core.wire.values import decode_values
from tests.support.world import World

VERIFIED = Verdict(True, "verified", "every signature up to the anchor holds")


class WorldRecursion:
    """`down`: nobody can be asked. `stale`: what is answered is an older copy. `verified` counts verifications."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.down = self.stale = False
        self.verified = 0
        self.cached: set[bytes] = set()  # keys that `known` answers without waiting

    def known(self, query: Query) -> Outcome | None:
        return self._find(query.identifier) if query.identifier.key in self.cached else None

    async def resolve(self, query: Query) -> Resolution:
        outcome = UnreachableError("no server of 88 answered") if self.down else self._find(query.identifier)
        if isinstance(outcome, UnreachableError):
            return Resolution(Failed(outcome), Verdict(False, "unreachable", str(outcome)))
        if not isinstance(outcome, Answer):
            return Resolution(outcome, Verdict(False, "no-such-identifier", "no such identifier"))
        values = decode_values(outcome.record.encoded + outcome.record.signature_octets)
        found = await self.verify(query.identifier, values)
        return found._replace(outcome=outcome if found.verdict.verified else found.outcome)

    async def verify(self, identifier: Identifier, values: tuple[Value, ...]) -> Resolution:
        self.verified += 1
        if self.down:
            error = UnreachableError("no server of 0.NA/88 answered")
            return Resolution(Failed(error), Verdict(False, "unreachable", str(error)))
        above = self.world.chain(identifier.canonical)[1:]
        steps = tuple(Step("udp 127.0.0.1:2641", str(link), "answer, 3 values", 0.62) for link, _ in reversed(above))
        try:
            chain = trust.verify_chain([(identifier, values), *above], self.world.anchor.keys, self.world.now)
        except SignatureError as error:
            held = trust.verify_chain(above, self.world.anchor.keys, self.world.now)
            return Resolution(Failed(error), Verdict(False, error.reason, str(error)), tuple(held), steps)
        return Resolution(Failed(UnreachableError("not asked")), VERIFIED, tuple(chain), steps)

    def _find(self, identifier: Identifier) -> Outcome:
        record = self.world.records.get(identifier.key)
        if record is None:
            return NotFound("88.118")
        if record.gone:
            return NotFound("88.118", record.issued)
        return Answer(read_stored(identifier.key, encode_stored(record)), False, self.stale, 60)
