"""The service: the one place where a record is made. Every write, from whichever door, goes through it."""

from collections.abc import Sequence
from typing import NamedTuple

from registry.config import RegistryConfig
from registry.registration import Actor, Rejected, Write
from resolver.core.identifier import Identifier
from resolver.core.record import Record
from resolver.core.wire.site import Site

__all__ = ["Actor", "Delegation", "HistoryEntry", "Rejected", "Service", "Token", "Write", "Written"]


class Written(NamedTuple):
    """What became of one change. `record` is the record as it now stands, or None where it was rejected."""

    status: str  # "created", "replaced", "unchanged", "deleted" or "rejected"
    record: Record | None
    problem: Rejected | None = None


class Delegation(NamedTuple):
    """A prefix to be handed down: hosted here (no `site`, no `proof`), or served by the child's own node (both).

    `proof` is the child's compact JWS that it holds the key (see `keys.make_proof`); `delegates` says whether the child will
    delegate further, which only the certificate of the RS256 envelope tells.
    """

    prefix: str
    site: Site | None = None
    proof: str | None = None
    delegates: bool = True


class HistoryEntry(NamedTuple):
    """One version of a record: who made it, when (seconds since 1970), and by which action."""

    serial: int
    time: int
    actor: str
    action: str
    record: Record


class Token(NamedTuple):
    """A token as it may be shown: its secret is known to its holder only."""

    name: str
    role: str
    prefixes: tuple[str, ...]
    created: int


class Service:
    """Opened once in a program; safe for any number of concurrent callers in its event loop."""

    @classmethod
    async def open(cls, config: RegistryConfig) -> "Service":
        """Opens truth, keys and answer table, and starts committing and publishing."""

    async def close(self) -> None:
        """Commits what is queued, publishes it, and lets go of everything."""

    async def write(self, writes: Sequence[Write], actor: Actor) -> list[Written]:
        """Makes these changes in order and returns what became of each, after the durable commit.

        Changes of concurrent callers share a commit. A rejected one never hides or stops others. Raises OverloadError if too many
        writes are waiting, StoreError if the truth could not be written.
        """

    async def write_once(self, write: Write, actor: Actor, idempotency_key: str, request_digest: bytes) -> Written:
        """As `write`, but the same key gives the same reply again; a different request under it is rejected."""

    async def read(self, identifier: Identifier) -> Record | None:
        """The newest version, a gone record included; None if there never was one."""

    async def history(self, identifier: Identifier, limit: int = 100, before: int | None = None) -> list[HistoryEntry]:
        """The versions of a record, newest first; `before`: only those with smaller serials."""

    async def list(self, prefix: str, after: str | None = None, limit: int = 100) -> list[Record]:
        """Records under `prefix` that are not gone, ascending by key, from behind the canonical spelling `after`."""

    async def delegate(self, delegation: Delegation, actor: Actor) -> Written:
        """Writes the prefix record of a child; see `Delegation`."""

    async def home(self, prefix: str, actor: Actor, key_index: int | None = None) -> None:
        """Makes this registry responsible for `prefix`, whose key is in the key directory."""

    async def prefixes(self) -> dict[str, dict[int, bytes]]:
        """The prefixes homed here, and the public keys (32 octets) of each by index."""

    async def add_token(self, name: str, role: str, prefixes: Sequence[str] = ()) -> str:
        """Makes a token and returns its secret, which is shown this once."""

    async def actor_of(self, secret: str) -> Actor | None:
        """Whose secret this is, or None."""

    async def tokens(self) -> list[Token]:
        """All tokens, without their secrets."""

    async def revoke_token(self, name: str) -> bool:
        """Makes a token void; False if there is none of this name."""
