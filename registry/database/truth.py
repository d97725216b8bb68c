"""The truth: an append-only log of changes. It is the history, the change feed, and the one thing that must never be lost.

    log      serial -> key, time, actor, action, previous serial of that key, record
    newest   key -> serial of its newest version
    actors   the names in the log, as small numbers
    replies  what was answered under an Idempotency-Key, until it expires
    tokens   who may write: SHA-256 of each secret

A key is a canonical identifier, its record the stored octets of `resolver.core.wire.stored`; or a key is a prefix, without a
slash, and its record is `table.Homed.encode()`: that prefix is homed here from this serial on.

There is one interface, `Truth`, and one implementation for each database (`sqlite`, `postgres`), which share nothing but the
contract below; the same tests run on both. The SQL stands in a `.sql` file beside each, a statement under each `-- name:`.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import NamedTuple, Protocol

# In the log an action is its number here: append only.
ACTIONS = ("home", "register", "replace", "patch", "delete", "delegate", "resign")
DELETE = ACTIONS.index("delete")

# Every key of an identifier lies between these two (a prefix is ASCII letters and digits), and every prefix too.
FIRST_KEY, LAST_KEY = b"", b"\xff"


class Entry(NamedTuple):
    """One line of the log. `previous` is the serial of the version before, None for the first."""

    serial: int
    key: bytes
    time: int  # seconds since 1970
    actor: str
    action: str
    previous: int | None
    record: bytes


class Version(NamedTuple):
    """The newest version of a key."""

    key: bytes
    serial: int
    record: bytes


class Reply(NamedTuple):
    """What was answered to `actor` under an Idempotency-Key: `document` for the request whose SHA-256 is `request`."""

    actor: str
    key: str
    request: bytes
    document: bytes
    expires: int


class TokenRow(NamedTuple):
    """A token. `digest` is the SHA-256 of its secret; the secret itself is not kept."""

    name: str
    digest: bytes
    role: str
    prefixes: tuple[str, ...]
    created: int


class Turn(Protocol):
    """The exclusive right to append, and what is true while one has it."""

    @property
    def head(self) -> int:
        """The newest serial of the log, 0 if it is empty."""
        ...

    async def newest(self, keys: Sequence[bytes]) -> dict[bytes, Version]:
        """The newest versions of those of `keys` that have one."""
        ...

    async def replies(self, wanted: Sequence[tuple[str, str]], now: int) -> dict[tuple[str, str], Reply]:
        """The replies kept for these pairs of actor and Idempotency-Key that expire after `now`."""
        ...

    async def append(self, entries: Sequence[Entry], replies: Sequence[Reply], now: int) -> None:
        """Adds entries, whose serials are head+1, head+2, ... in order, and replies; forgets replies expired at `now`.

        Raises ConflictError if a serial is taken. Nothing is visible to anybody else before the turn ends.
        """
        ...


class Truth(Protocol):
    """The truth, opened. Any number of coroutines may call any method at any time.

    Every method raises StoreError if the database fails, and then nothing was changed.
    """

    def turn(self) -> AbstractAsyncContextManager[Turn]:
        """One at a time, over all programs that share the database; others wait.

        Leaving the block commits: what was appended is then durable (it survives the loss of power) and visible as a whole. An
        exception inside the block undoes it as a whole. So serials become visible in ascending order, without gaps.
        """
        ...

    async def head(self) -> int:
        """The newest serial that is visible, 0 if the log is empty."""
        ...

    async def newest(self, keys: Sequence[bytes]) -> dict[bytes, Version]:
        """As `Turn.newest`, of what is committed."""
        ...

    async def walk(self, after: bytes, before: bytes, limit: int, gone: bool) -> list[Version]:
        """Newest versions with `after` < key < `before`, ascending by octets; deleted ones only if `gone`."""
        ...

    async def homed(self) -> list[Version]:
        """The newest version of every prefix that is homed."""
        ...

    async def changes(self, after: int, limit: int) -> list[Entry]:
        """Log entries with serials above `after`, ascending."""
        ...

    async def history(self, key: bytes, before: int | None, limit: int) -> list[Entry]:
        """Versions of `key`, newest first; with `before`, only those with smaller serials."""
        ...

    async def aging(self, after: int, written_before: int, limit: int) -> list[Version]:
        """Newest versions of identifiers, not deleted, with serials above `after`, from the log before its first line of the time
        `written_before` or later.

        Ascending by serial: what was signed longest ago comes first. Costs no more than the lines before that one.
        """
        ...

    async def tokens(self) -> list[TokenRow]: ...

    async def add_token(self, row: TokenRow) -> None:
        """Raises ConflictError if there is a token of this name."""
        ...

    async def remove_token(self, name: str) -> bool:
        """False if there was none of this name."""
        ...

    async def close(self) -> None: ...


def statements(file: str) -> dict[str, str]:
    """The statements of a `.sql` file of this package, by name."""
    text = files(__package__).joinpath(file).read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: sql.strip().removesuffix(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
