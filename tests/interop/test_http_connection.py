"""The HTTP door's loop over raw sockets: order, halves, bounds, slow and rude peers."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from resolver.core.limits import Limits
from resolver.doors.http_reply import TEXT, Headers, HttpAnswer, HttpReply, reply
from resolver.metrics import Metrics
from resolver.server.http_connection import HttpConnection, http_server
from resolver.server.tcp import StreamServer, bind_stream

SECONDS = 30.0  # for whatever a test waits for


class Parrot:
    """Answers with the target. `/slow` waits for the gate, `/big` is 400,000 octets, `/boom` is a bug, later or at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[tuple[bytes, bytes, Headers]] = []

    def answer(self, method: bytes, target: bytes, headers: Headers, _now: float) -> HttpAnswer:
        self.asked.append((method, target, headers))
        match target:
            case b"/boom":
                raise RuntimeError("a bug in a door")
            case b"/slow" | b"/slow-boom":
                return self._later(target)
            case b"/big":
                return reply(200, b"x" * 400_000, TEXT)
            case _:
                return reply(200, target, TEXT)

    async def _later(self, target: bytes) -> HttpReply:
        await self.gate.wait()
        if target == b"/slow-boom":
            raise RuntimeError("a bug in a door")
        return reply(200, b"slow done", TEXT)


