"""A load over TCP: many connections, one outstanding request on each, from one thread."""

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
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
    sockets = [_connected(address) for _ in range(connections)]
    try:
        return _run(sockets, requests, judge, lambda spent: spent)
    finally:
        for open_socket in sockets:
            open_socket.close()


def one_each(address: tuple[str, int], requests: Sequence[bytes], judge: Judge, connections: int) -> Turn:
    """Sends every request over a connection of its own, `connections` at a time."""

    def fresh(spent: socket.socket) -> socket.socket:
        spent.close()
        return _connected(address)

    return _run([_connected(address) for _ in range(connections)], requests, judge, fresh)


def _run(
    sockets: Sequence[socket.socket], requests: Sequence[bytes], judge: Judge, after: Callable[[socket.socket], socket.socket]
) -> Turn:
    poll = select.epoll()
    waiting: dict[int, tuple[socket.socket, bytes]] = {}
    pending: Iterator[bytes] = iter(requests)
    right = wrong = 0

    def send(over: socket.socket, request: bytes) -> None:
        over.send(request)  # a request here is far smaller than a socket's buffer
        waiting[over.fileno()] = (over, b"")

    began = time.perf_counter()
    for over, request in zip(sockets, islice(pending, len(sockets)), strict=False):
        poll.register(over, select.EPOLLIN)
        send(over, request)
    while waiting:
        ready = poll.poll(_STUCK_SECONDS)
        if not ready:
            break
        for descriptor, _ in ready:
            over, had = waiting[descriptor]
            octets = over.recv(65_536)
            verdict = judge(had + octets if had else octets) if octets else False
            if verdict is None:
                waiting[descriptor] = (over, had + octets)
                continue
            right, wrong = (right + 1, wrong) if verdict else (right, wrong + 1)
            del waiting[descriptor]
            for following_request in islice(pending, 1):
                following = after(over)
                if following is not over:
                    poll.register(following, select.EPOLLIN)
                send(following, following_request)
    seconds = time.perf_counter() - began
    poll.close()
    return Turn(right, wrong, len(requests) - right - wrong, seconds)


def _connected(address: tuple[str, int]) -> socket.socket:
    made = socket.create_connection(address, timeout=_STUCK_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
