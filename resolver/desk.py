"""What every door of a node works with: the table or the recursion behind it, the bounds, the clock, the counters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from resolver.config import NodeConfig
from resolver.core import limits
from resolver.core.cache import Budget
from resolver.core.identifier import Identifier
from resolver.core.message import Outcome, Query, Refused
from resolver.core.record import Value
from resolver.core.walk import Resolution
from resolver.core.wire.site import Site
from resolver.metrics import Metrics
from resolver.table import Table


class Recursion(Protocol):
    """The walk from the root (`resolution.Resolver`)."""

    def known(self, query: Query) -> Outcome | None:
        """The outcome, if it is in the cache and fresh: no waiting."""
        ...

    async def resolve(self, query: Query) -> Resolution: ...

    async def verify(self, identifier: Identifier, values: tuple[Value, ...]) -> Resolution:
        """Verifies a record that came from elsewhere, fetching the keys above it."""
        ...


@dataclass
class Desk:
    """`table` is None on a recursive node. `recursion` verifies on every node, and answers questions on a recursive one."""

    config: NodeConfig
    site: Site
    table: Table | None
    recursion: Recursion
    metrics: Metrics
    clock: Callable[[], float]  # seconds since 1970
    answers: Budget = field(init=False)  # what the doors' ready answers may take together

    def __post_init__(self) -> None:
        self.answers = Budget(self.config.limits[limits.answer_cache_octets])

    def known(self, query: Query) -> Outcome | None:
        """The outcome, if it can be told at once; None where a recursive node must ask others (`resolve`)."""
        if self.table is not None:
            return self.table.find(query.identifier)
        return (
            self.recursion.known(query) if query.recursive else (self.recursion.known(query) or Refused("recursion not asked for"))
        )

    async def resolve(self, query: Query) -> Outcome:
        return (await self.recursion.resolve(query)).outcome
