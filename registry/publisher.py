"""The publisher: truth -> answer table, by change serial. It runs as a process beside the registry.

    read the changes after the table's serial -> write them and the new serial in one LMDB transaction -> again, until none are left

The table's serial is written together with the changes, so a publisher that died at any moment goes on where the table stands.
It is a process (`python -m registry.publisher`), because a thread beside a busy event loop gets the interpreter's lock every 5 ms
and needs it for every record. It looks for changes when the registry says that there are some, and every `publish_milliseconds`;
it ends with its standard input, so it never outlives the registry for long, and after a last look.

One program writes a table at a time: it holds a lock on the file `LOCK` in it. `rebuild_table` takes the same lock.
"""

import asyncio
import fcntl
import json
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry.config import RegistryConfig
from registry.database import open_truth
from registry.database.truth import FIRST_KEY, LAST_KEY, Truth
from resolver.core import limits
from resolver.core.errors import ConfigError, WaymarkError
from resolver.core.limits import Limits
from resolver.table import Change, TableWriter, rebuild

_log = logging.getLogger(__name__)
_CHANGES = 2000  # in one transaction of the table
_WALK = 5000  # versions read at once while rebuilding
_LOCK_SECONDS = 10.0  # how long to wait for a publisher that is ending
_END_SECONDS = 30
_RESTART_SECONDS = 1.0


class Publisher:
    """The publisher's process, as the registry sees it. `serial` is that of the table, 0 until the first word from it."""

    def __init__(self, config: RegistryConfig) -> None:
        self.serial = 0
        self._config = config
        self._wanted = 0
        self._process: Process | None = None
        self._told = False  # that there are changes, and it has not answered yet
        self._news = asyncio.Condition()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ConfigError if another program writes the table and does not stop soon, as one that is ending does."""
        await asyncio.to_thread(_wait_until_free, self._config.table)
        await self._launch()
        self._task = asyncio.create_task(self._run(), name="publisher")

    def publish(self, serial: int) -> None:
        """The log has come to `serial`: the table is to follow at once."""
        self._wanted = max(self._wanted, serial)
        pipe = self._process.stdin if self._process is not None else None
        if not self._told and pipe is not None and not pipe.is_closing():  # a process that died looks for itself when it is back
            self._told = True
            pipe.write(b"\n")

    async def published(self, serial: int) -> None:
        """Returns once resolvers see the change `serial`."""
        async with self._news:
            await self._news.wait_for(lambda: self.serial >= serial)

    async def close(self) -> None:
        """Publishes what is committed and ends the process."""
        self._closing = True
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
        if self._task is not None:
            await self._task

    async def _launch(self) -> None:
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-m", "registry.publisher", stdin=PIPE, stdout=PIPE)
        bounds = self._config.limits
        settings = {
            "database": self._config.database,
            "table": str(self._config.table),
            "publish_milliseconds": bounds[limits.publish_milliseconds],
            "change_feed": bounds[limits.change_feed],
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        self._told = False

    async def _run(self) -> None:
        """Listens to the process, and starts another one should it die."""
        while True:
            assert self._process is not None
            assert self._process.stdout is not None
            async for line in self._process.stdout:
                async with self._news:
                    self.serial, self._told = int(line), False
                    self._news.notify_all()
                if self._wanted > self.serial:
                    self.publish(self._wanted)
            status = await self._process.wait()
            if self._closing:
                return
            _log.error("the publisher ended with status %s and is started again; resolvers see no changes meanwhile", status)
            await asyncio.sleep(_RESTART_SECONDS)
            if self._closing:
                return
            try:
                await self._launch()
            except OSError as error:
                _log.error("the publisher cannot be started: %s", error)
            if self._closing and self._process.stdin is not None:  # meanwhile, and `close` knew only the one before
                self._process.stdin.close()


async def rebuild_table(config: RegistryConfig, progress: Callable[[int], None] | None = None) -> int:
    """Makes the answer table of a registry again from its truth, in key order. Returns the number of records.

    Nodes go on serving the old table and move to the new one. Raises ConfigError while the registry's publisher runs.
    """
    with table_lock(config.table, 0.0):
        truth = await open_truth(config.database)
        try:
            serial = await truth.head()
            changes = _newest_changes(truth, asyncio.get_running_loop(), progress)
            return await asyncio.to_thread(rebuild, config.table, changes, serial)
        finally:
            await truth.close()


def _newest_changes(truth: Truth, loop: asyncio.AbstractEventLoop, progress: Callable[[int], None] | None) -> Iterator[Change]:
    """The newest version of everything, ascending by key, read page by page; runs in a thread beside `loop`."""
    after, seen = FIRST_KEY, 0
    while page := asyncio.run_coroutine_threadsafe(truth.walk(after, LAST_KEY, _WALK, True), loop).result():
        for key, serial, record in page:
            yield Change(serial, key, record)
        after, seen = page[-1].key, seen + len(page)
        if progress is not None:
            progress(seen)


def _wait_until_free(table: Path) -> None:
    with table_lock(table, _LOCK_SECONDS):
        pass


@contextmanager
def table_lock(table: Path, wait_seconds: float) -> Iterator[None]:
    """Holds the right to write the table. Raises ConfigError if another program still has it after `wait_seconds`."""
    table.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(table / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline, told = time.monotonic() + wait_seconds, False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told and wait_seconds:
                    _log.warning(
                        "the answer table %s is being written by another program; waiting %g s for it", table, wait_seconds
                    )
                    told = True
                if time.monotonic() >= deadline:
                    raise ConfigError(
                        f"the answer table {table} is being written by another program, most likely its registry; stop that first"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


# ---- as a program


async def _serve(settings: dict[str, Any], kicks: asyncio.StreamReader) -> None:
    bounds = Limits({"change_feed": settings["change_feed"]})
    truth = await open_truth(settings["database"])
    writer = TableWriter(Path(settings["table"]), bounds)
    try:
        ended = False
        while True:
            _say(await publish_changes(truth, writer))
            if ended:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(settings["publish_milliseconds"] / 1000):
                    ended = not await kicks.read(4096)
    finally:
        writer.close()
        await truth.close()


async def publish_changes(truth: Truth, writer: TableWriter) -> int:
    """Brings the table up to the log. Returns the serial that it then has. Raises StoreError if the table is ahead of the log."""
    serial = writer.serial
    while entries := await truth.changes(serial, _CHANGES):
        serial = writer.apply(Change(entry.serial, entry.key, entry.record) for entry in entries)
    return serial


def _say(serial: int) -> None:
    sys.stdout.write(f"{serial}\n")
    sys.stdout.flush()


async def _main() -> None:
    kicks = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(kicks), sys.stdin)
    first = await kicks.readline()
    if not first:
        return
    settings = json.loads(first)
    with table_lock(Path(settings["table"]), _LOCK_SECONDS):
        await _serve(settings, kicks)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the registry, which then closes our standard input
    try:
        asyncio.run(_main())
    except WaymarkError as error:
        sys.exit(f"publisher: {error}")
    except BrokenPipeError:
        os._exit(0)  # the registry is gone without a word, and nobody is left to read what is still to be flushed
