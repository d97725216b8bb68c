"""Bulk registration: a change for each line that comes in (NDJSON), one result for each that goes out, in order, of any number.

    octets -> lines -> changes -> window -> service -> results -> octets
    ^-------- the reader --------^       ^------- the answerer -------^

The two run side by side: while one window of lines is committed, the next is read and parsed. Between them stands the
window, bounded in lines and octets, so a client that does not read its results, or a disk that is slow, stops the
reading, and TCP stops the client. A window is taken as soon as there is a line in it: a client may send one line and wait
for its result.

A line that cannot be read or is rejected is answered as such and stops nothing. When the stream itself breaks (it stands
still, cannot be unpacked, or the server ends), what was taken is still committed and answered, and a last line of status
"unread" names the line with which reading ended and why. A client that is gone is told nothing; its taken lines are
committed all the same.

    {"line":1,"identifier":"88.118.8/ABC","status":"created","serial":17}
    {"line":2,"status":"rejected","problem":{"type":"/v1/problems/bad-json","title":…,"status":400,"detail":…,"place":…,"next":…}}
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NamedTuple

from registry.documents import to_octets, write_from_line
from registry.problems import Problem, Refusal, problem_of_error, problem_of_rejection
from registry.service import Actor, Rejected, Service, Write, Written
from resolver.core import limits
from resolver.core.errors import OverloadError, StoreError, WaymarkError
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits

BUSY_WAIT_SECONDS = 0.05  # before a window is offered again to a service that is full


class Line(NamedTuple):
    """One line as it was read: its number, from 1, and the change that it asks for or why it asks for none."""

    number: int
    asked: Write | Problem


class Window:
    """Lines that were read and not yet taken. One side puts, the other takes; each waits for the other."""

    def __init__(self, lines: int, octets: int) -> None:
        self._most = (lines, octets)
        self._lines: list[Line] = []
        self._octets = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        return len(self._lines) >= self._most[0] or self._octets >= self._most[1]

    def put(self, line: Line, octets: int) -> None:
        self._lines.append(line)
        self._octets += octets
        if len(self._lines) == 1:
            self._changed.set()

    async def room(self) -> None:
        """Waits until the window was taken."""
        self._room.clear()
        await self._room.wait()

    def end(self) -> None:
        """No more lines will be put."""
        self._ended = True
        self._changed.set()

    async def take(self) -> list[Line]:
        """All lines that are there, as soon as there are any; none after the end."""
        if not self._lines and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        taken, self._lines, self._octets = self._lines, [], 0
        self._room.set()
        return taken


class LineSplitter:
    """Cuts octets at line feeds. A line longer than allowed comes out as None, and is never held whole."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = bytearray()  # of the line that is not ended yet
        self._too_long = False

    def feed(self, octets: bytes) -> Iterator[bytes | None]:
        ended, feed, rest = octets.rpartition(b"\n")
        if feed:
            first, *others = ended.split(b"\n")
            self._extend(first)
            yield self._taken()
            for line in others:
                yield line if len(line) <= self._most else None
        self._extend(rest)

    def last(self) -> Iterator[bytes | None]:
        """The line that no line feed ended, if there is one."""
        if self._begun or self._too_long:
            yield self._taken()

    def _extend(self, octets: bytes) -> None:
        if not self._too_long:
            self._begun += octets
            if len(self._begun) > self._most:
                self._too_long = True
                self._begun.clear()

    def _taken(self) -> bytes | None:
        line = None if self._too_long else bytes(self._begun)
        self._begun.clear()
        self._too_long = False
        return line


