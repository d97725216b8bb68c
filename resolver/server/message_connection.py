"""One connection of the Handle or the DNS door: cuts what arrives into messages and answers each.

Several requests may follow one another without waiting. What can be answered at once is; an answer that must wait for other servers
leaves when it is there, and those behind it do not wait. Answers that the peer leaves unread are bounded: no further message of its
is answered until it has read them. Octets that can never become a message get the door's refusal, then the end.
"""

import asyncio
import logging
import os
import select
from collections.abc import Coroutine
from time import perf_counter
from typing import Any, Protocol

from resolver.core.errors import FormatError
from resolver.core.limits import Limits
from resolver.doors import Ready, Reply
from resolver.metrics import Metrics, cell
from resolver.server.tcp import Connection, Listener, Source, StreamServer

log = logging.getLogger("waymark.tcp")


class StreamDoor(Protocol):
    def answer_stream(self, message: bytes, source: Source, now: float) -> Reply: ...

    def message_octets(self, buffer: bytes) -> int:
        """Octets of the first message in `buffer`, 0 while unknown. Raises FormatError if it can never be one."""
        ...


def message_server(listener: Listener, name: str, door: StreamDoor, metrics: Metrics, bounds: Limits) -> StreamServer:
    """Serves one bound TCP socket through a door."""

    def connect(descriptor: int, source: Source, server: StreamServer, now: float) -> Connection:
        return MessageConnection(descriptor, source, server, door, now)

    return StreamServer(listener, name, connect, metrics, bounds)


class MessageConnection(Connection):
    __slots__ = ("_blocked", "_buffer", "_door", "_ending", "_out", "_source", "_tasks")

    def __init__(self, descriptor: int, source: Source, server: StreamServer, door: StreamDoor, now: float) -> None:
        super().__init__(descriptor, server, now)
        self._source = source
        self._door = door
        self._buffer = b""
        self._out = b""
        self._blocked = False  # the kernel takes no more of `_out`; nothing is read meanwhile
        self._ending = False  # nothing more is read; the connection ends when the last answer has left
        self._tasks: set[asyncio.Task[None]] = set()  # answers that wait for other servers

    # ---- the server calls

    def readable(self, now: float) -> None:
        octets = self.receive()
        if octets is None:
            return
        if octets:
            self._buffer = self._buffer + octets if self._buffer else octets
            self._work(now)
        elif self._out or self._tasks:  # the peer has said all it wanted to, but may still read
            self._ending = True
            self.server.epoll.modify(self.descriptor, select.EPOLLOUT if self._blocked else 0)
        else:
            self.close()

    def writable(self, now: float) -> None:
        self._flush()
        if not self._blocked:
            self._work(now)

    def overdue(self, now: float) -> None:  # noqa: ARG002
        if not self._tasks:  # a walk has a deadline of its own
            self.close()

    def close(self) -> None:
        super().close()
        self._ending = True
        for task in self._tasks:
            task.cancel()

    # ---- one message after another

    def _work(self, now: float) -> None:
        """Answers the whole messages that were read, as long as the peer reads the answers."""
        started, answered = perf_counter(), 0
        while self._take_message(now):
            answered += 1
            if len(self._out) >= self.server.out_octets_max:
                self._flush()
                if self._blocked:
                    break
        if answered and not self.is_closed:
            self.deadline = now + (self.server.first_seconds if self._buffer else self.server.idle_seconds)
            self.server.connections.move_to_end(self.descriptor)
        self._flush()
        if answered:
            self.server.metrics.observe(self.server.name, (perf_counter() - started) / answered, answered)

    def _take_message(self, now: float) -> bool:
        """Answers the first message in the buffer, if it is whole."""
        buffer = self._buffer
        if not buffer or self._ending:
            return False
        try:
            needed = self._door.message_octets(buffer)
        except FormatError:  # the door's answer to all of it is a refusal
            self._answer(buffer, now)
            self._ending = True
            return False
        if not 0 < needed <= len(buffer):
            return False
        self._buffer = buffer[needed:]
        self._answer(buffer[:needed], now)
        return True

    def _answer(self, message: bytes, now: float) -> None:
        try:
            reply = self._door.answer_stream(message, self._source, now)
        except Exception as error:
            self._broken(f"a message of {len(message)} octets", error)
            return
        if type(reply) is bytes:
            self._out = self._out + reply if self._out else reply
        elif type(reply) is tuple:
            self._out += b"".join(reply)
        elif reply is None:
            self._ending = True
        else:
            assert asyncio.iscoroutine(reply)
            self._wait_for(reply)

    def _wait_for(self, reply: Coroutine[Any, Any, Ready]) -> None:
        if len(self._tasks) >= self.server.waiting_max:
            reply.close()
            self.server.metrics.cells[cell("query", self.server.name, "dropped")] += 1
            self._ending = True
            return
        task = asyncio.get_running_loop().create_task(self._answer_later(reply))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    async def _answer_later(self, reply: Coroutine[Any, Any, Ready]) -> None:
        started = perf_counter()
        try:
            ready = await reply
            self._out += ready if isinstance(ready, bytes) else b"".join(ready or ())
            self._ending |= len(self._out) > 2 * self.server.out_octets_max
        except Exception as error:
            self._broken("a question", error)
        self.server.metrics.observe(self.server.name, perf_counter() - started)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._flush()

    def _broken(self, what: str, error: Exception) -> None:
        self.server.metrics.cells[cell("query", self.server.name, "failed")] += 1
        log.error("%s from %s broke the %s door", what, self._source[0], self.server.name, exc_info=error)
        self._ending = True

    def _flush(self) -> None:
        if self.is_closed:
            return
        if self._out:
            try:
                self._out = self._out[os.write(self.descriptor, self._out) :]
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        if self._ending and not self._out and not self._tasks:
            self.close()
            return
        blocked = bool(self._out)
        if blocked != self._blocked:
            self._blocked = blocked
            wanted = select.EPOLLOUT if blocked else 0 if self._ending else select.EPOLLIN
            self.server.epoll.modify(self.descriptor, wanted)
