"""A node of 88.118 for the Handle door: a few records, two of its prefixes delegated away, one identifier deleted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resolver.core.record import Value
from resolver.doors.handle import HandleDoor
from tests.support.dns import node
from tests.support.handle import NOW, table_of
from tests.support.world import World

URL = Value(1, "URL", b"https://example.org/")
NAME = Value(2, "NAME", "酱油".encode())
SECRET = Value(301, "HS_SECKEY", b"s3cret", permissions=0x0C)
BIG = tuple(Value(index, "DATA", bytes(30_000)) for index in range(1, 7))


@pytest.fixture(name="world")
def _world() -> World:
    world = World(now=int(NOW))
    for prefix, port in (("88", 2641), ("88.118", 2642), ("88.118.8", 2643), ("88.118.9", 2644)):
        world.delegate(prefix, port)
    world.put("88.118/ABC", URL, NAME)
    world.put("88.118/长", URL)
    world.put("88.118/PRIVATE", SECRET, URL)
    world.put("88.118/SECRET", SECRET)
    world.put("88.118/SITES", Value(1, "HS_SITE.6", b"6"), Value(2, "HS_SITE", b"4"), Value(3, "HS_SITES", b"s"))
    world.put("88.118/BIG", *BIG)
    world.put("88.118/OLD", URL)
    world.delete("88.118/OLD")
    return world


@pytest.fixture(name="doors")
def _doors(tmp_path: Path) -> Iterator[Callable[..., HandleDoor]]:
    """Opens doors over the table of what a world says of 88.118, and closes their tables in the end."""
    opened = []

    def door(world: World, **settings: Any) -> HandleDoor:
        path = tmp_path / "table"
        opened.append(HandleDoor(node(path if path.exists() else world.publish("88.118", path), **settings)))
        return opened[-1]

    yield door
    for one in opened:
        table_of(one).close()


@pytest.fixture(name="door")
def _door(world: World, doors: Callable[..., HandleDoor]) -> HandleDoor:
    return doors(world)
