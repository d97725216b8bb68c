"""A load over TCP: many connections, one outstanding request on each, from one thread."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from itertools import islice

from benchmarks.load.datagrams import Turn

# What is known of an answer from the octets that came so far: None not whole yet, True right, False something else.
Judge = Callable[[bytes], bool | None]

_STUCK_SECONDS = 5.0


def http_judge(status: int) -> Judge:
    """Answers with this status and a Content-Length."""
    wanted = str(status).encode()

    def judge(octets: bytes) -> bool | None:
        head_end = octets.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        at = octets.find(b"ontent-", 0, head_end)
        while at >= 0 and octets[at + 7 : at + 15].lower() != b"length: ":
            at = octets.find(b"ontent-", at + 7, head_end)
        if at < 0:
            return False
        length = int(octets[at + 15 : octets.index(b"\r", at)])
        return octets[9:12] == wanted if len(octets) >= head_end + 4 + length else None

    return judge


def handle_judge(octets: bytes) -> bool | None:
    """A Handle message with response code 1, success."""
    if len(octets) < 28 or len(octets) < 20 + int.from_bytes(octets[16:20], "big"):
        return None
    return octets[27] == 1


def kept_open(address: tuple[str, int], requests: Sequence[bytes], judge: Judge, connections: int) -> Turn:
    """Sends every request once, over connections that stay open for the whole turn."""
    return _run(address, requests, judge, connections, one_each=False)


def one_each(address: tuple[str, int], requests: Sequence[bytes], judge: Judge, connections: int) -> Turn:
    """Sends every request over a connection of its own, `connections` at a time."""
    return _run(address, requests, judge, connections, one_each=True)


def _run(address: tuple[str, int], requests: Sequence[bytes], judge: Judge, connections: int, *, one_each: bool) -> Turn:
    pending = iter(requests)
    waiting: dict[int, tuple[socket.socket, bytes]] = {}  # descriptor -> connection, what came of the answer so far
    right = wrong = 0
    began = time.perf_counter()
    with select.epoll() as poll:

        def send(request: bytes, over: socket.socket | None = None) -> None:
            if over is None:
                over = _connected(address)
                poll.register(over, select.EPOLLIN)
            over.send(request)  # a request here is far smaller than a socket's buffer
            waiting[over.fileno()] = (over, b"")

        for request in islice(pending, connections):
            send(request)
        while waiting and (ready := poll.poll(_STUCK_SECONDS)):
            for descriptor, _ in ready:
                over, had = waiting[descriptor]
                octets = over.recv(65_536)
                verdict = judge(had + octets if had else octets) if octets else False
                if verdict is None:
                    waiting[descriptor] = (over, had + octets)
                    continue
                right, wrong = (right + 1, wrong) if verdict else (right, wrong + 1)
                del waiting[descriptor]
                following = next(pending, None)
                if one_each or following is None or not octets:
                    over.close()
                if following is not None:
                    send(following, None if over.fileno() < 0 else over)
        for over, _ in waiting.values():
            over.close()
    return Turn(right, wrong, len(requests) - right - wrong, time.perf_counter() - began)


def _connected(address: tuple[str, int]) -> socket.socket:
    made = socket.create_connection(address, timeout=_STUCK_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
