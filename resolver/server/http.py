"""The HTTP door's loop: accept, cut the stream into requests, answer each in its turn, keep the connection or end it (RFC 9112).

A request is parsed once its whole head is there, one at a time: so a head is bounded by counting, the next request waits while an
answer waits for other servers or for the peer to read, and answers leave in the order of the questions. Parsing itself is
httptools' (llhttp, in its strict mode). No request of this door has a body that means anything; who sends one gets the answer and
then the end of the connection, after its octets were read away for a while, as they would otherwise reset the answer.

Bounds: connections (the one longest without a request goes first), octets of a head, time to a whole head and between requests,
answers that the peer leaves unread.
"""

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Coroutine
from email.utils import formatdate
from time import perf_counter, time
from typing import Any, Protocol

import httptools

from resolver.core import limits
from resolver.core.limits import Limits
from resolver.doors.http_reply import Headers, HttpAnswer, HttpReply, problem
from resolver.metrics import Metrics, cell

_BACKLOG = 1024
_SWEEP_SECONDS = 0.5
_HEAD_END = b"\r\n\r\n"
_KEEP, _KEEP_OLD, _CLOSE = b"\r\n", b"Connection: keep-alive\r\n\r\n", b"Connection: close\r\n\r\n"

# What every connection is read into, and taken out of at once. A plain Protocol has asyncio allocate 256 KiB for each read, which
# the C library takes from the kernel and gives back each time: that costs more than the answer.
_READ = memoryview(bytearray(65_536))

log = logging.getLogger("waymark.http")


class AnsweringDoor(Protocol):
    def answer(self, method: bytes, target: bytes, headers: Headers, now: float) -> HttpAnswer:
        """Never raises for anything a request can hold. The body of the reply is left out here for HEAD."""
        ...


class HttpServer:
    """Serves one TCP socket, bound but not yet listening, through a door."""

    def __init__(self, listener: socket.socket, door: AnsweringDoor, metrics: Metrics, bounds: Limits) -> None:
        self.door = door
        self.metrics = metrics
        self.head_octets_max = bounds[limits.http_head_octets]
        self.body_octets_max = bounds[limits.http_body_octets]
        self.out_octets_max = bounds[limits.connection_out_octets]
        self.idle_seconds = bounds[limits.connection_idle_seconds]
        self.first_seconds = bounds[limits.connection_first_seconds]
        self.connections: OrderedDict[HttpConnection, None] = OrderedDict()  # the longest without a request first
        self._connections_max = bounds[limits.connections]
        self._listener = listener
        self._starting: asyncio.Task[asyncio.Server] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._date = (0, b"")

    def __len__(self) -> int:
        return len(self.connections)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """From here on connections are taken: by the kernel at once, by the event loop as soon as it turns."""
        loop = asyncio.get_running_loop()
        self._listener.listen(_BACKLOG)
        self._starting = loop.create_task(loop.create_server(lambda: HttpConnection(self), sock=self._listener, backlog=_BACKLOG))
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._starting is not None:
            self._starting.add_done_callback(lambda task: None if task.cancelled() else task.result().close())
        for connection in list(self.connections):
            connection.abort()

    def admit(self, connection: "HttpConnection") -> None:
        if len(self.connections) >= self._connections_max:
            next(iter(self.connections)).abort()
        self.connections[connection] = None

    def date(self, now: float) -> bytes:
        """The Date header line, made once a second."""
        if self._date[0] != int(now):
            self._date = int(now), f"Date: {formatdate(int(now), usegmt=True)}\r\n".encode()
        return self._date[1]

    def _sweep(self) -> None:
        now = time()
        for connection in [connection for connection in self.connections if connection.deadline < now]:
            connection.overdue()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)


