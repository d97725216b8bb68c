"""Any octets on the HTTP port: every answer is well formed and no server error, nothing raises, nothing is kept.

Each input has a connection of its own, a pair of sockets driven without the event loop: 20,000 of them in seconds.
"""

import asyncio
import logging
import random
import re
import socket
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core.errors import FormatError
from resolver.core.identifier import Identifier
from resolver.doors.http_target import read_target, stored_key
from resolver.server.http_connection import HttpConnection
from resolver.server.tcp import StreamServer
from tests.support.http_node import PRODUCT, http_node

INPUTS = 20_000
_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n")


GOLDEN = [
    f"GET /api/handles/{PRODUCT} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nOrigin: https://a.example\r\n\r\n".encode(),
    f"GET /api/handles/{PRODUCT}?type=URL&index=100&pretty&auth=yes HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    b"GET /api/handles/88.118/%E8%AE%BE%E5%A4%87-01 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/handles/0.NA/88.118.8 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /88.118/gone HTTP/1.1\r\nHost: x\r\nAccept: application/json;q=0.9, text/html;q=0.5\r\n\r\n",
    f"GET /{PRODUCT}?lang=zh HTTP/1.1\r\nHost: x\r\nAccept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n\r\n".encode(),
    b"POST /api/handles/88.118/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{  }GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /api/handles/88.118/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://node.example/api/site HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /?identifier=88.118%2FABC&lang=en HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
]  # fmt: skip
ODD = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"%",
    b"%00",
    b"%ff",
    b"/",
    b"//",
    b"?",
    b"#",
    b" ",
    b"\xff",
    b":",
    b"HTTP/1.1",
    b"index=",
    b"&",
]


def mutant(dice: random.Random) -> bytes:
    octets = bytearray(dice.choice(GOLDEN))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        place = dice.randrange(len(octets) + 1)
        match dice.randrange(6):
            case 0 if octets:
                octets[min(place, len(octets) - 1)] = dice.randrange(256)
            case 1:
                octets[place : place + dice.randint(1, 9)] = b""
            case 2:
                octets[place:place] = dice.choice(ODD) * dice.choice((1, 1, 2, 40))
            case 3:
                octets[place:place] = dice.randbytes(dice.randint(1, 12))
            case 4:
                del octets[place:]
            case _:
                octets += dice.choice(GOLDEN)
    return bytes(octets)


async def test_any_octets_get_proper_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(20261120)
    statuses: Counter[int] = Counter()
    async with http_node(tmp_path) as node:
        for number in range(INPUTS):
            octets = mutant(dice) if number % 8 else dice.randbytes(dice.randint(1, 60))
            statuses.update(await feed(node.server, octets, dice))
        assert len(node.server) == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert set(statuses) <= {200, 300, 302, 303, 400, 404, 405, 408, 410, 414, 431, 501}
    assert statuses[200] > 2000
    assert statuses[400] > 2000


async def feed(server: StreamServer, octets: bytes, dice: random.Random) -> list[int]:
    """The statuses of the answers to `octets`, sent in one or two pieces."""
    here, there = socket.socketpair()
    here.setblocking(False)
    connection = server.admit(here.detach(), ("127.0.0.1", 1), 1_800_000_000.0)
    assert isinstance(connection, HttpConnection)
    cut = dice.randrange(len(octets)) if octets and dice.random() < 0.3 else 0
    with there:
        for piece in (octets[:cut], octets[cut:]):
            if piece and connection.descriptor >= 0:
                there.sendall(piece)
                connection.readable(1_800_000_000.0)
                while connection.waiting is not None:  # noqa: ASYNC110  # the fake recursion never waits for anything else
                    await asyncio.sleep(0)
        connection.close()
        out = b""
        while more := there.recv(1_048_576):
            out += more
    return [int(status) for status in _STATUS_LINE.findall(out)]


@settings(max_examples=1500, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_a_target_is_read_or_refused(octets: bytes) -> None:
    try:
        target = read_target(b"/" + octets)
    except FormatError:
        return
    assert target.path.startswith("/")


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(["88.118", "0.na", "0.NA", "88.aB"]),
    st.one_of(st.text(min_size=1, max_size=30), st.sampled_from(["A\u030a", "88.ab", "a%2Fb", "a/b", "\0" + "x" * 32, "a?b", "ǆ"])),
)
def test_the_short_way_to_a_key_is_the_long_way(prefix: str, suffix: str) -> None:
    """Whatever key the short way finds under is that of the identifier, or of none at all."""
    path = f"{prefix}/{suffix}".encode("utf-8", "surrogatepass")
    key = stored_key(path)
    if key is None:
        return
    try:
        identifier = Identifier.parse(read_target(b"/" + path).path[1:])
    except FormatError:
        return
    assert key == identifier.key


def test_no_target_reaches_the_key_of_a_hashed_record() -> None:
    assert stored_key(b"88.118/%00" + b"x" * 32) is None
    assert stored_key(b"88.118/\0" + b"x" * 32) is None
    assert stored_key(b"88.118/" + b"x" * 32) == b"88.118/" + b"x" * 32
