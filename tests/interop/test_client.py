"""The client over real sockets, against servers that lose, spoil, forge and delay."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import pytest

from registry.ports import free_ports
from resolver.client import Client
from resolver.core.errors import FormatError, OverloadError, UnreachableError
from resolver.core.exchange import TCP, UDP, Endpoint, Told
from resolver.core.identifier import Identifier
from resolver.core.record import Value
from resolver.core.wire.bodies import (
    ReferralResponse,
    ResolutionResponse,
    encode_error,
    encode_referral,
    encode_resolution_response,
)
from resolver.core.wire.fragments import Reassembler, fragment
from resolver.core.wire.handle import (
    AUTHORITATIVE,
    RECURSIVE,
    REQUEST_DIGEST,
    Message,
    Op,
    decode_message,
    encode_message,
    request_digest,
)

NAME = Identifier.parse("88.118/ABC")
VALUES = (Value(1, "URL", b"https://example.org/", timestamp=1), Value(2, "DESC", bytes(1200), timestamp=1))
LATER = 2**31
Answering = Callable[[bytes], Iterable[bytes]]  # a request to the datagrams (or parts of a stream) that answer it


def reply(request: bytes, values: tuple[Value, ...] = VALUES, name: bytes = NAME.key, body: bytes = b"", **fields: int) -> bytes:
    """A true answer to `request`; fields of the message may be replaced."""
    asked = decode_message(request)
    digest = request_digest((2, 11), request)
    body = digest + (body or encode_resolution_response(ResolutionResponse(name, values)))
    response = Message(Op.RESOLUTION, body, 1, AUTHORITATIVE | REQUEST_DIGEST, asked.request_id, expires=LATER)
    return encode_message(response._replace(**fields))  # type: ignore[arg-type]


@asynccontextmanager
async def udp_server(answering: Answering) -> AsyncIterator[Endpoint]:
    loop = asyncio.get_running_loop()
    pieces = Reassembler(8, 5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))

        def readable() -> None:
            packet, source = sock.recvfrom(65_535)
            request = pieces.add(source, packet, 0.0)
            if request is not None:
                for datagram in answering(request):
                    sock.sendto(datagram, source)

        loop.add_reader(sock, readable)
        try:
            yield Endpoint(UDP, "127.0.0.1", sock.getsockname()[1])
        finally:
            loop.remove_reader(sock)


@asynccontextmanager
async def tcp_server(answering: Answering) -> AsyncIterator[Endpoint]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(20)
        request = head + await reader.readexactly(int.from_bytes(head[16:], "big"))
        for part in answering(request):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Endpoint(TCP, "127.0.0.1", server.sockets[0].getsockname()[1])


async def ask(endpoint: Endpoint, name: Identifier = NAME, patience: float = 10, **options: bool) -> Told:
    before = open_files()
    try:
        return await Client().ask(name, endpoint, patience, **options)
    finally:
        for _ in range(500):  # the server in this process closes its side a moment later
            if open_files() <= before:
                break
            await asyncio.sleep(0.01)
        assert open_files() <= before, "no socket is left behind"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


TRUE = Told(1, NAME, VALUES)


def noisy(request: bytes) -> list[bytes]:
    """The answer, after everything that is not it."""
    true = reply(request)
    number = int.from_bytes(request[8:12], "big")
    return [
        b"", b"x", bytes(19), bytes(600),
        request,
        reply(request, request_id=(number + 1) % 2**32),
        reply(request)[:40],
        reply(request, flags=AUTHORITATIVE),
        reply(request, expires=1),
        reply(request, code=0),
        reply(request, op=2),
        reply(request, body=b"\xff" * 40),
        reply(request, name=b"no slash"),
        reply(request, code=303, body=b"\xff" * 40),
        encode_message(decode_message(true)._replace(body=b"\x03" + bytes(32) + decode_message(true).body[33:])),
        *fragment(true),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "answering",
    [
        lambda request: fragment(reply(request)),
        lambda request: fragment(reply(request), truncated=True),
        lambda request: fragment(reply(request))[::-1],
        lambda request: [piece for piece in fragment(reply(request)) for _ in range(2)],
        lambda request: [reply(request)],
        noisy,
    ],
    ids=["in order", "marked as pieces", "backwards", "each twice", "one large datagram", "among noise"],
)
async def test_an_answer_over_udp(answering: Answering) -> None:
    async with udp_server(answering) as endpoint:
        assert await ask(endpoint) == TRUE


@pytest.mark.parametrize(
    ("answering", "error", "text"),
    [
        (lambda _: [], UnreachableError, "did not answer within 0.5 s"),
        (lambda request: fragment(reply(request))[1:], FormatError, "only some datagrams"),
        (lambda request: [reply(request, request_id=7)], UnreachableError, "did not answer"),
        (lambda request: [reply(request, flags=AUTHORITATIVE)], FormatError, "lacks the digest"),
        (lambda request: [reply(request, expires=1)], FormatError, "expired"),
        (lambda request: [reply(request, name=b"88/\xff")], FormatError, "UTF-8"),
        (lambda request: [request], FormatError, "response code 0"),
    ],
    ids=["silence", "a piece lost", "another number", "no digest", "expired", "a name that is none", "an echo"],
)
async def test_what_is_no_answer_over_udp(answering: Answering, error: type[Exception], text: str) -> None:
    async with udp_server(answering) as endpoint:
        with pytest.raises(error, match=text) as raised:
            await ask(endpoint, patience=0.5)
        assert str(endpoint) in str(raised.value), "the server is named"


async def test_a_datagram_from_elsewhere_is_not_heard() -> None:
    """Somebody who knows everything about the question but is not the server that was asked."""
    ports: list[int] = []

    def answering(request: bytes) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(reply(request, values=VALUES[:1]), ("127.0.0.1", ports[0]))
        return list(fragment(reply(request)))

    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))

        def readable() -> None:
            request, source = sock.recvfrom(65_535)
            ports.append(source[1])
            for datagram in answering(request):
                sock.sendto(datagram, source)

        loop.add_reader(sock, readable)
        try:
            assert await ask(Endpoint(UDP, "127.0.0.1", sock.getsockname()[1])) == TRUE
            await ask(Endpoint(UDP, "127.0.0.1", sock.getsockname()[1]))
        finally:
            loop.remove_reader(sock)
    assert ports[0] != ports[1], "each question leaves from a port of its own"


async def test_nobody_listens() -> None:
    (port,) = free_ports(1)
    for protocol in (UDP, TCP):
        with pytest.raises(UnreachableError, match=rf"{protocol} 127.0.0.1:{port} cannot be reached: Connection refused"):
            await ask(Endpoint(protocol, "127.0.0.1", port))
    with pytest.raises(UnreachableError, match=r"tcp \[2001:db8::1\]:2641"):
        await ask(Endpoint(TCP, "2001:db8::1", 2641), patience=0.25)


async def test_no_file_is_left_to_open() -> None:
    async with udp_server(lambda request: fragment(reply(request))) as endpoint:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        spare = []
        with suppress(OSError):
            while True:
                spare.append(os.dup(1))
        try:
            with pytest.raises(OverloadError, match=f"no socket is left to ask {endpoint}: Too many open files"):
                await Client().ask(NAME, endpoint, 5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for number in spare:
                os.close(number)
        assert await ask(endpoint) == TRUE


@pytest.mark.parametrize(
    "answering",
    [
        lambda request: [reply(request)],
        lambda request: [reply(request)[n : n + 7] for n in range(0, len(reply(request)), 7)],
        lambda request: [reply(request), b"more"],
    ],
    ids=["whole", "in little parts", "with more behind it"],
)
async def test_an_answer_over_tcp(answering: Answering) -> None:
    async with tcp_server(answering) as endpoint:
        assert await ask(endpoint) == TRUE


@pytest.mark.parametrize(
    ("answering", "error", "text"),
    [
        (lambda _: [], UnreachableError, "closed the connection after 0 of 20"),
        (lambda request: [reply(request)[:30]], UnreachableError, "closed the connection after 10 of"),
        (lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], FormatError, "version"),
        (lambda _: [b"\2\x0b\3\x0b" + bytes(12) + b"\xff\xff\xff\xff"], FormatError, "at most 262144"),
        (lambda request: [reply(request, request_id=7)], FormatError, "number of another request"),
        (lambda request: [reply(request, flags=AUTHORITATIVE)], FormatError, "lacks the digest"),
    ],
    ids=["closed", "cut", "another protocol", "endless", "another number", "no digest"],
)
async def test_what_is_no_answer_over_tcp(answering: Answering, error: type[Exception], text: str) -> None:
    async with tcp_server(answering) as endpoint:
        with pytest.raises(error, match=text) as raised:
            await ask(endpoint)
        assert str(endpoint) in str(raised.value)


async def test_a_tcp_server_that_never_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        with pytest.raises(UnreachableError, match="did not answer within"):
            await ask(Endpoint(TCP, "127.0.0.1", sock.getsockname()[1]), patience=0.25)


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (100, encode_error("deleted"), Told(100, text="deleted")),
        (301, encode_error("not\nhere\x1b[31m"), Told(301, text="not here [31m")),
        (2, encode_error("x" * 5000), Told(2, text="x" * 200)),
        (5, encode_error(""), Told(5)),
        (200, encode_error("nothing"), Told(200, NAME)),
        (402, b"\xff", Told(402, text="it wants to know who asks")),
        (303, encode_referral(ReferralResponse(b"0.NA/88", VALUES)), Told(303, Identifier.parse("0.NA/88"), VALUES)),
        (303, encode_referral(ReferralResponse(b"0.NA/88", None)), Told(303, Identifier.parse("0.NA/88"))),
    ],
)
async def test_what_else_a_server_may_say(code: int, body: bytes, expected: Told) -> None:
    async with udp_server(lambda request: fragment(reply(request, code=code, body=body))) as endpoint:
        assert await ask(endpoint) == expected


async def test_a_long_question_goes_in_several_datagrams() -> None:
    name = Identifier("88", "汉" * 250)
    seen: list[Message] = []

    def answering(request: bytes) -> list[bytes]:
        seen.append(decode_message(request))
        return list(fragment(reply(request, name=name.key)))

    async with udp_server(answering) as endpoint:
        assert (await ask(endpoint, name)).name == name
        assert (await ask(endpoint, name, recursive=True)).name == name
    assert [bool(message.flags & RECURSIVE) for message in seen] == [False, True]
    assert seen[0].request_id != seen[1].request_id


async def test_a_flood_does_not_keep_the_client_busy_for_ever() -> None:
    """Datagrams that are not the answer end the exchange by its patience at the latest, and others get their turn meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(count())
    async with udp_server(lambda request: [reply(request, request_id=7)] * 200) as endpoint:
        with pytest.raises(UnreachableError):
            await ask(endpoint, patience=0.25)
    others.cancel()
    assert turns > 10
