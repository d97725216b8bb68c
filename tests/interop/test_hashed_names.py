"""Names whose DNS label is a hash, asked of a recursive node by dig and dnslib, found over Handle on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import dnslib
import pytest

from resolver.client import Client
from resolver.core.exchange import UDP, Endpoint
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, Outcome
from resolver.core.owner import HashedName
from resolver.core.record import Value
from resolver.core.wire.handle import Code
from resolver.core.wire.stored import Stored
from resolver.doors.dns import DnsDoor
from resolver.table import Table
from tests.support.dns import APEX, authority, extended_error, name_of, query, rcode, served, texts
from tests.support.handle_tree import HandleTree, handle_tree
from tests.support.peers import program
from tests.support.world import World

CHINESE, HOSTED = "88.118/工业互联网标识解析码", "88.118.5/工业互联网标识解析码"
LONG, GONE = "88.118/" + "x" * 200, "88.118/" + "无" * 10
LARGE = "88.118/大" + "x" * 100
HASHED = HashedName("88.118", sha256("工业互联网标识解析码".encode()).digest())
SECONDS = 20


def prepare(world: World) -> None:
    for name in (CHINESE, LONG, HOSTED, GONE):
        world.put(name, Value(1, "URL", b"https://example.org/" + name.encode()))
    world.put(LARGE, *(Value(index, "DATA", bytes(20_000)) for index in (1, 2, 3)))
    world.delete(GONE)


class Asked:
    """A recursive node's DNS door on a real port, and the tree behind it."""

    def __init__(self, tree: HandleTree, port: int) -> None:
        self.tree = tree
        self.port = port

    async def __call__(self, name: str, type_: str = "TXT") -> dnslib.DNSRecord:
        packet = query(name, type_)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(len(packet).to_bytes(2, "big") + packet)
            async with asyncio.timeout(SECONDS):
                return dnslib.DNSRecord.parse(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        finally:
            writer.close()
            await writer.wait_closed()

    async def dig(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            program("dig", "bind9-dnsutils"), "@127.0.0.1", "-p", str(self.port), "+time=5", "+tries=1", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        return output.decode()


@pytest.fixture(name="asked")
async def _asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with handle_tree(tmp_path, prepare, recursive=True) as tree, served(DnsDoor(tree.nodes["recursive"].desk)) as port:
        yield Asked(tree, port)


@pytest.mark.parametrize("name", [CHINESE, LONG, HOSTED])
async def test_values_and_signature(asked: Asked, name: str) -> None:
    owner = name_of(name)
    assert owner.startswith("_h")
    answer = await asked(owner)
    assert (rcode(answer), bool(answer.header.aa), bool(answer.header.ra)) == ("NOERROR", False, True)
    assert texts(answer) == [("1 URL", b"https://example.org/" + name.encode())]
    before = asked.tree.questions("88.118")
    ((first, jws),) = texts(await asked(f"_sig.{owner}"))
    assert (first, jws) == ("402 HS_SIGNATURE.ED25519", asked.tree.world.values(name)[-1].data)
    assert len((await asked(owner, "URI")).rr) == 1
    assert asked.tree.questions("88.118") == before, "the record is held now"


@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
async def test_dig(asked: Asked, way: str) -> None:
    for name in (CHINESE, LONG):
        answer = await asked.dig(way, "+short", "URI", f"{name_of(name).upper()}.{APEX}")
        octets = "".join(f"\\{octet:03}" if octet > 126 else chr(octet) for octet in name.encode())
        assert answer == f'10 1 "https://example.org/{octets}"\n'
        signature = await asked.dig(way, "+short", "TXT", f"_sig.{name_of(name)}.{APEX}")
        assert signature.startswith('"402 HS_SIGNATURE.ED25519" "eyJhbGciOiJFZERTQSJ9.')
    assert "status: NXDOMAIN" in await asked.dig(way, "TXT", f"{name_of('88.118/' + '空' * 10)}.{APEX}")


async def test_absent_gone_and_no_such_prefix(asked: Asked) -> None:
    absent = name_of("88.118/" + "空" * 10)
    for name, zone in ((absent, "118.88"), (name_of(GONE), "118.88"), (f"_sig.{absent}", "118.88"),
                       (name_of("88.9.1/" + "空" * 10), "88")):  # fmt: skip
        answer = await asked(name)
        assert (rcode(answer), authority(answer)) == ("NXDOMAIN", (f"{zone}.{APEX}.", "SOA"))
    before = asked.tree.questions("88.118")
    assert rcode(await asked(absent, "URI")) == "NXDOMAIN"
    assert asked.tree.questions("88.118") == before, "remembered"


async def test_equal_questions_at_once_share_a_walk(asked: Asked) -> None:
    answers = await asyncio.gather(*(asked(name_of(CHINESE), type_) for type_ in ("TXT", "URI") * 20))
    assert {rcode(answer) for answer in answers} == {"NOERROR"}
    assert asked.tree.questions("88.118") == 1


async def test_a_record_too_long_for_datagrams(asked: Asked) -> None:
    assert [len(data) for _, data in texts(await asked(name_of(LARGE)))] == [20_000] * 3


async def test_every_node_answers_the_handle_question_with_the_true_name(asked: Asked) -> None:
    """The recursive one too: by the same name, before and after it knows what is behind it."""
    for at in ("88.118", "recursive", "recursive"):
        said = await Client().ask(HASHED, Endpoint(UDP, "127.0.0.1", asked.tree.nodes[at].port), 5, recursive=True)
        assert (said.code, str(said.name)) == (Code.SUCCESS, CHINESE)
        assert said.values == asked.tree.world.values(CHINESE)


# ---- servers that lie, or know nothing of hashed names


def another_record(table: Table) -> Outcome:
    """The name is right, what stands below it is not."""
    true = table.find(Identifier.parse(CHINESE))
    assert isinstance(true, Answer)
    assert isinstance(true.record, Stored)
    return true._replace(record=true.record._replace(encoded=true.record.encoded.replace(b"example.org", b"example.com")))


@pytest.mark.parametrize(
    ("lie", "error", "text"),
    [
        (lambda table: table.find(Identifier.parse(LONG)), 22, f"was asked for {HASHED} and answers for"),
        (lambda table: table.find(Identifier.parse(HOSTED)), 22, f"was asked for {HASHED} and answers for"),
        (another_record, 6, "made this signature"),
    ],
    ids=["another hash", "another prefix", "another record"],
)
async def test_a_lie_is_refused(asked: Asked, lie: Callable[[Table], Outcome], error: int, text: str) -> None:
    table = asked.tree.nodes["88.118"].desk.table
    assert table is not None
    true = table.find
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "find", lambda name: lie(table) if name == HASHED else true(name))
        for owner in (name_of(CHINESE), "_sig." + name_of(CHINESE)):
            answer = await asked(owner)
            code, sentence = extended_error(answer) or (0, "")
            assert (rcode(answer), code) == ("SERVFAIL", error)
            assert text in sentence
    asked.tree.nodes["88.118"].door.forget(None)
    assert rcode(await asked(name_of(CHINESE))) == "NOERROR", "and it is as if the lie had not been"


async def test_a_server_that_knows_nothing_of_hashed_names(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolver.doors.handle.decode_name", Identifier.decode)
    answer = await asked(name_of(CHINESE))
    assert rcode(answer) == "SERVFAIL"
    code, sentence = extended_error(answer) or (1, "")
    assert code == 0
    assert f"does not answer for {HASHED}" in sentence


async def test_servers_that_are_silent(asked: Asked) -> None:
    asked.tree.nodes["88.118"].close()
    answer = await asked(name_of(CHINESE))
    assert (rcode(answer), (extended_error(answer) or (0, ""))[0]) == ("SERVFAIL", 22)
