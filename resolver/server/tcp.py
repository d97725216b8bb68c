"""A stream door's loop: accept, cut the stream into messages, answer each, keep the connection until the peer or a bound ends it.

Clients of one dialect open a connection for each request, those of the other keep a pool open for minutes; both are common,
so both must be cheap. asyncio's transports cost more than the answer: instead all connections of a door hang on one epoll of
their own, whose descriptor is all that the event loop sees, and are read and written as plain descriptors: a socket object for
each would cost more than a system call. TCP_DEFER_ACCEPT lets a connection appear once its request is there.

Bounds: connections (the one longest without a whole message goes first), time to the first whole message and between messages,
answers that the peer leaves unread: no further message of its is answered until it has read them. Bytes that can never become a
message get the door's refusal, then the end.
"""

import asyncio
import logging
import os
import select
import socket
from collections import OrderedDict
from collections.abc import Coroutine
from contextlib import suppress
from time import perf_counter, time
from typing import Any, Protocol

from resolver.core import limits
from resolver.core.errors import FormatError
from resolver.core.limits import Limits
from resolver.doors import Ready, Reply
from resolver.metrics import Metrics, cell
from resolver.server.udp import bound

_READ_OCTETS = 65_536
_BURST = 64
_BACKLOG = 1024
_DEFER_SECONDS = 5
_SWEEP_SECONDS = 1.0

log = logging.getLogger("waymark.tcp")


class StreamDoor(Protocol):
    def answer_stream(self, message: bytes, source: tuple[Any, ...], now: float) -> Reply: ...

    def message_octets(self, buffer: bytes) -> int:
        """Octets of the first message in `buffer`, 0 while unknown. Raises FormatError if it can never be one."""
        ...


class Connection:
    """One accepted connection. `deadline` ends it unless a whole message arrives before."""

    __slots__ = ("blocked", "buffer", "deadline", "descriptor", "ending", "out", "source", "waiting")

    def __init__(self, descriptor: int, source: tuple[Any, ...], deadline: float) -> None:
        self.descriptor = descriptor  # -1 once closed
        self.source = source
        self.deadline = deadline
        self.buffer = b""
        self.out = b""
        self.blocked = False  # the kernel takes no more of `out`; nothing is read meanwhile
        self.waiting = 0  # answers that wait for other servers
        self.ending = False  # nothing more is read; the connection ends when `out` and `waiting` are empty


class Listener(socket.socket):
    """A listening socket that gives away plain descriptors."""

    def take(self) -> tuple[int, tuple[Any, ...]]:
        """The next connection, not blocking, and its source. Raises BlockingIOError when there is none, OSError as `accept`."""
        descriptor, source = self._accept()  # type: ignore[attr-defined]  # what `accept` calls before it makes an object
        os.set_blocking(descriptor, False)
        return descriptor, source


