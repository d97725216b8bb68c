"""Recursion over real servers: the walk, the chain, what is too long for datagrams, who lies on the path, who is gone."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from resolver.client import Client
from resolver.core import trust
from resolver.core.errors import UnreachableError
from resolver.core.exchange import UDP, Endpoint
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, NotFound, Query, Referral
from resolver.core.record import Value
from resolver.core.trust import Reason
from resolver.saved import load, save
from tests.support.handle_tree import HandleTree, handle_tree
from tests.support.scripted import told
from tests.support.world import World

ABC, HOSTED = Identifier.parse("88.118/ABC"), Identifier.parse("88.118.5/HOSTED")
QUICK: dict[str, object] = {"exchange_milliseconds": 300, "exchange_tries": 2}


async def test_the_walk_from_the_root(tmp_path: Path) -> None:
    async with handle_tree(tmp_path) as tree:
        ours = tree.resolver()
        found = await ours.resolve(Query(HOSTED))
        assert told(found) == "verified"
        assert [link.identifier.canonical for link in found.chain] == [
            "88.118.5/HOSTED", "0.NA/88.118.5", "0.NA/88.118", "0.NA/88", "0.0/0.0",
        ]  # fmt: skip
        assert (*found.chain[0].values, found.chain[0].signature) == tree.world.values("88.118.5/HOSTED")
        assert [step.server for step in found.steps] == [
            f"udp 127.0.0.1:{tree.nodes[name].port}" for name in ("root", "root", "88", "88.118", "88.118")
        ]
        assert all(step.milliseconds > 0 for step in found.steps)
        asked = {name: tree.questions(name) for name in tree.nodes}
        assert asked == {"root": 2, "88": 1, "88.118": 2}
        assert told(await ours.resolve(Query(HOSTED))) == "verified"
        assert told(await ours.resolve(Query(ABC))) == "verified"
        assert {name: tree.questions(name) for name in tree.nodes} == asked | {"88.118": 3}


async def test_what_is_passed_on_is_what_was_received(tmp_path: Path) -> None:
    """A client of a recursive node gets the same octets of record and signature as one of the authoritative node."""
    async with handle_tree(tmp_path, recursive=True) as tree:
        said = [
            await Client().ask(ABC, Endpoint(protocol, "127.0.0.1", tree.nodes[name].port), 5, recursive=True)
            for name in ("88.118", "recursive", "recursive")
            for protocol in (UDP, "tcp")
        ]
        assert all(each == said[0] for each in said)
        missing = await Client().ask(
            Identifier.parse("88.118/NONE"), Endpoint(UDP, "127.0.0.1", tree.nodes["recursive"].port), 5, True
        )
        assert missing.code == 100


async def test_absent_and_gone(tmp_path: Path) -> None:
    async with handle_tree(tmp_path) as tree:
        ours = tree.resolver()
        gone = await ours.resolve(Query(Identifier.parse("88.118/GONE")))
        since = tree.world.records[b"88.118/GONE"].issued
        assert gone.outcome == NotFound("88.118", since, authoritative=False)
        assert "gone since" in gone.verdict.text
        assert ours.known(Query(Identifier.parse("88.118/GONE"))) == gone.outcome, "the cache remembers it too"
        absent = await ours.resolve(Query(Identifier.parse("88.999/x")))
        assert absent.outcome == NotFound("88", authoritative=False)
        assert absent.verdict.reason == "no-such-identifier"


async def test_an_answer_too_long_for_datagrams_comes_over_tcp(tmp_path: Path) -> None:
    def large(world: World) -> None:
        world.put("88.118/LARGE", *(Value(n, "DESC", bytes(50_000)) for n in range(1, 4)))

    async with handle_tree(tmp_path, large) as tree:
        found = await tree.resolver().resolve(Query(Identifier.parse("88.118/LARGE")))
        assert told(found) == "verified"
        assert [step.server.split()[0] for step in found.steps] == ["udp"] * 4 + ["tcp"]
        assert sum(len(value.data) for value in found.chain[0].values) == 150_000


async def test_a_thousand_questions_at_once(tmp_path: Path) -> None:
    def many(world: World) -> None:
        for number in range(200):
            world.put(f"88.118/{number}", Value(1, "URL", b"https://example.org/"))

    async with handle_tree(tmp_path, many) as tree:
        before = len(os.listdir("/proc/self/fd"))
        ours = tree.resolver()
        found = await asyncio.gather(*(ours.resolve(Query(Identifier.parse(f"88.118/{n % 200}"))) for n in range(1000)))
        assert {told(each) for each in found} == {"verified"}
        assert tree.questions("root") == 2, "the way down was fetched once"
        assert tree.questions("88.118") == 200, "and each record once"
        assert len(os.listdir("/proc/self/fd")) == before, "no socket is left behind"


async def test_a_saved_record_proves_itself(tmp_path: Path) -> None:
    async with handle_tree(tmp_path) as tree:
        found = await tree.resolver().resolve(Query(HOSTED))
    chain = load(json.loads(json.dumps(save(found))))
    verified = trust.verify_chain(chain, tree.world.anchor.keys, tree.world.now)
    assert tuple(verified) == found.chain


# ---- one server asked


async def test_one_server_asked(tmp_path: Path) -> None:
    async with handle_tree(tmp_path, recursive=True) as tree:
        for name, expected in (("root", Referral), ("88", Referral), ("88.118", Answer), ("recursive", Answer)):
            found = await tree.resolver().resolve_at(HOSTED, tree.nodes[name].address)
            assert isinstance(found.outcome, expected), name
            assert found.verdict.verified
            assert found.chain[-1].identifier.canonical == "0.0/0.0"
        found = await tree.resolver().resolve_at(ABC, tree.nodes["recursive"].address)
        assert {step.server.split(":")[1] for step in found.steps} == {str(tree.nodes["recursive"].port)}, "it knows the chain too"


# ---- on the path and out of order


@asynccontextmanager
async def on_the_path(port: int, change: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A UDP port that passes datagrams on to `port`, and what comes back through `change`."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        for sock in (inside, outside):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        asker: list[tuple[str, int]] = []

        def inward() -> None:
            packet, source = inside.recvfrom(65_535)
            asker[:] = [source]
            outside.sendto(packet, ("127.0.0.1", port))

        def outward() -> None:
            inside.sendto(change(outside.recv(65_535)), asker[0])

        loop.add_reader(inside, inward)
        loop.add_reader(outside, outward)
        try:
            yield inside.getsockname()[1]
        finally:
            loop.remove_reader(inside)
            loop.remove_reader(outside)


async def test_a_value_changed_on_the_path_is_refused(tmp_path: Path) -> None:
    def change(datagram: bytes) -> bytes:
        return datagram.replace(b"https://example.org/88.118/ABC", b"https://example.com/88.118/ABC")

    async with handle_tree(tmp_path) as tree, on_the_path(tree.nodes["88.118"].port, change) as port:
        ours = tree.resolver()
        found = await ours.resolve_at(ABC, ("127.0.0.1", port))
        assert told(found) == Reason.CHANGED_VALUE
        found = await ours.resolve_at(Identifier.parse("88.118/DEF"), ("127.0.0.1", port))
        assert told(found) == "verified", "what it leaves alone is as good as ever"


async def test_stale_when_the_servers_are_gone(tmp_path: Path) -> None:
    async with handle_tree(tmp_path) as tree:
        late = 0.0
        ours = tree.resolver(QUICK, clock=lambda: tree.world.now + late)
        assert told(await ours.resolve(Query(ABC))) == "verified"
        late = 86_401.0
        tree.nodes["88.118"].close()
        found = await ours.resolve(Query(ABC))
        assert told(found) == "stale"
        assert "stale" in found.verdict.text
        assert told(await ours.resolve(Query(Identifier.parse("88.118/DEF")))) == UnreachableError


async def test_a_wrong_anchor_believes_nothing(tmp_path: Path) -> None:
    async with handle_tree(tmp_path) as tree:
        world = World(root_port=tree.nodes["root"].port)
        found = await HandleTree(world, tree.nodes).resolver().resolve(Query(ABC))
        assert told(found) == Reason.BAD_SIGNATURE


async def test_a_root_that_cannot_be_reached() -> None:
    world = World(root_port=1)
    found = await HandleTree(world, {}).resolver(QUICK).resolve(Query(ABC))
    assert told(found) == UnreachableError
    assert "127.0.0.1" in found.verdict.text
