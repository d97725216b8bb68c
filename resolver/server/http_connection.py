"""One HTTP connection: cuts what arrives into requests, answers each in its turn, keeps going or ends (RFC 9112).

A request is parsed once its whole head is there, one at a time: so a head is bounded by counting, the next request waits while an
answer waits for other servers or for the peer to read, and answers leave in the order of the questions. Parsing itself is
httptools' (llhttp, in its strict mode). No request of this door has a body that means anything; who sends one gets the answer and
then the end of the connection, after its octets were read away for a while, as they would otherwise reset the answer.
"""

import asyncio
import logging
import os
import select
import socket
from collections.abc import Coroutine
from email.utils import formatdate
from time import perf_counter, time
from typing import Any, Protocol

import httptools

from resolver.core import limits
from resolver.core.limits import Limits
from resolver.doors.http_reply import Headers, HttpAnswer, HttpReply, problem
from resolver.metrics import Metrics, cell
from resolver.server.tcp import Connection, Listener, Source, StreamServer

_HEAD_END = b"\r\n\r\n"
_KEEP, _KEEP_OLD, _CLOSE = b"\r\n", b"Connection: keep-alive\r\n\r\n", b"Connection: close\r\n\r\n"
_MALFORMED, _FAILED = cell("query", "http", "malformed"), cell("query", "http", "failed")

log = logging.getLogger("waymark.http")


class AnsweringDoor(Protocol):
    def answer(self, method: bytes, target: bytes, headers: Headers, now: float) -> HttpAnswer:
        """Never raises for anything a request can hold. The body of the reply is left out by the connection for HEAD."""
        ...


class Http:
    """What all connections of the door share: the door itself, the bounds of requests, the time of day."""

    def __init__(self, door: AnsweringDoor, bounds: Limits) -> None:
        self.door = door
        self.head_octets_max = bounds[limits.http_head_octets]
        self.body_octets_max = bounds[limits.http_body_octets]
        self._date = (0, b"")

    def date(self, now: float) -> bytes:
        """The Date header line, made once a second."""
        if self._date[0] != int(now):
            self._date = int(now), f"Date: {formatdate(int(now), usegmt=True)}\r\n".encode()
        return self._date[1]


def http_server(listener: Listener, door: AnsweringDoor, metrics: Metrics, bounds: Limits) -> StreamServer:
    """Serves one bound TCP socket through the HTTP door."""
    http = Http(door, bounds)

    def connect(descriptor: int, _source: Source, server: StreamServer, now: float) -> Connection:
        return HttpConnection(descriptor, server, http, now)

    return StreamServer(listener, "http", connect, metrics, bounds)


