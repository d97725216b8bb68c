"""The command line's question over HTTP, against a server that answers as it likes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from resolver import asking
from resolver.core.identifier import Identifier
from resolver.core.record import Value
from resolver.core.wire.json import value_to_json
from resolver.resolution import Resolution, Resolver
from tests.support.scripted import Script, ScriptedClient, told, tree

_PIECE_OCTETS = 10_000


@asynccontextmanager
async def web_server(body: bytes, targets: list[str]) -> AsyncIterator[tuple[str, int]]:
    """Answers each request with `body`, piece by piece, and notes what was asked for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        targets.append(head.split(b" ")[1].decode())
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), _PIECE_OCTETS):
            writer.write(body[start : start + _PIECE_OCTETS])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


async def over_http(script: Script, name: str, body: bytes, targets: list[str]) -> Resolution:
    ours = Resolver(script.world.anchor, None, ScriptedClient(script), lambda: script.now)
    async with asyncio.timeout(10), web_server(body, targets) as at:
        return await asking.over_http(ours, Identifier.parse(name), at)


def answer(script: Script, name: str) -> bytes:
    values = [value_to_json(value) for value in script.world.values(name)]
    return json.dumps({"responseCode": 1, "handle": name, "values": values}).encode()


@pytest.mark.parametrize(("suffix", "target"), [("..", ".."), (".", "."), ("a%2Fb", "a%252Fb"), ("a?b#c/ d", "a%3Fb%23c/%20d")])
async def test_a_long_record_with_a_name_that_means_something_else_in_addresses(suffix: str, target: str) -> None:
    script, name = tree(), f"88.118/{suffix}"
    script.world.put(name, Value(1, "TEXT", b"z" * 150_000))
    targets: list[str] = []
    assert told(await over_http(script, name, answer(script, name), targets)) == "verified"
    assert targets == [f"/api/handles/88.118/{target}"]


async def test_an_answer_without_end_is_refused() -> None:
    script = tree()
    found = await over_http(script, "88.118/ABC", b" " * (5 * 2**20), [])
    assert (found.verdict.verified, found.verdict.reason) == (False, "bad-answer")
    assert "more than 4194304 octets" in found.verdict.text
