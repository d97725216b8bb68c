"""The registry's API over real sockets: bulk streams under good and bad clients, shutdown, cursors under writes, PostgreSQL."""

import asyncio
import gzip
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from resolver.core.identifier import Identifier
from tests.support.api import VALUES, Registry, check_document, running
from tests.support.raw import parse_head
from tests.support.registry import new_database, postgres_server

SECONDS = 60.0  # for one test's waiting, however it goes


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running(tmp_path) as found:
        yield found


def change(name: object, **more: object) -> bytes:
    return json.dumps({"identifier": f"88.101/{name}", "values": VALUES, **more}, ensure_ascii=False).encode() + b"\n"


class Stream:
    """A bulk request whose sending and reading are in the test's hands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._rest = b""
        self.ended = False

    async def send(self, octets: bytes) -> None:
        """One chunk; an empty one ends the request."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(octets), octets))
        await self.writer.drain()

    async def results(self, number: int) -> list[dict[str, Any]]:
        """The next `number` results, fewer where the stream ends before. Each has the described shape."""
        found: list[dict[str, Any]] = []
        while len(found) < number and not self.ended:
            line, feed, rest = self._rest.partition(b"\n")
            if not feed:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                self._rest += (await self._reader.readexactly(size + 2))[:-2]
                self.ended = size == 0
                continue
            self._rest = rest
            found.append(json.loads(line))
            if len(found) % 50 == 1 or "problem" not in found[-1]:
                check_document("bulk-result", found[-1])
        return found