class HttpConnection(Connection):
    """Its `on_` methods are what httptools calls back."""

    def __init__(self, descriptor: int, server: StreamServer, http: Http, now: float) -> None:
        super().__init__(descriptor, server, now)
        self._http = http
        self.waiting: asyncio.Task[None] | None = None  # an answer that waits for other servers; nothing is parsed meanwhile
        self._parser = httptools.HttpRequestParser(self)
        self._buffer = b""
        self._out = b""
        self._interest = select.EPOLLIN
        self._ending = False  # nothing more is answered
        self._lingering = False  # what still comes is read away
        self._discarded = 0
        self._peer_ended = False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._complete = True  # the last request was read to its end
        self._keep = False

    # ---- the server calls

    def readable(self, now: float) -> None:
        octets = self.receive()
        if octets is None:
            return
        if not octets:
            self._peer_ended = True  # it has said all it wanted to, but may still read
            if self._out or self.waiting is not None:
                self._watch()
            else:
                self.close()
            return
        if self._ending:
            self._discarded += len(octets)
            if self._discarded > self._http.body_octets_max:
                self.close()
            return
        fresh = not self._buffer
        self._buffer = octets if fresh else self._buffer + octets
        if self.waiting is None:
            self._work(now)
            if fresh and self._buffer:  # a request has begun, and has so long to become whole
                self.deadline = min(self.deadline, now + self.server.first_seconds)
        else:
            self._watch()

    def writable(self, now: float) -> None:
        self._flush(now)
        if not self._out:
            self._work(now)

    def overdue(self, now: float) -> None:
        if self.waiting is not None:
            return  # a walk has a deadline of its own
        if self._buffer and not self._ending and not self._out:
            self._refuse(408, f"the head of this request was not whole within {self.server.first_seconds} s", now)
            self._flush(now)
        else:
            self.close()

    def close(self) -> None:
        super().close()
        self._ending = True

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

    def _work(self, now: float) -> None:
        """Answers the whole requests that were read, as long as the peer reads the answers."""
        started, answered = perf_counter(), 0
        while self._buffer and self.waiting is None and not self._ending:
            if self._buffer[0] in b"\r\n":  # empty lines before a request line are to be ignored (RFC 9112, 2.2)
                self._buffer = self._buffer.lstrip(b"\r\n")
                continue
            end = self._buffer.find(_HEAD_END) + len(_HEAD_END)
            if not len(_HEAD_END) <= end <= self._http.head_octets_max:
                self._check_beginning(now)
                break
            head, self._buffer = self._buffer[:end], self._buffer[end:]
            self._request(head, now)
            answered += 1
            if len(self._out) >= self.server.out_octets_max:
                self._flush(now)
                if self._out:
                    break
        self._flush(now)
        if answered:
            self.server.metrics.observe("http", (perf_counter() - started) / answered, answered)

    def _check_beginning(self, now: float) -> None:
        """Refuses what can never become a request, or would be too long a one."""
        line = self._buffer.partition(b"\n")[0]
        bound = self._http.head_octets_max
        if not self._buffer[:1].isalpha():
            self._refuse(400, "this is not HTTP: a request starts with a method such as GET (plain text, not TLS)", now)
        elif line != self._buffer and (not line.endswith(b"\r") or line.count(b" ") != 2):
            self._refuse(400, "the request line must be method, target and HTTP/1.1, ended by CR LF", now)
        elif len(self._buffer) > bound and len(line) > bound // 2:
            self._refuse(414, f"the target is too long; request line and headers have at most {bound} octets together", now)
        elif len(self._buffer) > bound:
            self._refuse(431, f"the request line and headers are too long; at most {bound} octets are allowed", now)

    def _request(self, head: bytes, now: float) -> None:
        headers: dict[bytes, bytes] = {}
        self._headers = headers
        self._complete = False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._keep = False  # the offer to speak another protocol is ignored (RFC 9110, 7.8)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(501, "there is no such method; this door answers GET and HEAD", now)
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"the head of this request breaks HTTP/1.1: {error}", now)
            return
        method, old = self._parser.get_method(), self._parser.get_http_version() == "1.0"
        if not old and b"host" not in headers:
            self._refuse(400, "an HTTP/1.1 request must have a Host header (RFC 9112, 3.2)", now)
            return
        if not self._complete:  # a body follows
            self._keep = False
        tail = _CLOSE if not self._keep else _KEEP_OLD if old else _KEEP
        try:
            answer = self._http.door.answer(method, self._target, headers, now)
        except Exception as error:
            answer = self._broken(method, error)
        if isinstance(answer, HttpReply):
            self._send(answer, method, tail, now)
        else:
            self.waiting = asyncio.get_running_loop().create_task(self._answer_later(answer, method, tail))

    async def _answer_later(self, answer: Coroutine[Any, Any, HttpReply], method: bytes, tail: bytes) -> None:
        started = perf_counter()
        try:
            ready = await answer
        except Exception as error:
            ready = self._broken(method, error)
        self.waiting = None
        if self.is_closed:
            return  # the peer went away meanwhile
        now = time()
        self._send(ready, method, tail, now)
        self.server.metrics.observe("http", perf_counter() - started)
        self._work(now)

    def _broken(self, method: bytes, error: Exception) -> HttpReply:
        """The answer to a request that a bug of ours could not answer."""
        log.error("%s %.200r broke the door", method, self._target, exc_info=error)
        self.server.metrics.cells[_FAILED] += 1
        return problem(500, "something broke here; the log of this node says what")

    def _refuse(self, status: int, detail: str, now: float) -> None:
        self.server.metrics.cells[_MALFORMED] += 1
        self._send(problem(status, detail), b"GET", _CLOSE, now)

    # ---- writing and ending

    def _send(self, answer: HttpReply, method: bytes, tail: bytes, now: float) -> None:
        """Puts an answer behind those that wait to be written; `_flush` writes."""
        whole = b"".join((answer.head, self._http.date(now), tail, b"" if method == b"HEAD" else answer.body))
        self._out = self._out + whole if self._out else whole
        if tail is _CLOSE:
            self._ending = True
            self._lingering = bool(self._buffer) or not self._complete
            self._buffer = b""
            self.deadline = now + self.server.first_seconds
        else:
            self.deadline = now + (self.server.first_seconds if self._buffer else self.server.idle_seconds)
            self.server.connections.move_to_end(self.descriptor)

    def _flush(self, now: float) -> None:
        if self.is_closed:
            return
        if self._out:
            try:
                written = os.write(self.descriptor, self._out)
            except BlockingIOError:
                written = 0
            except OSError:
                self.close()
                return
            self._out = self._out[written:]
            if self._out:
                if self._interest != select.EPOLLOUT or written:  # so long to read on, from each time that it did
                    self.deadline = now + self.server.first_seconds
            elif self._ending:
                self._part()
            elif self._interest == select.EPOLLOUT:  # it has read everything at last
                self.deadline = now + (self.server.first_seconds if self._buffer else self.server.idle_seconds)
        if not self._out and self._peer_ended and self.waiting is None:
            self.close()
        elif not self.is_closed:
            self._watch()

    def _part(self) -> None:
        """After the last answer."""
        if not self._lingering or self._peer_ended:
            self.close()
            return
        sock = socket.socket(fileno=self.descriptor)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone: reading will say so
        finally:
            sock.detach()

    def _watch(self) -> None:
        """Tells epoll what to wait for: room to write, or else octets to read, unless there are enough of them already."""
        if self._out:
            interest = select.EPOLLOUT
        elif self._peer_ended or (self.waiting is not None and len(self._buffer) > self._http.head_octets_max):
            interest = 0
        else:
            interest = select.EPOLLIN
        if interest != self._interest:
            self._interest = interest
            self.server.epoll.modify(self.descriptor, interest)
