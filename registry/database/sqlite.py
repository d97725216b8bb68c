"""The truth in SQLite: one file, write-ahead log, durable at each commit (synchronous=FULL).

Two connections, each with its thread (aiosqlite): one appends, one reads what is committed, so that a reader never waits for a
writer nor sees half of its work. Rows are added in statements of many rows: the interpreter's lock is given up and taken again
for each statement that runs, which costs up to 5 ms while the event loop is busy, and so must not happen for each row.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import aiosqlite

from registry.database.truth import ACTIONS, DELETE, Entry, Reply, TokenRow, Version, statements
from resolver.core.errors import ConflictError, StoreError

_SQL = statements("sqlite.sql")
_NUMBER = {action: number for number, action in enumerate(ACTIONS)}
_TABLES = ("log_table", "newest_table", "homed_index", "actors_table", "replies_table", "replies_index", "tokens_table")
_APPLICATION = 0x57_4D_54_31  # "WMT1": this file is a truth of ours, in its first layout
_ROWS = 250  # in one statement; SQLite allows 32,766 parameters
_KEYS = 1000
_BUSY_SECONDS = 10.0  # how long to wait for another program's turn
_PAGE_CACHE_KIB = 65_536
_CHECKPOINT_PAGES = 12_000  # 48 MiB of log: codes come in random order, and a page of the index is written back once for many


async def open_truth(path: str) -> "SqliteTruth":
    with _failures(f"truth {path} cannot be opened"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        writer = await _connect(path)
        try:
            await _prepare(writer, path)
            return SqliteTruth(writer, await _connect(path))
        except BaseException:
            await writer.close()
            raise


class SqliteTruth:
    """`database.Truth` in an SQLite file."""

    def __init__(self, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._actors: dict[str, int] = {}
        self._lock = asyncio.Lock()  # of the writer, for a whole turn

    async def close(self) -> None:
        with _failures("truth could not be closed"):
            await self._reader.close()
            await self._writer.close()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["SqliteTurn"]:
        async with self._lock:
            try:
                with _failures("truth could not be written"):
                    await self._writer.execute("BEGIN IMMEDIATE")
                    turn = SqliteTurn(self._writer, await _head(self._writer), self._actors)
                yield turn
                with _failures("truth could not be written"):
                    await self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error, ValueError):  # the connection itself may be what failed
                    await self._writer.rollback()
                raise
            self._actors |= turn.new_actors

    async def head(self) -> int:
        with _failures("truth could not be read"):
            return await _head(self._reader)

    async def newest(self, keys: Sequence[bytes]) -> dict[bytes, Version]:
        with _failures("truth could not be read"):
            return await _newest(self._reader, keys)

    async def walk(self, after: bytes, before: bytes, limit: int, gone: bool) -> list[Version]:
        return [
            Version(*row) for row in await self._rows("walk", after=after, before=before, limit=limit, gone=gone, delete=DELETE)
        ]

    async def homed(self) -> list[Version]:
        return [Version(*row) for row in await self._rows("homed")]

    async def changes(self, after: int, limit: int) -> list[Entry]:
        return [_entry(*row) for row in await self._rows("changes", after=after, limit=limit)]

    async def history(self, key: bytes, before: int | None, limit: int) -> list[Entry]:
        return [_entry(*row) for row in await self._rows("history", key=key, before=before, limit=limit)]

    async def aging(self, after: int, written_before: int, limit: int) -> list[Version]:
        rows = await self._rows("aging", after=after, written_before=written_before, limit=limit, delete=DELETE)
        return [Version(*row) for row in rows]

    async def tokens(self) -> list[TokenRow]:
        return [
            TokenRow(name, digest, role, tuple(json.loads(prefixes)), created)
            for name, digest, role, prefixes, created in await self._rows("tokens")
        ]

    async def add_token(self, row: TokenRow) -> None:
        async with self._lock:
            with _failures(f"token {row.name!r} could not be added"):
                await self._writer.execute(_SQL["add_token"], row._asdict() | {"prefixes": json.dumps(row.prefixes)})

    async def remove_token(self, name: str) -> bool:
        async with self._lock:
            with _failures(f"token {name!r} could not be removed"):
                return (await self._writer.execute(_SQL["remove_token"], {"name": name})).rowcount > 0

    async def _rows(self, name: str, **parameters: object) -> list[Any]:
        with _failures("truth could not be read"):
            return list(await self._reader.execute_fetchall(_SQL[name], parameters))


class SqliteTurn:
    """`database.Turn`: an open transaction of the writer."""

    def __init__(self, writer: aiosqlite.Connection, head: int, actors: dict[str, int]) -> None:
        self.head = head
        self.new_actors: dict[str, int] = {}
        self._writer = writer
        self._actors = actors

    async def newest(self, keys: Sequence[bytes]) -> dict[bytes, Version]:
        with _failures("truth could not be read"):
            return await _newest(self._writer, keys)

    async def replies(self, wanted: Sequence[tuple[str, str]], now: int) -> dict[tuple[str, str], Reply]:
        with _failures("truth could not be read"):
            rows = await self._writer.execute_fetchall(_SQL["replies"], {"wanted": json.dumps(wanted), "now": now})
        return {(actor, key): Reply(actor, key, *rest) for actor, key, *rest in rows}

    async def append(self, entries: Sequence[Entry], replies: Sequence[Reply], now: int) -> None:
        with _failures("truth could not be written"):
            names = {entry.actor for entry in entries} | {reply.actor for reply in replies}
            number = {name: await self._actor(name) for name in names}
            rows = ((e.serial, e.key, e.time, number[e.actor], _NUMBER[e.action], e.previous, e.record) for e in entries)
            await self._insert("append", 7, rows)
            await self._writer.execute(_SQL["advance"], {"after": self.head})
            if replies:
                kept = ((number[r.actor], r.key, r.request, r.document, r.expires) for r in replies)
                await self._insert("keep_reply", 5, kept)
                await self._writer.execute(_SQL["forget_replies"], {"now": now})
        self.head += len(entries)

    async def _insert(self, name: str, columns: int, rows: Iterable[tuple[object, ...]]) -> None:
        row = f"({','.join('?' * columns)})"
        remaining = iter(rows)
        while portion := list(islice(remaining, _ROWS)):
            await self._writer.execute(f"{_SQL[name]} {','.join([row] * len(portion))}", tuple(chain.from_iterable(portion)))

    async def _actor(self, name: str) -> int:
        known = self._actors.get(name) or self.new_actors.get(name)
        if known is None:
            rows = list(await self._writer.execute_fetchall(_SQL["actor"], {"name": name}))
            known = rows[0][0] if rows else (await self._writer.execute(_SQL["add_actor"], {"name": name})).lastrowid
            assert known is not None
            self.new_actors[name] = known
        return known


# ---- one connection


async def _connect(path: str) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None, timeout=_BUSY_SECONDS, cached_statements=256)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"cache_size = -{_PAGE_CACHE_KIB}",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    ):
        try:
            await connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            await connection.close()  # or its thread would keep the program from ending
            raise
    return connection


async def _prepare(writer: aiosqlite.Connection, path: str) -> None:
    """Makes the tables of an empty file. Raises StoreError for a file that is something else."""
    await writer.execute("BEGIN IMMEDIATE")
    (found,) = await writer.execute_fetchall("PRAGMA application_id")
    (schema,) = await writer.execute_fetchall("SELECT count(*) FROM sqlite_schema")
    if found[0] != _APPLICATION and schema[0]:
        await writer.execute("ROLLBACK")
        raise StoreError(f"{path} is an SQLite database, but not a truth of Waymark: application id {found[0]:#x}")
    for name in _TABLES:
        await writer.execute(_SQL[name])
    await writer.execute(f"PRAGMA application_id = {_APPLICATION}")
    await writer.execute("COMMIT")


async def _head(connection: aiosqlite.Connection) -> int:
    ((head,),) = await connection.execute_fetchall(_SQL["head"])
    return int(head)


async def _newest(connection: aiosqlite.Connection, keys: Sequence[bytes]) -> dict[bytes, Version]:
    found = {}
    for start in range(0, len(keys), _KEYS):
        portion = keys[start : start + _KEYS]
        sql = f"{_SQL['newest']} ({','.join('?' * len(portion))})"
        for row in await connection.execute_fetchall(sql, portion):
            found[row[0]] = Version(*row)
    return found


def _entry(serial: int, key: bytes, time: int, actor: str, action: int, previous: int | None, record: bytes) -> Entry:
    return Entry(serial, key, time, actor, ACTIONS[action], previous, record)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ConflictError(f"{what}: {error}") from error
    except (sqlite3.Error, OSError, ValueError) as error:  # aiosqlite: ValueError on a closed connection
        raise StoreError(f"{what}: {error}") from error
