"""The service: the one place where a record is made. Every write, from whichever door, goes through it.

It holds together the truth (`database`), the private keys (`keys`), the task that commits (`committer`), the process that
publishes (`publisher`) and the task that signs again (`resigning`). What may be written is decided in `registration` and
`assignment`; how prefixes come to be is in `delegating`.
"""

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import NamedTuple

from registry.batch import Once, Order
from registry.certificates import Certificates
from registry.committer import Committer
from registry.config import ROOT_PREFIXES, RegistryConfig
from registry.database import open_truth
from registry.database.truth import TokenRow, Truth
from registry.delegating import Delegating, Delegation
from registry.keys import KeyDirectory
from registry.publisher import Publisher
from registry.registration import CLIENT_ACTIONS, OPERATOR, REGISTRANT, Actor, Rejected, Write, Written
from registry.resigning import REGISTRY, Resigning
from registry.signing import Signing
from resolver.core import limits
from resolver.core.errors import ConfigError, ConflictError, FormatError, StoreError
from resolver.core.identifier import Identifier, check_prefix, fold_prefix, parent_prefix
from resolver.core.record import Record
from resolver.core.wire.stored import decode_stored
from resolver.table import Table

__all__ = ["Actor", "Delegation", "HistoryEntry", "Rejected", "Service", "Token", "Write", "Written"]

