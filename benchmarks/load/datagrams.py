"""A load of questions over UDP that a Python client can keep up: whole batches in one system call each way.

A turn's questions are made beforehand. `sendmmsg` and `recvmmsg` carry up to 64 datagrams a call, so that the client costs less
for a question than the fastest server here, and the server always has some waiting: its CPU per answer is then that of a busy
server, the same for every subject. At most `window` questions are outstanding. Answers are counted by looking at all answers of
a batch at once, an octet of each: `Expected` says which.
"""

import ctypes
import select
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

BATCH = 64
_ROOM_OCTETS = 2048  # for one answer
_SOCKET_OCTETS = 4 * 2**20
_LOST_AFTER_SECONDS = 0.25

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr of sendmsg(2)
    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("iovec", ctypes.c_void_p), ("iovecs", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):  # struct mmsghdr of sendmmsg(2)
    _fields_ = (("header", _Header), ("octets", ctypes.c_uint32))


class Expected(NamedTuple):
    """What a right answer looks like, read at fixed places of its datagrams.

    `code` must be found at offset `code_at` (under `code_mask`) of the answer's first datagram; an answer comes in `fragments`
    datagrams, each with its number at offset `number_at`.
    """

    code_at: int
    code: int
    code_mask: int = 0xFF
    fragments: int = 1
    number_at: int = 0


class Turn(NamedTuple):
    """One measured stretch of load."""

    answers: int
    wrong: int
    lost: int
    seconds: float


class DatagramLoad:
    """A client of one server, for all its turns."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_OCTETS)
        self._socket.connect(address)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._room = ctypes.create_string_buffer(BATCH * _ROOM_OCTETS)
        start = ctypes.addressof(self._room)
        self._answers, self._kept = _messages([(start + i * _ROOM_OCTETS, _ROOM_OCTETS) for i in range(BATCH)])

    def close(self) -> None:
        self._socket.close()

    def first(self, question: bytes, seconds: float = 1.0) -> bytes:
        """The first datagram that comes back for one question, empty if none does within `seconds`."""
        self._drop_waiting()
        self._socket.send(question)
        return self._socket.recv(65_535) if self._poll.poll(seconds * 1000) else b""

    def ask(self, question: bytes) -> list[bytes]:
        """All datagrams that come back for one question: to look at an answer before counting thousands like it."""
        found = [self.first(question)]
        while self._poll.poll(50):
            found.append(self._socket.recv(65_535))
        return found

    def turn(self, questions: Sequence[bytes], expected: Expected, window: int) -> Turn:
        """Asks every question once and counts the answers."""
        text = b"".join(questions)
        octets = ctypes.create_string_buffer(text, len(text))
        position, places = ctypes.addressof(octets), []
        for question in questions:
            places.append((position, len(question)))
            position += len(question)
        outgoing, kept = _messages(places)
        self._drop_waiting()
        began = time.perf_counter()
        counted = self._run(outgoing, len(questions), expected, window)
        seconds = time.perf_counter() - began
        del kept
        return Turn(*counted, seconds)

    def _run(self, outgoing: ctypes.Array[_Message], total: int, expected: Expected, window: int) -> tuple[int, int, int]:
        descriptor, room = self._socket.fileno(), self._room
        last, mask, code = expected.fragments - 1, expected.code_mask, expected.code
        right_octets = bytes(octet for octet in range(256) if octet & mask == code)
        right = wrong = done = sent = lost = 0
        stride = ctypes.sizeof(_Message)
        first_out = ctypes.addressof(outgoing)
        while done + lost < total:
            batch = min(BATCH, total - sent, window - (sent - done - lost))
            if batch > 0:
                sent += max(0, _libc.sendmmsg(descriptor, ctypes.c_void_p(first_out + sent * stride), batch, 0))
            received = _libc.recvmmsg(descriptor, self._answers, BATCH, socket.MSG_DONTWAIT, None)
            if received > 0:
                octets = ctypes.string_at(room, received * _ROOM_OCTETS)
                codes = octets[expected.code_at :: _ROOM_OCTETS][:received]
                if last:
                    numbers = octets[expected.number_at :: _ROOM_OCTETS][:received]
                    done += numbers.count(last)
                    codes = bytes(code for code, number in zip(codes, numbers, strict=True) if not number)
                else:
                    done += received
                good = len(codes) - len(codes.translate(None, right_octets))
                right += good
                wrong += len(codes) - good
            elif (sent == total or sent - done - lost >= window) and not self._poll.poll(_LOST_AFTER_SECONDS * 1000):
                lost = sent - done
        return right, wrong, lost

    def _drop_waiting(self) -> None:
        while self._poll.poll(0):
            self._socket.recv(65_535)


def _messages(places: Sequence[tuple[int, int]]) -> tuple[ctypes.Array[_Message], object]:
    """Message headers over pieces of memory (address, octets), and what must be kept alive with them."""
    vectors = (_Iovec * len(places))(*(_Iovec(start, octets) for start, octets in places))
    start, size = ctypes.addressof(vectors), ctypes.sizeof(_Iovec)
    messages = (_Message * len(places))()
    for number, message in enumerate(messages):
        message.header.iovec, message.header.iovecs = start + number * size, 1
    return messages, vectors