class StreamServer:
    """Serves one listening TCP socket through a door."""

    def __init__(self, listener: Listener, name: str, door: StreamDoor, metrics: Metrics, bounds: Limits) -> None:
        self._listener = listener
        self._name = name
        self._door = door
        self._metrics = metrics
        self._connections_max = bounds[limits.connections]
        self._idle_seconds = bounds[limits.connection_idle_seconds]
        self._first_seconds = bounds[limits.connection_first_seconds]
        self._out_octets_max = bounds[limits.connection_out_octets]
        self._waiting_max = bounds[limits.recursion_waiters]
        self._failed = cell("query", name, "failed")
        self._dropped = cell("query", name, "dropped")
        self._epoll = select.epoll()
        self._connections: OrderedDict[int, Connection] = OrderedDict()  # the longest without a whole message first
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        self._listener.setblocking(False)
        with suppress(OSError):
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
        self._listener.listen(_BACKLOG)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._epoll.fileno(), self._events)
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections.values()):
            self._end(connection)
        self._epoll.close()
        self._listener.close()

    # ---- events

    def _events(self) -> None:
        now, started = time(), perf_counter()
        answered = 0
        for descriptor, event in self._epoll.poll(0, _BURST):
            connection = self._connections.get(descriptor)
            if connection is None:
                if descriptor == self._listener.fileno():
                    answered += self._accept(now)
            elif event & (select.EPOLLHUP | select.EPOLLERR):
                self._end(connection)
            elif event & select.EPOLLOUT:
                self._flush(connection)
                if not connection.blocked:
                    answered += self._work(connection, now)
            else:
                answered += self._read(connection, now)
        if answered:
            self._metrics.observe(self._name, (perf_counter() - started) / answered, answered)

    def _accept(self, now: float) -> int:
        answered = 0
        for _ in range(_BURST):
            try:
                descriptor, source = self._listener.take()
            except BlockingIOError:
                break
            except OSError as error:  # the peer is gone again; or descriptors ran out, and one has to make room
                log.warning("%s door: no connection accepted: %s", self._name, error)
                self._make_room(1)
                break
            self._make_room(self._connections_max)
            connection = Connection(descriptor, source, now + self._first_seconds)
            self._connections[descriptor] = connection
            self._epoll.register(descriptor, select.EPOLLIN)
            answered += self._read(connection, now)
        return answered

    def _read(self, connection: Connection, now: float) -> int:
        """Reads what is there and answers every whole message in it. Returns how many."""
        try:
            octets = os.read(connection.descriptor, _READ_OCTETS)
        except BlockingIOError:
            return 0
        except OSError:
            self._end(connection)
            return 0
        if not octets:  # the peer has said all it wanted to, but may still read
            connection.ending = True
            if connection.out or connection.waiting:
                self._epoll.modify(connection.descriptor, select.EPOLLOUT if connection.blocked else 0)
            else:
                self._end(connection)
            return 0
        connection.buffer = connection.buffer + octets if connection.buffer else octets
        return self._work(connection, now)

    def _work(self, connection: Connection, now: float) -> int:
        """Answers the whole messages that were read, as long as the peer reads the answers. Returns how many."""
        answered = 0
        while self._take_message(connection, now):
            answered += 1
            if len(connection.out) >= self._out_octets_max:
                self._flush(connection)
                if connection.blocked:
                    break
        if answered and not connection.ending:
            connection.deadline = now + (self._first_seconds if connection.buffer else self._idle_seconds)
            self._connections.move_to_end(connection.descriptor)
        self._flush(connection)
        return answered

    def _take_message(self, connection: Connection, now: float) -> bool:
        """Answers the first message in the buffer, if it is whole."""
        buffer = connection.buffer
        if not buffer or connection.ending:
            return False
        try:
            needed = self._door.message_octets(buffer)
        except FormatError:  # the door's answer to all of it is a refusal
            self._answer(connection, buffer, now)
            connection.ending = True
            return False
        if not 0 < needed <= len(buffer):
            return False
        connection.buffer = buffer[needed:]
        self._answer(connection, buffer[:needed], now)
        return True

    def _answer(self, connection: Connection, message: bytes, now: float) -> None:
        try:
            reply = self._door.answer_stream(message, connection.source, now)
        except Exception:
            self._metrics.cells[self._failed] += 1
            log.exception("a message of %d octets from %s broke the %s door", len(message), connection.source[0], self._name)
            connection.ending = True
            return
        if type(reply) is bytes:
            connection.out = connection.out + reply if connection.out else reply
        elif type(reply) is tuple:
            connection.out += b"".join(reply)
        elif reply is None:
            connection.ending = True
        else:
            assert asyncio.iscoroutine(reply)
            if connection.waiting >= self._waiting_max:
                reply.close()
                self._metrics.cells[self._dropped] += 1
                connection.ending = True
                return
            connection.waiting += 1
            task = asyncio.get_running_loop().create_task(self._answer_later(connection, reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, connection: Connection, reply: Coroutine[Any, Any, Ready]) -> None:
        started = perf_counter()
        try:
            ready = await reply
            connection.out += ready if isinstance(ready, bytes) else b"".join(ready or ())
            connection.ending |= len(connection.out) > 2 * self._out_octets_max
        except Exception:
            self._metrics.cells[self._failed] += 1
            log.exception("a question from %s broke the %s door", connection.source[0], self._name)
            connection.ending = True
        connection.waiting -= 1
        self._flush(connection)
        self._metrics.observe(self._name, perf_counter() - started)

    # ---- writing and ending

    def _flush(self, connection: Connection) -> None:
        if connection.descriptor < 0:
            return
        if connection.out:
            try:
                connection.out = connection.out[os.write(connection.descriptor, connection.out) :]
            except BlockingIOError:
                pass
            except OSError:
                self._end(connection)
                return
        blocked = bool(connection.out)
        if blocked != connection.blocked:
            connection.blocked = blocked
            wanted = select.EPOLLOUT if blocked else 0 if connection.ending else select.EPOLLIN
            self._epoll.modify(connection.descriptor, wanted)
        if connection.ending and not connection.out and not connection.waiting:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        if connection.descriptor < 0:
            return
        del self._connections[connection.descriptor]
        os.close(connection.descriptor)  # epoll forgets a closed descriptor by itself
        connection.descriptor = -1
        connection.ending = True

    def _make_room(self, connections_max: int) -> None:
        if len(self._connections) >= connections_max:
            self._end(next(iter(self._connections.values())))

    def _sweep(self) -> None:
        now = time()
        for connection in [c for c in self._connections.values() if c.deadline < now and not c.waiting]:
            self._end(connection)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)


def bind_stream(host: str, port: int) -> Listener:
    """A TCP socket, not yet listening, that other workers may share the address of."""
    sock = Listener(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound(sock, host, port)