class BulkStream:
    """One bulk request under way."""

    def __init__(self, service: Service, actor: Actor, bounds: Limits) -> None:
        self._service = service
        self._actor = actor
        self._bounds = bounds
        self._window = Window(bounds[limits.bulk_window_lines], bounds[limits.bulk_window_octets])
        self._read = 0  # lines
        self._broken: Problem | None = None
        self._reader: asyncio.Task[None] | None = None
        self.counts: dict[str, int] = {}  # lines by status

    async def run(self, pieces: AsyncIterator[bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
        """Answers every line of `pieces` through `send`. Raises what `send` raises: the client reads no more."""
        self._reader = asyncio.create_task(self._read_all(pieces))
        try:
            while lines := await self._window.take():
                await send(b"".join(self._results(lines, await self._written(lines))))
            await self._reader
            if self._broken is not None:
                await send(_refused(self._read + 1, self._broken, status="unread"))
        finally:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    @property
    def broken(self) -> bool:
        """Whether the stream ended before its end."""
        return self._broken is not None

    def cut(self, problem: Problem) -> None:
        """Ends the reading; what was read is still answered."""
        if self._reader is not None and not self._reader.done():
            self._broken = problem
            self._reader.cancel()

    # ---- reading

    async def _read_all(self, pieces: AsyncIterator[bytes]) -> None:
        splitter = LineSplitter(self._bounds[limits.bulk_line_octets])
        try:
            async for piece in pieces:
                await self._put_all(splitter.feed(piece))
            await self._put_all(splitter.last())
        except Refusal as refusal:
            self._broken = refusal.problem
        except TimeoutError:
            stall = self._bounds[limits.bulk_stall_seconds]
            self._broken = Problem("stalled", f"no octet came for {stall} s; nothing after line {self._read} was read")
        except ConnectionError:
            self._broken = Problem("stalled", f"the connection broke; nothing after line {self._read} was read")
        except asyncio.CancelledError:
            if self._broken is None:
                raise
        finally:
            self._window.end()

    async def _put_all(self, lines: Iterator[bytes | None]) -> None:
        for line in lines:
            if self._window.full:
                await self._window.room()
            self._read += 1
            self._window.put(Line(self._read, self._asked(line)), len(line or b""))
        await asyncio.sleep(0)

    def _asked(self, line: bytes | None) -> Write | Problem:
        if line is None:
            return Problem("too-large", f"line of more than {self._bounds[limits.bulk_line_octets]} octets", "line")
        if not line.strip():
            return Problem("bad-json", "the line is empty", "line")
        try:
            return write_from_line(line)
        except WaymarkError as error:
            return problem_of_error(error)

    # ---- answering

    async def _written(self, lines: list[Line]) -> list[Written]:
        """What became of the changes among `lines`. A full service is waited for: the window is the client's own queue."""
        writes = [line.asked for line in lines if isinstance(line.asked, Write)]
        while writes:
            try:
                return await self._service.write(writes, self._actor)
            except OverloadError:
                await asyncio.sleep(BUSY_WAIT_SECONDS)
            except StoreError as error:
                broken = Rejected("unavailable", str(error), error.http_status)
                return [Written("rejected", None, broken)] * len(writes)
        return []

    def _results(self, lines: list[Line], written: list[Written]) -> Iterator[bytes]:
        outcomes = iter(written)
        for number, asked in lines:
            if isinstance(asked, Problem):
                status, result = "rejected", _refused(number, asked)
            else:
                outcome = next(outcomes)
                status, result = outcome.status, _answered(number, asked.identifier, outcome)
            self.counts[status] = self.counts.get(status, 0) + 1
            yield result


def _answered(number: int, identifier: Identifier, outcome: Written) -> bytes:
    name = identifier.canonical
    if outcome.problem is not None or outcome.record is None:
        assert outcome.problem is not None
        return _refused(number, problem_of_rejection(outcome.problem, name), name)
    text = f'{{"line":{number},"identifier":{_quoted(name)},"status":"{outcome.status}","serial":{outcome.record.serial}}}\n'
    return text.encode()


def _refused(number: int, problem: Problem, name: str | None = None, status: str = "rejected") -> bytes:
    document = {"line": number} if name is None else {"line": number, "identifier": name}
    return to_octets({**document, "status": status, "problem": problem.document()}) + b"\n"


_quoted = json.JSONEncoder(ensure_ascii=False).encode
