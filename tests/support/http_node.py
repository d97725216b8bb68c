"""An HTTP door on a real socket, over a small world: authoritative for 88.118, or recursive."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from resolver.config import NodeConfig
from resolver.core.limits import Limits
from resolver.core.record import Value
from resolver.core.wire.admin import Admin, encode_admin
from resolver.desk import Desk
from resolver.doors.http import HttpDoor
from resolver.metrics import Metrics
from resolver.server.http_connection import http_server
from resolver.server.tcp import StreamServer, bind_stream
from resolver.table import Table
from tests.support.recursion import WorldRecursion
from tests.support.world import World, site

PRODUCT = "88.118/6901234567892"
LONG = "88.118/" + 240 * "长"  # its key has more octets than the table takes


class HttpNode(NamedTuple):
    """`port` is where the door is served."""

    port: int
    world: World
    recursion: WorldRecursion
    desk: Desk
    door: HttpDoor
    server: StreamServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cell(self, *name: str) -> int:
        return self.desk.metrics.total(*name)


def small_world(now: int | None = None) -> World:
    """88 and 88.118 with products of each kind, 88.118.8 delegated to a node of its own."""
    world = World(now)
    admin = Value(100, "HS_ADMIN", encode_admin(Admin("0.NA/88.118", 300, 0x7F3)))
    world.delegate("88", 2641, Value(2, "NAME", "国家顶级节点".encode()))
    world.delegate("88.118", 2642, Value(2, "NAME", "江苏综合型二级节点".encode()), Value(3, "DESC", b"Secondary node, Jiangsu"))
    world.delegate("88.118.8", 2643, Value(2, "NAME", "苏州精工电气有限公司".encode()))
    world.put(
        PRODUCT,
        Value(1, "URL", "https://example.org/p/6901234567892?lang=zh&from=标识".encode()),
        Value(2, "NAME", "三相异步电动机 YE3-132M-4".encode()),
        Value(3, "DESC", "额定功率 7.5 kW，额定转速 1440 r/min，防护等级 IP55。\n能效等级：3 级".encode()),
        Value(4, "SECRET", b"for administrators only", permissions=0b1100),
        admin,
    )
    world.put("88.118/plain", Value(1, "DESC", b"no address here"), Value(2, "PHOTO", bytes(range(256))), admin)
    world.put("88.118/script", Value(1, "URL", b"javascript:alert(1)"), Value(2, "DESC", b'<script>alert("x")</script>'))
    world.put(
        "88.118/two",
        Value(1, "URL.OLD", b"https://old.example/"),
        Value(2, "URL", b"ftp://x/"),
        Value(3, "URL", b"http://new.example/"),
    )
    world.put("88.118/设备-01", Value(1, "DESC", "中文后缀".encode()))
    world.put(LONG, Value(1, "DESC", b"a long name"))
    world.delete("88.118/gone")
    return world


@asynccontextmanager
async def http_node(folder: Path, world: World | None = None, role: str = "secondary", **bounds: int) -> AsyncIterator[HttpNode]:
    """A served door. Role "recursive" has no table and asks the whole world."""
    world = world or small_world()
    table = None if role == "recursive" else Table(world.publish("88.118", folder / "table"))
    limits = Limits(bounds)
    config = NodeConfig(
        path=folder / "node.toml", name="jiangsu", role=role, listen="127.0.0.1", handle_port=2642, dns_port=5354, http_port=8001,
        workers=1, public_address="127.0.0.1", table=None if table is None else folder / "table", anchor=folder / "anchor.json",
        apex=(b"id", b"test"), name_server=None, hostmaster="hostmaster.id.test", limits=limits,
    )  # fmt: skip
    recursion = WorldRecursion(world)
    desk = Desk(config, site(2642, 8001), table, recursion, Metrics(), lambda: float(world.now))
    door = HttpDoor(desk)
    listener = bind_stream("127.0.0.1", 0)
    server = http_server(listener, door, desk.metrics, limits)
    server.start()
    try:
        yield HttpNode(listener.getsockname()[1], world, recursion, desk, door, server)
    finally:
        server.close()
        if table is not None:
            table.close()
