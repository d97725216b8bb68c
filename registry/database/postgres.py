"""The truth in PostgreSQL: for more than one registry, or a machine that is not the registry's own.

A turn is a transaction that holds an advisory lock, so that one program appends at a time and serials become visible in order: a
publisher that saw serial n will never find a smaller one later. A program that stops inside a turn loses it after a while.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from registry.database.truth import ACTIONS, DELETE, Entry, Reply, TokenRow, Version, statements
from resolver.core.errors import ConfigError, ConflictError, StoreError

try:
    import asyncpg
except ImportError as missing:
    raise ConfigError(
        "registry.database names PostgreSQL, but its driver is not installed; run: pip install 'waymark[postgresql]'"
    ) from missing

_SQL = statements("postgres.sql")
_NUMBER = {action: number for number, action in enumerate(ACTIONS)}
_CONNECTIONS = 4
_SETTINGS = {"idle_in_transaction_session_timeout": "60s", "synchronous_commit": "on", "application_name": "waymark"}
_OPEN_SECONDS = 10
_COMMAND_SECONDS = 120


async def open_truth(url: str) -> "PostgresTruth":
    with _failures("truth in PostgreSQL cannot be opened"):
        pool = await asyncpg.create_pool(
            url, min_size=1, max_size=_CONNECTIONS, server_settings=_SETTINGS, timeout=_OPEN_SECONDS,
            command_timeout=_COMMAND_SECONDS,
        )  # fmt: skip
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(_SQL["take_turn"])
            await connection.execute(_SQL["schema"])
        return PostgresTruth(pool)


class PostgresTruth:
    """`database.Truth` in a PostgreSQL database."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._actors: dict[str, int] = {}

    async def close(self) -> None:
        with _failures("truth could not be closed"):
            await self._pool.close()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["PostgresTurn"]:
        with _failures("truth could not be written"):
            connection = await self._pool.acquire(timeout=_COMMAND_SECONDS)
        try:
            transaction = connection.transaction()
            try:
                with _failures("truth could not be written"):
                    await transaction.start()
                    await connection.execute(_SQL["take_turn"])
                    turn = PostgresTurn(connection, await connection.fetchval(_SQL["head"]), self._actors)
                yield turn
                with _failures("truth could not be written"):
                    await transaction.commit()
            except BaseException:
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # the connection may be what failed
                    await transaction.rollback()
                raise
            self._actors |= turn.new_actors
        finally:
            await self._pool.release(connection)

    async def head(self) -> int:
        with _failures("truth could not be read"):
            return int(await self._pool.fetchval(_SQL["head"]))

    async def newest(self, keys: Sequence[bytes]) -> dict[bytes, Version]:
        return {row[0]: Version(*row) for row in await self._rows("newest", list(keys))}

    async def walk(self, after: bytes, before: bytes, limit: int, gone: bool) -> list[Version]:
        return [Version(*row) for row in await self._rows("walk", after, before, limit, gone, DELETE)]

    async def homed(self) -> list[Version]:
        return [Version(*row) for row in await self._rows("homed")]

    async def changes(self, after: int, limit: int) -> list[Entry]:
        return [_entry(*row) for row in await self._rows("changes", after, limit)]

    async def history(self, key: bytes, before: int | None, limit: int) -> list[Entry]:
        return [_entry(*row) for row in await self._rows("history", key, before, limit)]

    async def aging(self, after: int, written_before: int, limit: int) -> list[Version]:
        return [Version(*row) for row in await self._rows("aging", after, written_before, limit, DELETE)]

    async def tokens(self) -> list[TokenRow]:
        return [
            TokenRow(name, digest, role, tuple(prefixes), created)
            for name, digest, role, prefixes, created in await self._rows("tokens")
        ]

    async def add_token(self, row: TokenRow) -> None:
        with _failures(f"token {row.name!r} could not be added"):
            await self._pool.execute(_SQL["add_token"], *row)

    async def remove_token(self, name: str) -> bool:
        with _failures(f"token {name!r} could not be removed"):
            return str(await self._pool.execute(_SQL["remove_token"], name)) != "DELETE 0"

    async def _rows(self, name: str, *parameters: object) -> list[Any]:
        with _failures("truth could not be read"):
            return list(await self._pool.fetch(_SQL[name], *parameters))


class PostgresTurn:
    """`database.Turn`: an open transaction that holds the lock."""

    def __init__(self, connection: Any, head: int, actors: dict[str, int]) -> None:
        self.head = head
        self.new_actors: dict[str, int] = {}
        self._connection = connection
        self._actors = actors

    async def newest(self, keys: Sequence[bytes]) -> dict[bytes, Version]:
        with _failures("truth could not be read"):
            return {row[0]: Version(*row) for row in await self._connection.fetch(_SQL["newest"], list(keys))}

    async def replies(self, wanted: Sequence[tuple[str, str]], now: int) -> dict[tuple[str, str], Reply]:
        actors, keys = [actor for actor, _ in wanted], [key for _, key in wanted]
        with _failures("truth could not be read"):
            rows = await self._connection.fetch(_SQL["replies"], actors, keys, now)
        return {(actor, key): Reply(actor, key, *rest) for actor, key, *rest in rows}

    async def append(self, entries: Sequence[Entry], replies: Sequence[Reply], now: int) -> None:
        with _failures("truth could not be written"):
            names = {entry.actor for entry in entries} | {reply.actor for reply in replies}
            number = {name: await self._actor(name) for name in names}
            if entries:
                rows = ((e.serial, e.key, e.time, number[e.actor], _NUMBER[e.action], e.previous, e.record) for e in entries)
                await self._connection.execute(_SQL["append"], *zip(*rows, strict=True))
                await self._connection.execute(_SQL["advance"], self.head)
            if replies:
                kept = [(number[r.actor], r.key, r.request, r.document, r.expires) for r in replies]
                await self._connection.executemany(_SQL["keep_reply"], kept)
                await self._connection.execute(_SQL["forget_replies"], now)
        self.head += len(entries)

    async def _actor(self, name: str) -> int:
        known = self._actors.get(name) or self.new_actors.get(name)
        if known is None:
            known = self.new_actors[name] = int(await self._connection.fetchval(_SQL["actor"], name))
        return known


def _entry(serial: int, key: bytes, time: int, actor: str, action: int, previous: int | None, record: bytes) -> Entry:
    return Entry(serial, key, time, actor, ACTIONS[action], previous, record)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise ConflictError(f"{what}: {error}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreError(f"{what}: {error or type(error).__name__}") from error