class Peer:
    """A raw connection to the served parrot."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def head(self) -> tuple[int, dict[str, str]]:
        octets = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SECONDS)
        status, *lines = octets.decode("latin-1").rstrip().split("\r\n")
        return int(status.split()[1]), {name.lower(): content for name, _, content in (line.partition(": ") for line in lines)}

    async def answer(self) -> tuple[int, bytes]:
        status, headers = await self.head()
        return status, await asyncio.wait_for(self.reader.readexactly(int(headers["content-length"])), SECONDS)

    async def refusal(self) -> tuple[int, str]:
        """A problem document, and then the end of the connection."""
        status, headers = await self.head()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        body = json.loads(await asyncio.wait_for(self.reader.read(), SECONDS))
        assert body["status"] == status
        return status, body["detail"]

    async def ended(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), SECONDS) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def served(**bounds: int) -> AsyncIterator[tuple[Parrot, StreamServer, "Callable[[], asyncio.Future[Peer]]"]]:
    parrot = Parrot()
    listener = bind_stream("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = http_server(listener, parrot, Metrics(), Limits(bounds))
    server.start()
    peers: list[Peer] = []

    async def connect() -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
        peers.append(peer)
        return peer

    try:
        yield parrot, server, lambda: asyncio.ensure_future(connect())
    finally:
        server.close()
        for peer in peers:
            peer.writer.close()
        await asyncio.sleep(0)


def get(target: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *lines, "", ""]).encode("latin-1")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for is on the other side of a socket
            await asyncio.sleep(0.005)


# ---- requests one after another


async def test_answers_come_in_the_order_of_the_questions() -> None:
    async with served() as (parrot, _, connect):
        peer = await connect()
        peer.send(b"".join([get("/1"), get("/slow"), get("/2"), get("/slow"), get("/3")]))
        assert await peer.answer() == (200, b"/1")
        await until(lambda: len(parrot.asked) == 2)
        parrot.gate.set()
        assert [(await peer.answer())[1] for _ in range(4)] == [b"slow done", b"/2", b"slow done", b"/3"]


async def test_a_request_in_pieces_of_one_octet() -> None:
    async with served() as (_, _, connect):
        peer = await connect()
        for octet in get("/a", "X-Long: " + "y" * 100) + get("/b"):
            peer.send(bytes((octet,)))
            await asyncio.sleep(0)
        assert [await peer.answer() for _ in range(2)] == [(200, b"/a"), (200, b"/b")]


async def test_empty_lines_before_a_request_are_ignored() -> None:
    async with served() as (_, _, connect):
        peer = await connect()
        peer.send(b"\r\n\r\n" + get("/a") + b"\r\n" + get("/b"))
        assert [await peer.answer() for _ in range(2)] == [(200, b"/a"), (200, b"/b")]


async def test_names_of_headers_have_no_case_and_repeated_ones_are_joined() -> None:
    async with served() as (parrot, _, connect):
        peer = await connect()
        peer.send(get("/a", "ACCEPT: one", "accept: two"))
        await peer.answer()
        assert parrot.asked[0][2][b"accept"] == b"one, two"


@pytest.mark.parametrize(
    ("request_", "connection"),
    [
        (get("/a"), None),
        (get("/a", "Connection: close"), "close"),
        (b"GET /a HTTP/1.0\r\n\r\n", "close"),
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive"),
        (get("/a", "Connection: Upgrade", "Upgrade: websocket"), "close"),
    ],
)
async def test_a_connection_lasts_as_the_client_wants(request_: bytes, connection: str | None) -> None:
    async with served() as (_, _, connect):
        peer = await connect()
        peer.send(request_)
        status, headers = await peer.head()
        assert (status, headers.get("connection")) == (200, connection)
        assert "date" in headers
        assert await peer.reader.readexactly(2) == b"/a"
        if connection == "close":
            assert await peer.ended()
        else:
            peer.send(get("/b"))
            assert await peer.answer() == (200, b"/b")


async def test_head_has_the_length_and_no_body() -> None:
    async with served() as (_, _, connect):
        peer = await connect()
        peer.send(b"HEAD /abc HTTP/1.1\r\nHost: x\r\n\r\n" + get("/b"))
        status, headers = await peer.head()
        assert (status, headers["content-length"]) == (200, "4")
        assert await peer.answer() == (200, b"/b")


async def test_who_stops_sending_still_gets_the_answers() -> None:
    async with served() as (parrot, _, connect):
        peer = await connect()
        peer.send(get("/slow") + get("/b"))
        peer.writer.write_eof()
        await until(lambda: len(parrot.asked) == 1)
        parrot.gate.set()
        assert [await peer.answer() for _ in range(2)] == [(200, b"slow done"), (200, b"/b")]
        assert await peer.ended()


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + get("/smuggled"),
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + get("/smuggled"),
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\nExpect: 100-continue\r\n\r\n" + b"z" * 300_000,
    ],
)
async def test_a_body_is_read_away_and_never_taken_for_a_request(request_: bytes) -> None:
    async with served() as (parrot, _, connect):
        peer = await connect()
        peer.send(get("/before") + request_)
        assert await peer.answer() == (200, b"/before")
        status, headers = await peer.head()
        assert (status, headers["connection"]) == (200, "close")
        assert await asyncio.wait_for(peer.reader.read(), SECONDS) == b"/a"
        assert [target for _, target, _ in parrot.asked] == [b"/before", b"/a"]


# ---- what is no request


@pytest.mark.parametrize(
    ("octets", "status", "told"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "this is not HTTP"),
        (b"\x00\x00\x00\x18", 400, "this is not HTTP"),
        (b"hello\n", 400, "the request line must be"),
        (b"GET /a b HTTP/1.1\r\n", 400, "the request line must be"),
        (b"GET /a HTTP/1.1\nHost: x\n\n", 400, "the request line must be"),
        (b"GET /a HTTP/1.1\r\nHost x\r\n\r\n", 400, "breaks HTTP/1.1"),
        (b"GET /a HTTP/1.1\r\nHo st: x\r\n\r\n", 400, "breaks HTTP/1.1"),
        (b"GET /a HTTP/7.1\r\nHost: x\r\n\r\n", 400, "breaks HTTP/1.1"),
        (b"GET /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\nHost: x\r\n\r\n", 400, "breaks HTTP/1.1"),
        (b"GET /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n", 400, "breaks HTTP/1.1"),
        (b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", 501, "there is no such method"),
        (b"GET /a HTTP/1.1\r\nAccept: x\r\n\r\n", 400, "must have a Host header"),
        (b"GET /" + b"a" * 20_000, 414, "the target is too long"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4000, 431, "at most 16384 octets"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431, "at most 16384 octets"),
    ],
)
async def test_what_is_no_request_is_told_so(octets: bytes, status: int, told: str) -> None:
    async with served() as (parrot, server, connect):
        peer = await connect()
        peer.send(octets)
        found, detail = await peer.refusal()
        assert found == status
        assert told in detail
        assert not parrot.asked
        assert server.metrics.total("query", "http", "malformed") == 1


async def test_a_bug_in_a_door_is_an_answer_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as (parrot, _, connect):
        parrot.gate.set()
        peer = await connect()
        peer.send(get("/boom") + get("/slow-boom") + get("/fine"))
        assert [(await peer.answer())[0] for _ in range(3)] == [500, 500, 200]
        assert len([record for record in caplog.records if "broke the door" in record.message]) == 2


# ---- bounds


async def test_a_request_that_does_not_become_whole_is_ended() -> None:
    async with served(connection_first_seconds=1) as (_, server, connect):
        begun, silent, dripping = await connect(), await connect(), await connect()
        begun.send(b"GET /a HTTP/1.1\r\nHost:")

        async def drip() -> None:
            for octet in get("/a", "X: " + "y" * 10_000):
                dripping.send(bytes((octet,)))
                await asyncio.sleep(0.05)

        dripper = asyncio.create_task(drip())
        assert (await begun.refusal())[0] == 408
        assert (await dripping.refusal())[0] == 408
        dripper.cancel()
        assert await silent.ended()  # the kernel shows it only after a while: it has sent nothing
        await until(lambda: len(server) == 0)


async def test_a_later_request_has_no_longer_to_become_whole() -> None:
    async with served(connection_first_seconds=1) as (_, _, connect):
        peer = await connect()
        peer.send(get("/a"))
        assert await peer.answer() == (200, b"/a")
        peer.send(b"GET /b HTTP/1.1\r\n")
        assert (await peer.refusal())[0] == 408


async def test_an_idle_connection_is_ended() -> None:
    async with served(connection_idle_seconds=1) as (_, server, connect):
        peer = await connect()
        peer.send(get("/a"))
        assert await peer.answer() == (200, b"/a")
        assert await peer.ended()
        assert len(server) == 0


async def test_one_connection_too_many_ends_the_longest_idle_one() -> None:
    async with served(connections=16) as (_, server, connect):
        peers = [await connect() for _ in range(16)]
        for peer in peers:
            peer.send(get("/a"))
            await peer.answer()
        peers[0].send(get("/again"))
        await peers[0].answer()
        newest = await connect()
        newest.send(get("/new"))
        assert await newest.answer() == (200, b"/new")
        assert await peers[1].ended()
        peers[0].send(get("/still"))
        assert await peers[0].answer() == (200, b"/still")
        assert len(server) == 16


async def test_a_peer_that_does_not_read_is_not_answered_further_and_then_ended() -> None:
    async with served(connection_first_seconds=1, connection_out_octets=65_536) as (parrot, server, _):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            await loop.sock_sendall(sock, get("/big") * 200)
            await until(lambda: len(parrot.asked) > 0)
            await until(lambda: len(server) == 0)
            assert len(parrot.asked) < 60, "answers were made that nobody reads"
        finally:
            sock.close()


async def test_a_peer_that_reads_slowly_gets_it_all() -> None:
    async with served(connection_out_octets=65_536) as (_, _, connect):
        peer = await connect()
        peer.send(get("/big") * 8 + get("/end"))
        for _ in range(8):
            status, body = await peer.answer()
            assert (status, len(body)) == (200, 400_000)
        assert await peer.answer() == (200, b"/end")


async def test_pipelined_requests_wait_without_being_read_without_bound() -> None:
    async with served() as (parrot, server, connect):
        peer = await connect()
        peer.send(get("/slow"))
        await until(lambda: len(parrot.asked) == 1)
        flood = asyncio.create_task(_flood(peer))
        await asyncio.sleep(0.2)
        assert not flood.done(), "the server took in what it cannot answer yet"
        assert all(isinstance(c, HttpConnection) and len(c._buffer) < 150_000 for c in server.connections.values())
        parrot.gate.set()
        assert (await peer.answer())[1] == b"slow done"
        assert (await peer.answer())[1] == b"/a"
        flood.cancel()


async def _flood(peer: Peer) -> None:
    requests = get("/a") * 1000
    for _ in range(2000):
        peer.send(requests)
        await peer.writer.drain()
