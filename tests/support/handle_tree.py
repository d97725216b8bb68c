"""A tree of Handle servers on loopback, in this process: real sockets and the real door, over the tables of a `World`.

async with handle_tree(tmp_path) as tree:       # a root, 88, and 88.118, which also hosts 88.118.5
    await tree.resolver().resolve(Query(Identifier.parse("88.118/ABC")))
"""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from resolver.core.limits import Limits
from resolver.core.record import Value
from resolver.desk import Desk
from resolver.doors.handle import HandleDoor
from resolver.metrics import Metrics
from resolver.resolution import Resolver
from resolver.server.message_connection import message_server
from resolver.server.tcp import Listener
from resolver.server.udp import DatagramServer
from tests.support.dns import node
from tests.support.sockets import pair
from tests.support.world import World

HOMES = {"root": ("0.NA",), "88": ("88",), "88.118": ("88.118", "88.118.5")}
RECORDS = ("88.118/ABC", "88.118/DEF", "88.118.5/HOSTED")


class HandleNode:
    """One server: a Handle door on UDP and TCP at one port."""

    def __init__(self, desk: Desk, sockets: tuple[socket.socket, Listener]) -> None:
        self.desk = desk
        self.door = HandleDoor(desk)
        self.port = int(sockets[0].getsockname()[1])
        bounds = desk.config.limits
        self._servers = (
            DatagramServer(sockets[0], "handle-udp", self.door.answer_datagram, desk.metrics, bounds),
            message_server(sockets[1], "handle-tcp", self.door, desk.metrics, bounds),
        )
        self._running = False

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def metrics(self) -> Metrics:
        return self.desk.metrics

    def start(self) -> None:
        for server in self._servers:
            server.start()
        self._running = True

    def close(self) -> None:
        if self._running:
            for server in self._servers:
                server.close()
            if self.desk.table is not None:
                self.desk.table.close()
            self._running = False


class HandleTree:
    def __init__(self, world: World, nodes: dict[str, HandleNode]) -> None:
        self.world = world
        self.nodes = nodes

    def resolver(self, bounds: dict[str, object] | None = None, **options: Any) -> Resolver:
        """A resolver that starts from this tree's anchor."""
        return Resolver(self.world.anchor, Limits(bounds), **options)

    def questions(self, name: str) -> int:
        """How many questions this node has answered over both ways."""
        ways = [
            ("query", door, outcome) for door in ("handle-udp", "handle-tcp") for outcome in ("answer", "not-found", "referral")
        ]
        return sum(self.nodes[name].metrics.total(*way) for way in ways)


@asynccontextmanager
async def handle_tree(
    path: Path, prepare: Callable[[World], object] | None = None, recursive: bool = False
) -> AsyncIterator[HandleTree]:
    """Starts the tree. `prepare` may change the world before its tables are written. `recursive` adds a node without a table."""
    sockets = {name: pair() for name in (*HOMES, *(["recursive"] if recursive else []))}
    ports = {name: int(udp.getsockname()[1]) for name, (udp, _) in sockets.items()}
    world = World(root_port=ports["root"])
    world.delegate("88", ports["88"])
    world.delegate("88.118", ports["88.118"])
    world.delegate("88.118.5", ports["88.118"])
    for name in RECORDS:
        world.put(name, Value(1, "URL", b"https://example.org/" + name.encode()), Value(2, "NAME", "水杯".encode()))
    world.delete("88.118/GONE")
    if prepare is not None:
        prepare(world)
    nodes = {name: HandleNode(node(world.publish(homes, path / name)), sockets[name]) for name, homes in HOMES.items()}
    if recursive:
        nodes["recursive"] = HandleNode(node(None, Resolver(world.anchor), role="recursive"), sockets["recursive"])
    for each in nodes.values():
        each.start()
    try:
        yield HandleTree(world, nodes)
    finally:
        for each in nodes.values():
            each.close()