class HttpConnection(asyncio.BufferedProtocol):
    """One accepted connection. `deadline` ends it unless it is moved on. Also what httptools calls back."""

    _transport: asyncio.Transport

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._buffer = b""
        self._waiting: asyncio.Task[None] | None = None  # an answer that waits for other servers: nothing is parsed meanwhile
        self._blocked = False  # the peer does not read: nothing is parsed meanwhile
        self._ending = False  # nothing more is answered
        self._discarded = 0  # octets read away since then
        self._peer_ended = False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._complete = True  # the last request was read to its end
        self._keep = False
        self.deadline = time() + server.first_seconds

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None

    # ---- asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._server.out_octets_max)
        self._server.admit(self)

    def connection_lost(self, _reason: Exception | None) -> None:
        self._ending = True
        self._server.connections.pop(self, None)

    def get_buffer(self, _size: int) -> memoryview:
        return _READ

    def buffer_updated(self, octets: int) -> None:
        data = bytes(_READ[:octets])
        if self._ending:
            self._discarded += len(data)
            if self._discarded > self._server.body_octets_max:
                self.abort()
            return
        fresh = not self._buffer
        self._buffer = data if fresh else self._buffer + data
        if self._waiting is None and not self._blocked:
            self._work()
            if fresh and self._buffer:  # a request has begun, and has so long to become whole
                self.deadline = min(self.deadline, time() + self._server.first_seconds)
        elif len(self._buffer) > self._server.head_octets_max:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._peer_ended = True
        return self._waiting is not None or self._blocked  # True: answers are still to be written

    def pause_writing(self) -> None:
        self._blocked = True
        self.deadline = time() + self._server.first_seconds

    def resume_writing(self) -> None:
        self._blocked = False
        self._continue()

    # ---- the server calls

    def abort(self) -> None:
        """Ends the connection at once, whatever is still to be read or written."""
        self._ending = True
        self._server.connections.pop(self, None)
        self._transport.abort()

    def overdue(self) -> None:
        if self._waiting is not None:
            return  # a walk has a deadline of its own
        if self._buffer and not self._ending and not self._blocked:
            self._refuse(408, f"the head of this request was not whole within {self._server.first_seconds} s")
        else:
            self.abort()

    # ---- httptools calls

    def on_url(self, url: bytes) -> None:
        self._target = url

    def on_header(self, name: bytes, content: bytes) -> None:
        name = name.lower()
        before = self._headers.get(name)
        self._headers[name] = content if before is None else before + b", " + content

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep = self._parser.should_keep_alive()

    # ---- one request after another

    def _continue(self) -> None:
        """Goes on after something that requests had to wait for."""
        if self._ending:
            return
        self._work()
        if self._waiting is not None or self._blocked or self._ending:
            return
        if self._peer_ended:
            self._transport.close()
        else:
            self._transport.resume_reading()

    def _work(self) -> None:
        now, started, answered = time(), perf_counter(), 0
        while self._buffer and self._waiting is None and not self._blocked and not self._ending:
            if self._buffer[0] in b"\r\n":  # empty lines before a request line are to be ignored (RFC 9112, 2.2)
                self._buffer = self._buffer.lstrip(b"\r\n")
                continue
            end = self._buffer.find(_HEAD_END) + len(_HEAD_END)
            if not len(_HEAD_END) <= end <= self._server.head_octets_max:
                self._check_beginning()
                break
            head, self._buffer = self._buffer[:end], self._buffer[end:]
            self._request(head, now)
            answered += 1
        if answered:
            self._server.metrics.observe("http", (perf_counter() - started) / answered, answered)

    def _check_beginning(self) -> None:
        """Refuses what can never become a request, or would be too long a one."""
        line = self._buffer.partition(b"\n")[0]
        bound = self._server.head_octets_max
        if not self._buffer[:1].isalpha():
            self._refuse(400, "this is not HTTP: a request starts with a method such as GET (plain text, not TLS)")
        elif line != self._buffer and (not line.endswith(b"\r") or line.count(b" ") != 2):
            self._refuse(400, "the request line must be method, target and HTTP/1.1, ended by CR LF")
        elif len(self._buffer) > bound and len(line) > bound // 2:
            self._refuse(414, f"the target is too long; request line and headers have at most {bound} octets together")
        elif len(self._buffer) > bound:
            self._refuse(431, f"the request line and headers are too long; at most {bound} octets are allowed")

    def _request(self, head: bytes, now: float) -> None:
        headers: dict[bytes, bytes] = {}
        self._headers = headers
        self._complete = False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._keep = False  # the offer to speak another protocol is ignored (RFC 9110, 7.8)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(501, "there is no such method; this door answers GET and HEAD")
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"the head of this request breaks HTTP/1.1: {error}")
            return
        method, old = self._parser.get_method(), self._parser.get_http_version() == "1.0"
        if not old and b"host" not in headers:
            self._refuse(400, "an HTTP/1.1 request must have a Host header (RFC 9112, 3.2)")
            return
        if not self._complete:  # a body follows
            self._keep = False
        tail = _CLOSE if not self._keep else _KEEP_OLD if old else _KEEP
        try:
            answer = self._server.door.answer(method, self._target, headers, now)
        except Exception:
            log.exception("%s %.200r broke the door", method, self._target)
            answer = problem(500, "something broke here; the log of this node says what")
        if isinstance(answer, HttpReply):
            self._send(answer, method, tail, now)
        else:
            self._waiting = asyncio.get_running_loop().create_task(self._answer_later(answer, method, tail))

    async def _answer_later(self, answer: Coroutine[Any, Any, HttpReply], method: bytes, tail: bytes) -> None:
        started = perf_counter()
        try:
            ready = await answer
        except Exception:
            log.exception("%s %.200r broke the door", method, self._target)
            ready = problem(500, "something broke here; the log of this node says what")
        self._waiting = None
        if self._ending:
            return
        self._send(ready, method, tail, time())
        self._server.metrics.observe("http", perf_counter() - started)
        self._continue()

    def _send(self, answer: HttpReply, method: bytes, tail: bytes, now: float) -> None:
        body = b"" if method == b"HEAD" else answer.body
        self._transport.write(b"".join((answer.head, self._server.date(now), tail, body)))
        if tail is _CLOSE:
            self._end(now)
        else:
            self.deadline = now + (self._server.first_seconds if self._buffer or self._blocked else self._server.idle_seconds)
            self._server.connections.move_to_end(self)

    def _refuse(self, status: int, detail: str) -> None:
        answer, now = problem(status, detail), time()
        self._server.metrics.cells[_MALFORMED] += 1
        self._send(answer, b"GET", _CLOSE, now)

    def _end(self, now: float) -> None:
        """After the last answer: what the peer still sends is read away, since it would reset the connection before the answer."""
        self._ending = True
        self.deadline = now + self._server.first_seconds
        unread, self._buffer = bool(self._buffer) or not self._complete, b""
        if unread and not self._peer_ended and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()


_MALFORMED = cell("query", "http", "malformed")
