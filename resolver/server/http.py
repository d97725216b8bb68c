"""The HTTP door's loop: accepts, and lets each connection read and write when it can (`http_connection`).

As the other doors' streams (see `tcp`), all connections hang on one epoll, whose descriptor is all that the event loop sees: with
asyncio's transports the way through the loop would cost as much as the answer.

Bounds: connections (the one longest without a request goes first), octets of a head, time to a whole head and between requests,
answers that the peer leaves unread.
"""

import asyncio
import logging
import select
from collections import OrderedDict
from email.utils import formatdate
from time import time

from resolver.core import limits
from resolver.core.limits import Limits
from resolver.metrics import Metrics
from resolver.server.http_connection import AnsweringDoor, HttpConnection
from resolver.server.tcp import Listener

_BURST = 64
_BACKLOG = 1024
_SWEEP_SECONDS = 0.5

log = logging.getLogger("waymark.http")


class HttpServer:
    """Serves one TCP socket, bound but not yet listening, through a door."""

    def __init__(self, listener: Listener, door: AnsweringDoor, metrics: Metrics, bounds: Limits) -> None:
        self.door = door
        self.metrics = metrics
        self.head_octets_max = bounds[limits.http_head_octets]
        self.body_octets_max = bounds[limits.http_body_octets]
        self.out_octets_max = bounds[limits.connection_out_octets]
        self.idle_seconds = bounds[limits.connection_idle_seconds]
        self.first_seconds = bounds[limits.connection_first_seconds]
        self.connections: OrderedDict[int, HttpConnection] = OrderedDict()  # the longest without a request first
        self.epoll = select.epoll()
        self._connections_max = bounds[limits.connections]
        self._listener = listener
        self._sweeper: asyncio.TimerHandle | None = None
        self._date = (0, b"")

    def __len__(self) -> int:
        return len(self.connections)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self.epoll.register(self._listener.fileno(), select.EPOLLIN)
        loop.add_reader(self.epoll.fileno(), self._events)
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        asyncio.get_running_loop().remove_reader(self.epoll.fileno())
        for connection in list(self.connections.values()):
            if connection.waiting is not None:
                connection.waiting.cancel()
            connection.close()
        self.epoll.close()
        self._listener.close()

    def admit(self, descriptor: int, now: float) -> HttpConnection:
        """Takes in a connection, not blocking, and lets the one longest without a request go if there are too many."""
        if len(self.connections) >= self._connections_max:
            self._make_room()
        connection = HttpConnection(descriptor, self, now)
        self.connections[descriptor] = connection
        self.epoll.register(descriptor, select.EPOLLIN)
        return connection

    def dismiss(self, connection: HttpConnection) -> None:
        del self.connections[connection.descriptor]

    def date(self, now: float) -> bytes:
        """The Date header line, made once a second."""
        if self._date[0] != int(now):
            self._date = int(now), f"Date: {formatdate(int(now), usegmt=True)}\r\n".encode()
        return self._date[1]

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
                descriptor, _source = self._listener.take()
            except BlockingIOError:
                return
            except OSError as error:  # the peer is gone again; or descriptors ran out, and one has to make room
                log.warning("http door: no connection accepted: %s", error)
                if self.connections:
                    self._make_room()
                return
            self.admit(descriptor, now).readable(now)

    def _make_room(self) -> None:
        next(iter(self.connections.values())).close()

    def _sweep(self) -> None:
        now = time()
        for connection in [connection for connection in self.connections.values() if connection.deadline < now]:
            connection.overdue(now)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
