"""A datagram door's loop: read until the socket is empty, answer each packet, send.

asyncio's DatagramProtocol costs twice what the answer does, so the socket hangs on the event loop by `add_reader` and is drained
here. What can be answered at once is; a question that must wait for other servers becomes a task, and their number is bounded.

A reply in several datagrams leaves in one system call where the kernel cuts it (UDP_SEGMENT, Linux 4.18): all but the last of them
have the length that the door names. A second call would cost as much as a whole short answer.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import perf_counter, time
from typing import Any, TypeVar

from resolver.core import limits
from resolver.core.limits import Limits
from resolver.doors import Ready, Reply
from resolver.metrics import Metrics, cell

_DATAGRAM_OCTETS = 4096  # more than any bound of a door lets pass
_BURST = 64  # packets read before other sockets get their turn
_BUFFER_OCTETS = 4 * 2**20  # of the kernel: what arrives while Python collects garbage
_UDP_SEGMENT = 103  # linux/udp.h; the socket module does not name it
_SEGMENTS_MAX = 64

Source = tuple[Any, ...]  # what recvfrom returns: host, port, and for IPv6 two more
S = TypeVar("S", bound=socket.socket)
log = logging.getLogger("waymark.udp")


class DatagramServer:
    """Serves one bound UDP socket. `answer` is a door's `answer_datagram` and never raises for anything a packet can hold."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        answer: Callable[[bytes, Source, float], Reply],
        metrics: Metrics,
        bounds: Limits,
        piece_octets: int = 0,
    ) -> None:
        """`piece_octets`: the length of all datagrams but the last of a reply in several, 0 if they differ."""
        self._sock = sock
        self._piece_octets = piece_octets
        self._segments_max = 0  # how many the kernel cuts out of one call
        self._name = name
        self._answer = answer
        self._metrics = metrics
        self._waiting: set[asyncio.Task[None]] = set()
        self._waiting_max = bounds[limits.recursion_walks] * 4
        self._dropped = cell("query", name, "dropped")
        self._failed = cell("query", name, "failed")

    def start(self) -> None:
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        if self._piece_octets:
            with suppress(OSError):  # an older kernel: then one call for each datagram
                self._sock.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, self._piece_octets)
                self._segments_max = _SEGMENTS_MAX
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._drain)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        for task in self._waiting:
            task.cancel()
        self._sock.close()

    def _drain(self) -> None:
        receive, send, answer = self._sock.recvfrom, self._sock.sendto, self._answer
        now, started = time(), perf_counter()
        count = 0
        try:
            while count < _BURST:
                packet, source = receive(_DATAGRAM_OCTETS)
                count += 1
                try:
                    reply = answer(packet, source, now)
                except Exception:
                    self._metrics.cells[self._failed] += 1
                    log.exception("a packet of %d octets from %s broke the %s door", len(packet), source[0], self._name)
                    continue
                if type(reply) is bytes:
                    send(reply, source)
                elif type(reply) is tuple:
                    if len(reply) <= self._segments_max:
                        send(b"".join(reply), source)
                    else:
                        for datagram in reply:
                            send(datagram, source)
                elif reply is not None:
                    assert asyncio.iscoroutine(reply)
                    self._wait_for(reply, source)
        except BlockingIOError:
            pass  # drained, or the kernel's send buffer is full: then the rest of this reply is lost, as datagrams may be
        except OSError as error:
            log.warning("%s door: %s", self._name, error)
        if count:
            self._metrics.observe(self._name, (perf_counter() - started) / count, count)

    def _wait_for(self, reply: Coroutine[Any, Any, Ready], source: Source) -> None:
        if len(self._waiting) >= self._waiting_max:
            reply.close()
            self._metrics.cells[self._dropped] += 1
            return
        task = asyncio.get_running_loop().create_task(self._send_later(reply, source))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _send_later(self, reply: Coroutine[Any, Any, Ready], source: Source) -> None:
        started = perf_counter()
        try:
            ready = await reply
            for datagram in (ready,) if isinstance(ready, bytes) else ready or ():
                self._sock.sendto(datagram, source)
        except OSError as error:
            log.warning("%s door: %s", self._name, error)
        except Exception:
            self._metrics.cells[self._failed] += 1
            log.exception("a question from %s broke the %s door", source[0], self._name)
        self._metrics.observe(self._name, perf_counter() - started)


def bind_datagram(host: str, port: int) -> socket.socket:
    """A UDP socket that other workers may share the address of."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    if port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return bound(sock, host, port)
    bound(sock, host, 0)  # Linux would take a port that is ours to share for a free one, that of another node of the same user
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def bound(sock: S, host: str, port: int) -> S:
    """`sock`, bound; closed if that fails. Raises OSError."""
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