@asynccontextmanager
async def bulk(address: str, secret: str | None, *headers: str) -> AsyncIterator[Stream]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # what is not read soon stands in the registry's way
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        async with asyncio.timeout(SECONDS):
            fixed = (f"Authorization: Bearer {secret}", "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
            lines = ["POST /v1/bulk HTTP/1.1", "Host: registry", *fixed, *headers, "", ""]
            writer.write("\r\n".join(lines).encode())
            status, _ = parse_head(await reader.readuntil(b"\r\n\r\n"))
            assert status == 200
            yield Stream(reader, writer)
    finally:
        writer.close()


def statuses(results: Iterable[dict[str, Any]]) -> list[str]:
    return [result["status"] for result in results]


# ---- what goes in comes out


async def test_twenty_thousand_lines_good_and_bad_are_each_answered_in_order(registry: Registry) -> None:
    bad = (
        (b"not json\n", "bad-json"),
        (b"\n", "bad-json"),
        (b'{"identifier":"88.101/x","values":' + b"[" * 40 + b"]" * 40 + b"}\n", "too-large"),
        (b'{"identifier":"88.101/' + b"x" * 300_000 + b'","values":[]}\n', "too-large"),
        (b'{"identifier":"nothing","values":[]}\n', "bad-identifier"),
        (b'{"identifier":"88.101/y","values":[{"type":"URL"}]}\n', "bad-document"),
        (b'{"identifier":"88.101/z","values":[]}\n', "invalid-value"),
        (b'{"identifier":"88.102/a","values":[{"type":"URL","data":"x"}]}\n', "not-homed"),
        (change(0, values=VALUES[:1]), "exists"),
    )
    lines, expected = [], []
    for number in range(20_000):
        if number % 100 == 99:
            line, kind = bad[number // 100 % len(bad)]
            lines.append(line)
            expected.append(kind)
        else:
            lines.append(change(number - number % 10) if number % 10 == 1 else change(number))
            expected.append("unchanged" if number % 10 == 1 else "created")
    reply = await registry.client.bulk(b"".join(lines))
    found = [
        result["problem"]["type"].rpartition("/")[2] if result["status"] == "rejected" else result["status"]
        for result in reply.lines
    ]
    assert [result["line"] for result in reply.lines] == list(range(1, 20_001))
    assert found == expected
    serials = [result["serial"] for result in reply.lines if result["status"] == "created"]
    assert serials == sorted(set(serials))
    for number in (0, 5000, 19_998):
        read = await registry.client.get(f"/v1/identifiers/88.101/{number}")
        assert read.document["serial"] == reply.lines[number]["serial"]


async def test_all_actions_in_one_stream_see_each_other(registry: Registry) -> None:
    first = (await registry.client.bulk(change("A"))).lines[0]
    reply = await registry.client.bulk(
        change("A", action="replace", values=VALUES[:1], if_match=first["serial"])
        + change("A", action="replace", if_match=first["serial"])
        + change("A", action="patch", values=VALUES[1:], remove=[1])
        + b'{"identifier":"88.101/A","action":"delete"}\n'
        + change("A")
        + b'{"identifier":"88.101/A","action":"delete","values":[]}\n'
        + change("B", action="burn")
        + change("B", remove=[1])
        + change("B", action="replace", if_match=0)
        + b'{"identifier":"88.101/C","action":"patch"}'
    )
    kinds = [line["problem"]["type"].rpartition("/")[2] if "problem" in line else line["status"] for line in reply.lines]
    assert kinds == ["replaced", "stale", "replaced", "deleted", "gone", *["bad-document"] * 4, "not-found"]
    assert reply.lines[4]["problem"]["history"] == "/v1/history/88.101/A"
    history = (await registry.client.get("/v1/history/88.101/A")).document["items"]
    assert [entry["action"] for entry in history] == ["delete", "patch", "replace", "register"]


async def test_a_client_may_wait_for_each_result(registry: Registry) -> None:
    async with bulk(registry.listener.address, registry.client.secret) as stream:
        for number in range(20):
            await stream.send(change(number))
            assert statuses(await stream.results(1)) == ["created"]
        line = change("in pieces")
        for octet in range(len(line)):
            await stream.send(line[octet : octet + 1])
        assert statuses(await stream.results(1)) == ["created"]
        await stream.send(b"")
        assert await stream.results(1) == []
        assert stream.ended


async def test_a_stream_may_be_compressed(registry: Registry) -> None:
    lines = b"".join(change(number) for number in range(2000))
    reply = await registry.client.bulk(gzip.compress(lines), Content_Encoding="gzip")
    assert statuses(reply.lines) == ["created"] * 2000


async def test_a_stream_that_cannot_be_unpacked_says_from_where(registry: Registry) -> None:
    lines = b"".join(change(f"{number}-{number * 7919}") for number in range(2000))
    packed = gzip.compress(lines)
    reply = await registry.client.bulk(packed[: len(packed) // 2], Content_Encoding="gzip")
    *done, last = reply.lines
    assert 500 < len(done) < 1999
    assert statuses(done)[:-1] == ["created"] * (len(done) - 1)
    assert (last["status"], last["line"]) == ("unread", len(done) + 1)
    assert last["problem"]["type"] == "/v1/problems/bad-encoding"
    bomb = await registry.client.bulk(gzip.compress(b"\n" + bytes(50_000_000)), Content_Encoding="gzip")
    assert bomb.lines[-1]["problem"]["type"] == "/v1/problems/too-large"
    assert len(bomb.lines) <= 3


# ---- clients that behave badly


async def test_a_client_that_reads_nothing_is_stopped_and_loses_nothing(registry: Registry) -> None:
    """Its lines wait in its own sending, not in the registry's memory; once it reads, all of them are answered."""
    number = 30_000
    line = b'{"identifier":"nothing","values":[]' + b" " * 1500 + b"}\n"
    async with bulk(registry.listener.address, registry.client.secret) as stream:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(0, number, 100):
                await stream.send(line * 100)
                sent += 100
            await stream.send(b"")

        sending = asyncio.create_task(send())
        before = -1
        while sent > before:  # until a whole second brings no progress
            before = sent
            await asyncio.sleep(1)
        assert 0 < sent < number
        results = await stream.results(number + 1)
        await sending
    assert [result["line"] for result in results] == list(range(1, number + 1))


async def test_a_client_that_stands_still_is_let_go(tmp_path: Path) -> None:
    async with running(tmp_path, bulk_stall_seconds=1) as registry:
        async with bulk(registry.listener.address, registry.client.secret) as stream:
            await stream.send(change("A"))
            done, last = await stream.results(9)
            assert (done["status"], last["status"], last["line"]) == ("created", "unread", 2)
            assert last["problem"]["type"] == "/v1/problems/stalled"
            assert stream.ended
        async with bulk(registry.listener.address, registry.client.secret) as stream:

            async def send_and_never_read() -> None:
                while True:
                    await stream.send(b'{"identifier":"nothing"}\n' * 1000)

            with pytest.raises(ConnectionError):
                await send_and_never_read()


async def test_what_was_answered_is_there_though_the_client_went_away(tmp_path: Path) -> None:
    async with running(tmp_path) as registry, bulk(registry.listener.address, registry.client.secret) as stream:
        await stream.send(b"".join(change(number) for number in range(3000)))
        answered = await stream.results(700)
        stream.writer.transport.abort()
    assert statuses(answered) == ["created"] * 700
    async with running(tmp_path) as registry:
        for result in answered[:: len(answered) // 50]:
            read = await registry.client.get(f"/v1/identifiers/{result['identifier']}")
            assert read.document["serial"] == result["serial"]
        again = await registry.client.bulk(b"".join(change(number) for number in range(3000)))
        assert set(statuses(again.lines)) <= {"created", "unchanged"}
        assert [(line["identifier"], line["serial"]) for line in again.lines[:700]] == [
            (line["identifier"], line["serial"]) for line in answered
        ]


async def test_one_stream_too_many_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, bulk_streams=1) as registry:
        async with bulk(registry.listener.address, registry.client.secret):
            refused = await registry.client.bulk(change("A"))
            assert (refused.status, refused.kind, refused.headers["Retry-After"]) == (503, "busy", "1")
            assert (await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})).status == 201
        for _ in range(1000):  # until the registry has seen that the first client left
            if b"waymark_registry_bulk_streams 0.0" in (await registry.client.get("/metrics")).body:
                break
            await asyncio.sleep(0.01)
        assert statuses((await registry.client.bulk(change("B"))).lines) == ["created"]


async def test_a_bulk_request_takes_no_idempotency_key(registry: Registry) -> None:
    reply = await registry.client.bulk(change("A"), Idempotency_Key="x")
    assert (reply.status, reply.kind) == (400, "bad-header")


# ---- many at once


async def test_a_cursor_neither_skips_nor_repeats_while_others_write(registry: Registry) -> None:
    standing = {f"88.101/{number:04}" for number in range(0, 3000, 3)}
    await registry.client.bulk(b"".join(change(name.partition("/")[2]) for name in sorted(standing)))
    stopped = asyncio.Event()

    async def disturb() -> None:
        for number in range(3000):
            if stopped.is_set():
                return
            if number % 3:
                await registry.client.put(f"/v1/identifiers/88.101/{number:04}", {"values": VALUES})
            if number % 6 == 1:
                await registry.client.delete(f"/v1/identifiers/88.101/{number:04}")

    disturbing = asyncio.create_task(disturb())
    seen: list[str] = []
    query = "prefix=88.101&limit=100"
    while query:
        page = (await registry.client.get(f"/v1/identifiers?{query}")).document
        seen += [item["identifier"] for item in page["items"]]
        query = f"prefix=88.101&limit=100&cursor={page['next']}" if "next" in page else ""
        await asyncio.sleep(0.01)
    stopped.set()
    await disturbing
    assert seen == sorted(set(seen))
    assert standing <= set(seen)


async def test_many_clients_at_once_change_one_record_in_turn(registry: Registry) -> None:
    """Of many who change the same version, one succeeds; the others are told that it is stale."""
    made = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    replies = await asyncio.gather(
        *(
            registry.client.put(
                "/v1/identifiers/88.101/A", {"values": [{"index": 1, "type": "N", "data": str(n)}]}, If_Match=made.headers["ETag"]
            )
            for n in range(20)
        )
    )
    assert sorted(reply.status for reply in replies) == [200] + [412] * 19
    assert len(await registry.service.history(Identifier.parse("88.101/A"))) == 2


# ---- the end


async def test_a_listener_that_closes_answers_what_it_took(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        async with bulk(registry.listener.address, registry.client.secret) as stream:
            await stream.send(b"".join(change(number) for number in range(500)))
            assert len(await stream.results(10)) == 10
            closing = asyncio.create_task(registry.listener.close())
            *done, last = await stream.results(1000)
            assert last["status"] == "unread"
            assert last["line"] == len(done) + 11
            assert last["problem"]["type"] == "/v1/problems/unavailable"
            assert stream.ended
        await closing
        for result in done:
            found = await registry.service.read(Identifier.parse(result["identifier"]))
            assert found is not None
            assert found.serial == result["serial"]


SERVE = """
import asyncio, sys
from pathlib import Path
from registry.api import serve
from tests.support.registry import registry_config
asyncio.run(serve(registry_config(Path(sys.argv[1])), lambda address: print(address, flush=True)))
"""


async def test_a_registry_told_to_end_finishes_what_it_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path) as registry:
        secret = registry.client.secret
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        address = (await process.stdout.readline()).decode().strip()
        async with bulk(address, secret) as stream:
            sending = asyncio.create_task(stream.send(b"".join(change(number) for number in range(20_000))))
            answered = await stream.results(100)
            process.send_signal(signal.SIGTERM)
            answered += await stream.results(30_000)
            sending.cancel()
        _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    assert answered.pop()["status"] == "unread"
    assert set(statuses(answered)) == {"created"}
    async with running(tmp_path) as registry:
        again = await registry.client.bulk(b"".join(change(number) for number in range(len(answered))))
    assert [line["serial"] for line in again.lines] == [line["serial"] for line in answered]
    assert set(statuses(again.lines)) == {"unchanged"}


# ---- another database


async def test_it_is_the_same_on_postgresql(tmp_path: Path) -> None:
    with postgres_server() as url:
        database = await new_database(url)
        async with running(tmp_path, database) as registry:
            reply = await registry.client.bulk(b"".join(change(number) for number in range(1000)) + b"bad\n")
            assert statuses(reply.lines) == ["created"] * 1000 + ["rejected"]
            body = {"identifier": "88.101/once", "values": VALUES}
            replies = await asyncio.gather(
                *(registry.client.post("/v1/identifiers", body, Idempotency_Key="one") for _ in range(8))
            )
            assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
            assert (await registry.client.delete("/v1/identifiers/88.101/7", If_Match='"7"')).kind == "stale"
            assert (await registry.client.delete("/v1/identifiers/88.101/7", If_Match="*")).status == 200
        async with running(tmp_path, database) as registry:
            assert (await registry.client.get("/v1/identifiers/88.101/7")).kind == "gone"
            page = (await registry.client.get("/v1/identifiers?prefix=88.101&limit=5")).document
            assert [item["identifier"] for item in page["items"]] == [f"88.101/{n}" for n in (0, 1, 10, 100, 101)]
            history = (await registry.client.get("/v1/history/88.101/7")).document["items"]
            assert [entry["action"] for entry in history] == ["delete", "register"]
