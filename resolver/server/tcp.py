"""The loop of a stream door: accepts connections, lets each read and write when it can, ends those that use up their time.

Clients of one Handle dialect open a connection for each request, those of the other keep a pool open for minutes; both are common,
so both must be cheap. asyncio's transports cost more than the answer: instead all connections of a door hang on one epoll of their
own, whose descriptor is all that the event loop sees, and are read and written as plain descriptors: a socket object for each would
cost more than a system call. TCP_DEFER_ACCEPT lets a connection appear once its request is there.

What is said on a connection is the matter of its kind: `message_connection` for Handle and DNS, `http_connection` for HTTP.

Bounds: the number of connections (the one longest without a whole request goes first), and the time of each (`deadline`).
"""

import asyncio
import logging
import os
import select
import socket
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from resolver.core import limits
from resolver.core.limits import Limits
from resolver.metrics import Metrics
from resolver.server.udp import bound

_READ_OCTETS = 65_536
_BURST = 64
_BACKLOG = 1024
_DEFER_SECONDS = 5
_SWEEP_SECONDS = 0.5

Source = tuple[Any, ...]  # what accept returns: host, port, and for IPv6 two more

log = logging.getLogger("waymark.tcp")


class Connection(ABC):
    """One accepted connection. `deadline` (seconds since 1970) ends it unless it is moved on."""

    __slots__ = ("deadline", "descriptor", "server")

    def __init__(self, descriptor: int, server: "StreamServer", now: float) -> None:
        self.descriptor = descriptor  # -1 once closed
        self.server = server
        self.deadline = now + server.first_seconds

    @abstractmethod
    def readable(self, now: float) -> None:
        """There is something to read, or the end."""

    @abstractmethod
    def writable(self, now: float) -> None:
        """There is room to write again."""

    @abstractmethod
    def overdue(self, now: float) -> None:
        """The deadline has passed."""

    @property
    def is_closed(self) -> bool:
        return self.descriptor < 0

    def receive(self) -> bytes | None:
        """What the peer sent, nothing at its end. None if there is nothing yet, or the connection broke and is closed."""
        try:
            return os.read(self.descriptor, _READ_OCTETS)
        except BlockingIOError:
            return None
        except OSError:
            self.close()
            return None

    def close(self) -> None:
        """Ends the connection at once, whatever is still to be read or written."""
        if self.descriptor >= 0:
            del self.server.connections[self.descriptor]
            os.close(self.descriptor)  # epoll forgets a closed descriptor by itself
            self.descriptor = -1


class Listener(socket.socket):
    """A listening socket that gives away plain descriptors."""

    def take(self) -> tuple[int, Source]:
        """The next connection, not blocking, and its source. Raises BlockingIOError when there is none, OSError as `accept`."""
        descriptor, source = self._accept()  # type: ignore[attr-defined]  # what `accept` calls before it makes an object
        os.set_blocking(descriptor, False)
        return descriptor, source


class StreamServer:
    """Serves one TCP socket, bound but not yet listening. `connect` makes the connection for a descriptor and its source."""

    def __init__(
        self,
        listener: Listener,
        name: str,
        connect: "Callable[[int, Source, StreamServer, float], Connection]",
        metrics: Metrics,
        bounds: Limits,
    ) -> None:
        self.name = name  # of the door, in metrics and log
        self.metrics = metrics
        self.epoll = select.epoll()
        self.connections: OrderedDict[int, Connection] = OrderedDict()  # the longest without a whole request first
        self.idle_seconds = bounds[limits.connection_idle_seconds]
        self.first_seconds = bounds[limits.connection_first_seconds]
        self.out_octets_max = bounds[limits.connection_out_octets]
        self.waiting_max = bounds[limits.recursion_waiters]
        self._connections_max = bounds[limits.connections]
        self._connect = connect
        self._listener = listener
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.connections)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        self._listener.setblocking(False)
        with suppress(OSError):
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
        self._listener.listen(_BACKLOG)
        self.epoll.register(self._listener.fileno(), select.EPOLLIN)
        loop = asyncio.get_running_loop()
        loop.add_reader(self.epoll.fileno(), self._events)
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        asyncio.get_running_loop().remove_reader(self.epoll.fileno())
        for connection in list(self.connections.values()):
            connection.close()
        self.epoll.close()
        self._listener.close()

    def admit(self, descriptor: int, source: Source, now: float) -> Connection:
        """Takes in a connection, not blocking, and lets the one longest without a whole request go if there are too many."""
        self._make_room(self._connections_max)
        connection = self._connect(descriptor, source, self, now)
        self.connections[descriptor] = connection
        self.epoll.register(descriptor, select.EPOLLIN)
        return connection

    def _events(self) -> None:
        now = time()
        for descriptor, event in self.epoll.poll(0, _BURST):
            connection = self.connections.get(descriptor)
            if connection is None:
                if descriptor == self._listener.fileno():
                    self._accept(now)
            elif event & (select.EPOLLHUP | select.EPOLLERR):
                connection.close()
            elif event & select.EPOLLOUT:
                connection.writable(now)
            else:
                connection.readable(now)

    def _accept(self, now: float) -> None:
        for _ in range(_BURST):
            try:
                descriptor, source = self._listener.take()
            except BlockingIOError:
                return
            except OSError as error:  # the peer is gone again; or descriptors ran out, and one has to make room
                log.warning("%s door: no connection accepted: %s", self.name, error)
                self._make_room(1)
                return
            self.admit(descriptor, source, now).readable(now)

    def _make_room(self, connections_max: int) -> None:
        if len(self.connections) >= connections_max:
            next(iter(self.connections.values())).close()

    def _sweep(self) -> None:
        now = time()
        for connection in [connection for connection in self.connections.values() if connection.deadline < now]:
            connection.overdue(now)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)


def bind_stream(host: str, port: int) -> Listener:
    """A TCP socket, not yet listening, that other workers may share the address of."""
    sock = Listener(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound(sock, host, port)
