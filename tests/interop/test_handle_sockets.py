"""The Handle door over real sockets: connections of every habit, datagrams in pieces, and a client of the other dialect."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from resolver.core.wire.bodies import ResolutionRequest, decode_resolution_response, encode_resolution_request
from resolver.core.wire.fragments import fragment
from resolver.core.wire.framing import pack_data
from resolver.core.wire.handle import ENVELOPE_OCTETS, Code, Message, Op, decode_envelope, encode_message
from resolver.core.wire.site import PROTOCOL_TCP, addresses, decode_site
from tests.support.handle import Said, read, request
from tests.support.handle_tree import handle_tree

PATIENCE = 20


@asynccontextmanager
async def connection(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def receive(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        envelope = await reader.readexactly(ENVELOPE_OCTETS)
        return envelope + await reader.readexactly(decode_envelope(envelope).length)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> Said:
    writer.write(asked)
    return read(await receive(reader), asked)


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(PATIENCE):
        return await reader.read() == b""


async def test_many_requests_on_one_connection(tmp_path: Path) -> None:
    async with handle_tree(tmp_path) as tree, connection(tree.nodes["88.118"].address) as (reader, writer):
        for number, name in enumerate(["88.118/ABC", "88.118/NO", "88.118/ABC", "77/X", "88.118.5/HOSTED"] * 4):
            said = await exchange(reader, writer, request(name, request_id=number))
            assert said.message.request_id == number
            if said.code == Code.SUCCESS:
                assert decode_resolution_response(said.body).values == tree.world.values(name)
            else:
                assert (name, said.code) in {("88.118/NO", Code.NOT_FOUND), ("77/X", Code.NOT_RESPONSIBLE)}


async def test_requests_that_come_together_or_in_crumbs(tmp_path: Path) -> None:
    first, second = request("88.118/ABC", request_id=1), request("88.118/DEF", request_id=2)
    async with handle_tree(tmp_path) as tree, connection(tree.nodes["88.118"].address) as (reader, writer):
        writer.write(first + second + first[:30])
        assert [read(await receive(reader), first).message.request_id for _ in range(2)] == [1, 2]
        for octet in first[30:]:
            writer.write(bytes((octet,)))
            await writer.drain()
        assert read(await receive(reader), first).message.request_id == 1


async def test_client_that_says_no_more_is_answered_all_the_same(tmp_path: Path) -> None:
    asked = request("88.118/ABC")
    async with handle_tree(tmp_path) as tree, connection(tree.nodes["88.118"].address) as (reader, writer):
        writer.write(asked)
        writer.write_eof()
        assert read(await receive(reader), asked).code == Code.SUCCESS
        assert await ended(reader)


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(40), b"\x02\x0b\x02\x0b" + b"\xff" * 40])
async def test_octets_that_are_no_message_are_refused_and_the_connection_ends(tmp_path: Path, octets: bytes) -> None:
    async with handle_tree(tmp_path) as tree, connection(tree.nodes["88.118"].address) as (reader, writer):
        said = await exchange(reader, writer, octets)
        assert said.code == Code.PROTOCOL_ERROR
        assert said.text
        assert await ended(reader)


async def test_login_of_the_other_dialect_gets_the_site_and_then_a_clear_no(tmp_path: Path) -> None:
    """It asks a server that it was given for the site of a prefix, without `0.NA/`, connects there, and logs in."""
    dialect: dict[str, Any] = {"version": (2, 10), "flags": 0x19000000, "serial": 0xFFFF}
    async with handle_tree(tmp_path, recursive=True) as tree:
        async with connection(tree.nodes["recursive"].address) as (reader, writer):
            body = encode_resolution_request(ResolutionRequest(b"88.118", (), (b"HS_SITE",), b""))
            said = await exchange(reader, writer, request("", body=body, **dialect))
            answer = decode_resolution_response(said.body)
            assert answer.name == b"88.118"
            (site,) = [decode_site(value.data) for value in answer.values if value.type == "HS_SITE"]

        async with connection(addresses(site, PROTOCOL_TCP)[0]) as (reader, writer):
            asked = Message(Op.SITE_INFO, pack_data(b"/"), request_id=1, session_id=10_001)._replace(**dialect)
            said = await exchange(reader, writer, encode_message(asked))
            assert (said.code, said.message.session_id) == (Code.SUCCESS, 10_001)
            assert decode_site(said.body).servers
            login = Message(2001, pack_data(b"88.118/admin") + b"\0\0\1\x2c", session_id=10_001, credential=None)
            said = await exchange(reader, writer, encode_message(login))
            assert (said.code, said.message.op) == (Code.NOT_SUPPORTED, 2001)
            said = await exchange(reader, writer, request("88.118/ABC", **dialect))
            assert decode_resolution_response(said.body).values == tree.world.values("88.118/ABC")


async def test_recursive_node_gives_the_other_dialect_no_referral(tmp_path: Path) -> None:
    asked = request("88.118/ABC", version=(2, 10))
    async with handle_tree(tmp_path, recursive=True) as tree:
        for name, code in (("recursive", Code.SUCCESS), ("88", Code.NOT_RESPONSIBLE)):
            async with connection(tree.nodes[name].address) as (reader, writer):
                said = await exchange(reader, writer, asked)
                assert said.code == code


async def test_datagrams_both_ways(tmp_path: Path) -> None:
    types = (*(b"TYPE%04d" % number for number in range(120)), b"URL", b"NAME", b"HS_SIGNATURE.ED25519")
    asked = request("88.118/ABC", types=types)
    async with handle_tree(tmp_path) as tree:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(tree.nodes["88.118"].address)
            for datagram in reversed(fragment(asked, truncated=True)):
                sock.send(datagram)
            async with asyncio.timeout(PATIENCE):
                datagrams = tuple([await asyncio.get_running_loop().sock_recv(sock, 600) for _ in range(2)])
        values = decode_resolution_response(read(datagrams, asked).body).values
        assert values == tree.world.values("88.118/ABC")
