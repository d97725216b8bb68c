"""The datagram and stream loops over real sockets, with a door whose protocol is one octet of length and that many octets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from resolver.core.errors import FormatError
from resolver.core.limits import Limits
from resolver.doors import Ready, Reply
from resolver.metrics import Metrics
from resolver.server.message_connection import message_server
from resolver.server.tcp import StreamServer, bind_stream
from resolver.server.udp import DatagramServer, bind_datagram

SECONDS = 20.0  # for whatever a test waits for


class Parrot:
    """Repeats a message. `slow` messages wait, `big` ones are answered with much, `boom` is a bug, a zero length is malformed."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.answered = 0

    def message_octets(self, buffer: bytes) -> int:
        if buffer[0] == 0:
            raise FormatError("a message has at least one octet")
        return 1 + buffer[0]

    def answer_stream(self, message: bytes, _source: tuple[Any, ...], _now: float) -> Reply:
        self.answered += 1
        body = message[1:]
        if message[0] == 0:
            return b"malformed"
        if body == b"boom":
            raise RuntimeError("a bug in a door")
        if body == b"slow":
            return self._later()
        if body == b"big":
            return b"x" * 400_000
        return body

    def answer_datagram(self, packet: bytes, source: tuple[Any, ...], now: float) -> Reply:
        return (b"one", b"two") if packet == b"\x05pair" else None if packet == b"drop" else self.answer_stream(packet, source, now)

    async def _later(self) -> Ready:
        await self.gate.wait()
        return b"slow done"


@asynccontextmanager
async def stream(door: Parrot, **bounds: int) -> AsyncIterator[tuple[StreamServer, int]]:
    listener = bind_stream("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = message_server(listener, "handle-tcp", door, Metrics(), Limits(bounds))
    server.start()
    yield server, port
    server.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.01)


async def test_many_requests_on_one_connection_in_pieces() -> None:
    async with stream(Parrot()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (b"\x05he", b"llo\x02ab\x01", b"c"):
            writer.write(piece)
            await asyncio.sleep(0.02)
        assert await reader.readexactly(8) == b"helloabc"
        writer.close()


async def test_a_peer_that_shuts_its_sending_side_still_gets_its_answers() -> None:
    door = Parrot()
    async with stream(door) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x04slow\x02ab")
        writer.write_eof()
        await until(lambda: door.answered == 2)
        door.gate.set()
        assert await reader.read() == b"abslow done"
        writer.close()
        await until(lambda: len(server) == 0)


async def test_malformed_octets_get_the_doors_refusal_and_the_end() -> None:
    async with stream(Parrot()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x02ok\x00garbage")
        assert await reader.read() == b"okmalformed"
        writer.close()
        await until(lambda: len(server) == 0)


async def test_a_peer_that_does_not_read_is_not_answered_further() -> None:
    door = Parrot()
    async with stream(door, connection_out_octets=65_536) as (_, port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"\x03big" * 200)
            await asyncio.sleep(0.3)
            assert door.answered < 100, "answers pile up for a peer that reads none"
            received = 0
            while received < 400_000 * 200:
                received += len(await asyncio.wait_for(loop.sock_recv(sock, 2**20), SECONDS))
            assert received == 400_000 * 200
            assert door.answered == 200


async def test_the_connection_longest_without_a_message_makes_room() -> None:
    async with stream(Parrot(), connections=16) as (server, port):
        peers = []
        for number in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x01" + bytes((65 + number,)))
            assert await reader.readexactly(1) == bytes((65 + number,))
            peers.append((reader, writer))
        assert len(server) == 16
        assert [await reader.read() for reader, _ in peers[:4]] == [b""] * 4
        peers[19][1].write(b"\x01z")
        assert await peers[19][0].readexactly(1) == b"z"
        for _, writer in peers:
            writer.close()


async def test_half_a_message_is_waited_for_no_longer_than_the_bound() -> None:
    async with stream(Parrot(), connection_first_seconds=1) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x05he")
        assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        writer.close()
        assert len(server) == 0


async def test_a_bug_in_a_door_ends_one_connection_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with stream(Parrot()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x04boom")
        assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x02ok")
        assert await reader.readexactly(2) == b"ok"
        writer.close()
    assert "broke the handle-tcp door" in caplog.text


async def test_a_peer_that_vanishes_while_its_answer_is_sought() -> None:
    door = Parrot()
    async with stream(door) as (server, port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"\x04slow")
        await until(lambda: door.answered == 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a farewell
        sock.close()
        await until(lambda: len(server) == 0)
        door.gate.set()
        await asyncio.sleep(0.05)


async def test_datagrams_one_several_none_and_late(caplog: pytest.LogCaptureFixture) -> None:
    door = Parrot()
    sock = bind_datagram("127.0.0.1", 0)
    port = sock.getsockname()[1]
    metrics = Metrics()
    server = DatagramServer(sock, "handle-udp", door.answer_datagram, metrics, Limits())
    server.start()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    for packet in (b"\x04slow", b"drop", b"\x04boom", b"\x05pair", b"\x02ok"):
        client.send(packet)
    received = [await asyncio.wait_for(loop.sock_recv(client, 100), SECONDS) for _ in range(3)]
    assert received == [b"one", b"two", b"ok"]
    door.gate.set()
    assert await asyncio.wait_for(loop.sock_recv(client, 100), SECONDS) == b"slow done"
    assert "broke the handle-udp door" in caplog.text
    assert metrics.total("query", "handle-udp", "failed") == 1
    client.close()
    server.close()


@pytest.mark.parametrize("piece_octets", [0, 512])
async def test_a_reply_in_pieces_arrives_in_pieces(piece_octets: int) -> None:
    """Whether the kernel cuts it, or, as with more than 64 pieces, we do."""
    replies = [(*(bytes((n,)) * 512 for n in range(pieces - 1)), b"the last") for pieces in (2, 3, 64, 65)]
    sock = bind_datagram("127.0.0.1", 0)
    answers = iter(replies)
    server = DatagramServer(sock, "handle-udp", lambda *_: next(answers), Metrics(), Limits(), piece_octets)
    server.start()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(sock.getsockname())
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    for reply in replies:
        client.send(b"question")
        assert tuple([await asyncio.wait_for(loop.sock_recv(client, 70_000), SECONDS) for _ in reply]) == reply
    client.close()
    server.close()


async def test_no_more_questions_wait_than_the_bound() -> None:
    door = Parrot()
    sock = bind_datagram("127.0.0.1", 0)
    metrics = Metrics()
    server = DatagramServer(sock, "dns-udp", door.answer_datagram, metrics, Limits({"recursion_walks": 1}))
    server.start()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(sock.getsockname())
    for _ in range(10):
        client.send(b"\x04slow")
    await until(lambda: metrics.total("query", "dns-udp", "dropped") == 6)
    client.close()
    server.close()
