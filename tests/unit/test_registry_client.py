"""The client of the registry's API against a real registry: every verb, every kind of refusal, and what is tried again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from registry.client import (
    BusyError,
    InConflictError,
    MalformedError,
    NotRegisteredError,
    RegistryClient,
    TokenRefusedError,
)
from resolver.core import limits
from resolver.core.errors import ConfigError, FormatError, UnreachableError
from tests.support import api

NAME = [{"index": 1, "type": "NAME", "data": "电源模块"}]
URL = [{"index": 2, "type": "URL", "data": "https://example.org/"}]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[RegistryClient]:
    async with api.running(tmp_path) as registry:
        assert registry.client.secret is not None
        async with RegistryClient(registry.listener.address, registry.client.secret) as client:
            yield client


@pytest.mark.parametrize("suffix", ["A", "A b/c:d?e#f%2F", "..", "./x", "型号 10%", "+&=;@~"])
async def test_the_life_of_an_identifier(client: RegistryClient, suffix: str) -> None:
    name = f"88.101/{suffix}"
    with pytest.raises(NotRegisteredError, match="is not registered"):
        await client.read(name)
    first = await client.register(name, NAME)
    assert first["identifier"] == name
    assert (await client.register(name, NAME))["serial"] == first["serial"]
    with pytest.raises(InConflictError):
        await client.register(name, URL)
    second = await client.replace(name, URL, if_match=first["serial"])
    with pytest.raises(InConflictError) as refused:
        await client.replace(name, NAME, if_match=first["serial"])
    assert (refused.value.kind, refused.value.http_status) == ("stale", 412)
    third = await client.patch(name, NAME, remove=[2])
    assert [value["type"] for value in third["values"]] == ["NAME"]
    assert (await client.read(name))["serial"] == third["serial"] > second["serial"]
    await client.delete(name, if_match=third["serial"])
    with pytest.raises(NotRegisteredError) as refused_read:
        await client.read(name)
    assert refused_read.value.kind == "gone"
    assert [entry["action"] async for entry in client.history(name)] == ["delete", "patch", "replace", "register"]


async def test_what_is_malformed_is_told_with_place_and_next_step(client: RegistryClient) -> None:
    with pytest.raises(MalformedError) as refused:
        await client.register("88.101/X", [{"type": "URL", "data": 5}])
    assert refused.value.place == "values[0].data"
    assert refused.value.http_status == 400
    assert str(refused.value).startswith("the registry refused: ")
    assert "(at values[0].data)" in str(refused.value)
    assert refused.value.next_step in str(refused.value)
    with pytest.raises(MalformedError, match="empty suffix"):
        await client.register("88.101/", NAME)


async def test_pages_are_walked_to_their_end(client: RegistryClient) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(2300):
            yield b'{"identifier":"88.101/%05d","values":[{"index":1,"type":"NAME","data":"x"}]}\n' % number

    async with aclosing(client.bulk(lines())) as results:
        assert [result["status"] async for result in results] == ["created"] * 2300
    found = [item["identifier"] async for item in client.list("88.101")]
    assert found == [f"88.101/{number:05}" for number in range(2300)]


async def test_bulk_flows_both_ways_at_once(client: RegistryClient) -> None:
    """The next line is made only when the result of the one before is there."""
    answered = asyncio.Event()
    answered.set()

    async def lines() -> AsyncIterator[bytes]:
        for number in range(5):
            await answered.wait()
            answered.clear()
            yield b'{"identifier":"88.101/B%d","values":[{"index":1,"type":"NAME","data":"x"}]}\n' % number
            await asyncio.sleep(0)

    serials = []
    async with asyncio.timeout(20), aclosing(client.bulk(lines())) as results:
        async for result in results:
            serials.append(result["serial"])
            answered.set()
    assert serials == sorted(set(serials))
    assert len(serials) == 5


async def test_prefixes_and_tokens(client: RegistryClient) -> None:
    await client.delegate({"prefix": "88.101.77"})
    assert "88.101.77" in [item["prefix"] async for item in client.prefixes()]
    token = await client.add_token("clerk", "registrant", ["88.101.77"])
    assert "clerk" in [item["name"] async for item in client.tokens()]
    async with RegistryClient(client.url, token["secret"]) as clerk:
        await clerk.register("88.101.77/A", NAME)
        with pytest.raises(TokenRefusedError) as refused:
            await clerk.register("88.101/A", NAME)
        assert refused.value.http_status == 403
        await client.revoke_token("clerk")
        with pytest.raises(TokenRefusedError, match="unknown or was revoked"):
            await clerk.read("88.101.77/A")
    with pytest.raises(NotRegisteredError):
        await client.revoke_token("clerk")


# ---- what is tried again


class Flaky:
    """A server whose first replies go wrong."""

    def __init__(self, *replies: int | str) -> None:
        self.replies = [*replies]
        self.keys: list[str | None] = []

    async def reply(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key"))
        reply: Any = self.replies.pop(0) if self.replies else 200
        if reply == "cut":
            assert request.transport is not None
            request.transport.abort()
        if reply == 302:
            return web.Response(status=302, headers={"Location": "/elsewhere"}, text="<html>moved</html>")
        if isinstance(reply, int):
            return web.json_response({"detail": "so be it"}, status=reply)
        return web.Response(text=reply)


@pytest.fixture
async def flaky() -> AsyncIterator[tuple[Flaky, RegistryClient]]:
    server = Flaky()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", server.reply)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with RegistryClient(f"http://127.0.0.1:{runner.addresses[0][1]}", "secret") as client:
        yield server, client
    await runner.cleanup()


async def test_a_write_is_tried_again_under_the_same_key(flaky: tuple[Flaky, RegistryClient]) -> None:
    server, client = flaky
    server.replies = ["cut", 503]
    assert await client.register("88.1/A", NAME) == {"detail": "so be it"}
    assert len(server.keys) == 3
    assert server.keys[0] is not None
    assert len(set(server.keys)) == 1
    await client.register("88.1/B", NAME)
    assert len(set(server.keys)) == 2


async def test_trying_ends(flaky: tuple[Flaky, RegistryClient]) -> None:
    server, client = flaky
    server.replies = [500] * 9
    with pytest.raises(BusyError, match="so be it"):
        await client.read("88.1/A")
    assert len(server.keys) == 4


async def test_what_must_not_happen_twice_is_tried_once(flaky: tuple[Flaky, RegistryClient]) -> None:
    server, client = flaky
    server.replies = ["cut"]
    with pytest.raises(UnreachableError, match="cannot be reached: the connection was cut"):
        await client.add_token("a", "operator")
    server.replies = [409, 404, 400]
    with pytest.raises(InConflictError):
        await client.register("88.1/A", NAME)
    with pytest.raises(NotRegisteredError):
        await client.read("88.1/A")
    with pytest.raises(MalformedError):
        await client.delete("88.1/A")
    assert len(server.keys) == 4


@pytest.mark.parametrize("reply", ["<html>", "[]", "{"])
async def test_a_reply_that_is_no_document_is_refused(flaky: tuple[Flaky, RegistryClient], reply: str) -> None:
    server, client = flaky
    server.replies = [reply]
    with pytest.raises(FormatError, match="is not a JSON object"):
        await client.read("88.1/A")


async def test_an_error_page_of_something_else_is_told(flaky: tuple[Flaky, RegistryClient]) -> None:
    server, client = flaky
    server.replies = [302]
    with pytest.raises(MalformedError, match=r"HTTP status 302 without an explanation; is this the address of a registry\?"):
        await client.read("88.1/A")
    assert len(server.keys) == 1  # nor is the token carried to another address


@pytest.mark.parametrize("token", ["", "a\nb", "ключ"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="the token must be the secret as it was shown"):
        RegistryClient("http://127.0.0.1:1", token)


async def test_a_reply_without_end_is_cut(flaky: tuple[Flaky, RegistryClient]) -> None:
    server, client = flaky
    server.replies = ["x" * (limits.http_body_octets.most + 1)]
    with pytest.raises(FormatError, match="a reply of more than 16777216 octets"):
        await client.read("88.1/A")


async def test_a_registry_that_is_not_there_is_told_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.client.FIRST_WAIT_SECONDS", 0.001)
    async with RegistryClient("http://127.0.0.1:1", "secret") as client:
        with pytest.raises(UnreachableError, match=r"the registry http://127\.0\.0\.1:1 cannot be reached: Connection refused"):
            await client.read("88.1/A")


async def test_a_door_that_does_not_speak_http_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.client.FIRST_WAIT_SECONDS", 0.001)

    async def dns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x00\x0c\x12\x34\x80\x01" + bytes(8))
        writer.close()

    async with await asyncio.start_server(dns, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with RegistryClient(f"http://{host}:{port}", "secret") as client:
            with pytest.raises(UnreachableError, match="what answers there does not speak HTTP"):
                await client.read("88/A")

            async def lines() -> AsyncIterator[bytes]:
                yield b"{}\n"

            with pytest.raises(UnreachableError, match="what answers there does not speak HTTP"):
                await anext(client.bulk(lines()))