_DAY_SECONDS = 86_400
_TOKENS_SECONDS = 1.0  # how long a token that was revoked elsewhere may still work


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

    def __init__(self, config: RegistryConfig, truth: Truth, clock: Callable[[], float]) -> None:
        """To be had from `open`."""
        self.config = config
        self.publisher = Publisher(config)
        self._truth = truth
        self._clock = clock
        self._keys = KeyDirectory(config.keys)
        self._signing = Signing(self._keys, config.keys)
        self._committer = Committer(config, truth, self._keys, self._signing, clock, self.publisher.publish)
        certificates = Certificates(self._keys, config.limits[limits.signature_days] * _DAY_SECONDS)
        self._delegating = Delegating(config, truth, self._keys, certificates, self._committer, clock)
        self._resigning = Resigning(truth, self._committer, certificates, config.limits, clock)
        self._tokens: dict[bytes, TokenRow] = {}
        self._tokens_read = float("-inf")
        self._tokens_lock = asyncio.Lock()
        self._closing = AsyncExitStack()

    @classmethod
    async def open(cls, config: RegistryConfig, clock: Callable[[], float] = time.time) -> "Service":
        """Opens truth, keys and answer table, and starts committing and publishing.

        Raises ConfigError for settings that do not fit together, StoreError if the truth cannot be opened or is not that of the
        answer table. `clock` gives seconds since 1970.
        """
        truth = await open_truth(config.database)
        async with AsyncExitStack() as opened:
            opened.push_async_callback(truth.close)
            _check_table(config, await truth.head())
            service = cls(config, truth, clock)
            await service.publisher.start()
            opened.push_async_callback(service.publisher.close)
            opened.push_async_callback(service._signing.close)
            await service._committer.start()
            opened.push_async_callback(service._committer.close)
            service._check_envelope()
            service._resigning.start()
            opened.push_async_callback(service._resigning.close)
            service._closing = opened.pop_all()
        return service

    async def close(self) -> None:
        """Commits what is queued, publishes it, and lets go of everything."""
        await self._closing.aclose()

    # ---- identifiers

    async def write(self, writes: Sequence[Write], actor: Actor) -> list[Written]:
        """Makes these changes in order and returns what became of each, after the durable commit.

        Changes of concurrent callers share a commit. A rejected one never hides or stops others. Raises OverloadError if too many
        writes are waiting, StoreError if the truth could not be written: then some may have been made, and the same writes may be
        sent again.
        """
        return await self._committer.submit([_order(write, actor) for write in writes])

    async def write_once(self, write: Write, actor: Actor, idempotency_key: str, request_digest: bytes) -> Written:
        """As `write`, but the same key gives the same reply again; a different request under it is rejected.

        `request_digest` is the SHA-256 of the request. A reply is kept for `limits.idempotency_seconds`, for each actor by itself.
        """
        if not 0 < len(idempotency_key.encode("utf-8", "surrogatepass")) <= limits.idempotency_key_octets.default:
            raise FormatError(f"an Idempotency-Key has 1 to {limits.idempotency_key_octets.default} octets")
        (written,) = await self._committer.submit([_order(write, actor)._replace(once=Once(idempotency_key, request_digest))])
        return written

    async def read(self, identifier: Identifier) -> Record | None:
        """The newest version, a gone record included; None if there never was one."""
        version = (await self._truth.newest([identifier.key])).get(identifier.key)
        return None if version is None else decode_stored(identifier.key, version.record)

    async def history(self, identifier: Identifier, limit: int = 100, before: int | None = None) -> list[HistoryEntry]:
        """The versions of a record, newest first; `before`: only those with smaller serials."""
        return [
            HistoryEntry(entry.serial, entry.time, entry.actor, entry.action, decode_stored(entry.key, entry.record))
            for entry in await self._truth.history(identifier.key, before, limit)
        ]

    # ---- prefixes

    async def delegate(self, delegation: Delegation, actor: Actor) -> Written:
        """Hands a prefix down, by writing its prefix record. Only an operator may; delegating again replaces the record.

        Hosted here, the prefix gets a key in the key directory (and with the envelope on an RSA key), this registry's node for
        its servers, and is homed here with the same commit. Its key rolls when the directory holds a second one, which
        `KeyDirectory.generate` makes: that signs from now on, and the first stays in the record, at its own index.

        Served by the child's own node, the record holds the key that the proof shows, at the index it names (302, or 303 for a
        next key). What stands at the other index stays, so that what it signed is still verified; the roll after next takes its
        place.
        """
        return await self._delegating.delegate(delegation, actor)

    async def home(self, prefix: str, actor: Actor) -> None:
        """Makes this registry responsible for `prefix`, whose key is in the key directory; the newest key signs.

        For a child's own registry. What it signs is believed once the parent has delegated the prefix to that key.
        """
        check_prefix(prefix)
        await self._delegating.home(prefix, actor)

    async def bootstrap(self, actor: Actor) -> None:
        """Sets up the root: homes `0.NA` and `0.0` and writes `0.0/0.0` (the anchor) and `0.NA/0.NA` (the root's servers).

        The anchor's key must be in the key directory. May be repeated, to publish a second key or other servers.
        """
        await self._delegating.bootstrap(actor)

    async def prefixes(self) -> dict[str, dict[int, bytes]]:
        """The prefixes homed here, and the public keys (32 octets) of each by index, the one that signs first."""
        return {prefix: dict(zone.homed.keys) for prefix, zone in self._committer.zones.items()}

    @property
    def serials(self) -> tuple[int, int]:
        """Serials of the newest change committed, and of the newest that resolvers see: the table lags by the difference."""
        return self._committer.head, self.publisher.serial

    # ---- tokens

    async def add_token(self, name: str, role: str, prefixes: Sequence[str] = ()) -> str:
        """Makes a token and returns its secret, which is shown this once. Raises ConflictError if the name is taken."""
        if role not in (OPERATOR, REGISTRANT):
            raise FormatError(f"a role is {OPERATOR} or {REGISTRANT}, not {role!r}")
        if name == REGISTRY.name:
            raise ConflictError(f"the name {name!r} stands for the registry itself in the history")
        for prefix in prefixes:
            check_prefix(prefix)
        secret = secrets.token_urlsafe(32)
        folded = tuple(fold_prefix(prefix) for prefix in prefixes)
        row = TokenRow(name, sha256(secret.encode()).digest(), role, folded, int(self._clock()))
        async with self._tokens_lock:
            await self._truth.add_token(row)
            self._tokens_read = float("-inf")
        return secret

    async def actor_of(self, token: str) -> Actor | None:
        """Whose secret this is, or None."""
        await self._read_tokens()
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        row = self._tokens.get(digest)
        if row is None or not hmac.compare_digest(row.digest, digest):
            return None
        return Actor(row.name, row.role, row.prefixes)

    async def tokens(self) -> list[Token]:
        """All tokens, without their secrets."""
        return [Token(row.name, row.role, row.prefixes, row.created) for row in await self._truth.tokens()]

    async def revoke_token(self, name: str) -> bool:
        """Makes a token void; False if there is none of this name."""
        async with self._tokens_lock:
            removed = await self._truth.remove_token(name)
            self._tokens_read = float("-inf")
        return removed

    # ---- helpers

    async def _read_tokens(self) -> None:
        """All tokens are held in memory, so that a flood of wrong ones costs the truth nothing."""
        if time.monotonic() - self._tokens_read < _TOKENS_SECONDS:
            return
        async with self._tokens_lock:
            if time.monotonic() - self._tokens_read >= _TOKENS_SECONDS:
                started = time.monotonic()
                self._tokens = {row.digest: row for row in await self._truth.tokens()}
                self._tokens_read = started

    def _check_envelope(self) -> None:
        """Raises ConfigError where the envelope is on for a prefix and off for the one above, both homed here."""
        zones = self._committer.zones
        for prefix in zones.keys() - set(ROOT_PREFIXES):
            parent = parent_prefix(prefix)
            if self.config.has_envelope(prefix) and parent in zones and not self.config.has_envelope(parent):
                raise ConfigError(
                    f"{self.config.path}: envelope.prefixes has {prefix} but not {parent}; "
                    "deployed verifiers need it along the whole path to the root"
                )

    async def list(self, prefix: str, after: str | None = None, limit: int = 100) -> list[Record]:
        """Records under `prefix` that are not gone, ascending by key, from behind the canonical spelling `after`."""
        start = f"{fold_prefix(prefix)}/".encode()
        behind = max(start, after.encode() if after is not None else start)
        versions = await self._truth.walk(behind, start[:-1] + b"0", limit, gone=False)  # "0" comes after "/"
        return [decode_stored(version.key, version.record) for version in versions]


def _order(write: Write, actor: Actor) -> Order:
    if write.action not in CLIENT_ACTIONS:
        raise FormatError(f"there is no action {write.action!r}; known are {', '.join(sorted(CLIENT_ACTIONS))}")
    return Order(actor, write)


def _check_table(config: RegistryConfig, head: int) -> None:
    """Raises StoreError if the answer table is ahead of the truth: one of the two is not the other's."""
    if not (config.table / "CURRENT").exists():
        return
    table = Table(config.table)
    serial = table.serial
    table.close()
    if serial > head:
        raise StoreError(
            f"the answer table {config.table} is at serial {serial}, the truth {_shown(config.database)} only at {head}: is it the "
            "right one? If it was restored from a backup, run `waymark table rebuild` first"
        )


def _shown(database: str) -> str:
    """The place of the truth without a password."""
    return database.rpartition("@")[2]
