"""Servers as data, for walks without a network: which prefixes each port homes, who is down, and who says something else.

script = Script(world)
script.homes(1088, "88")                            # a server at port 1088 that answers for 88 from the world's records
script.says(1088, "0.NA/88.118", Told(301))         # ... except for this question
script.down(1118)                                   # a server that is silent
script.walk("88.118/ABC")                           # drives a walk; script.asked tells who was asked for what
"""

import asyncio
from collections.abc import Callable
from typing import Any

from resolver.core.errors import UnreachableError, WaymarkError
from resolver.core.exchange import Endpoint, Told
from resolver.core.held import RecordCache
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, Identifier, parent_prefix, scope
from resolver.core.limits import Limits
from resolver.core.message import Answer, Failed
from resolver.core.record import INDEX_SITE, TYPE_SITE, Value
from resolver.core.referral import site_contacts
from resolver.core.walk import Ask, Resolution, Root, Walk
from resolver.core.wire.site import encode_site
from tests.support.world import World, site

Said = Told | WaymarkError | Callable[[Told], Told | WaymarkError]
_EXCHANGE_SECONDS = 0.001


class Script:
    """A tree of servers told apart by their port, and a clock that only moves when something takes time."""

    def __init__(self, world: World, bounds: Limits | None = None) -> None:
        self.world = world
        self.now = float(world.now)
        self.bounds = bounds or Limits()
        self.cache = RecordCache(self.bounds)
        self.asked: list[str] = []
        self._homes: dict[int, tuple[str, ...]] = {}
        self._says: dict[tuple[int, str], Said] = {}
        self._down: set[int] = set()

    @property
    def root(self) -> Root:
        anchor = self.world.anchor
        return Root(anchor.keys, tuple(site_contacts(anchor.site)))

    def homes(self, port: int, *prefixes: str) -> None:
        self._homes[port] = prefixes

    def says(self, port: int, name: str, said: Said) -> None:
        """What this server says when it is asked for `name`; a function gets what it would have said."""
        self._says[port, name] = said

    def down(self, *ports: int) -> None:
        self._down |= set(ports)

    def up(self, *ports: int) -> None:
        self._down -= set(ports)

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def start(self, name: str | Identifier, **options: Any) -> Walk:
        identifier = Identifier.parse(name) if isinstance(name, str) else name
        return Walk(identifier, self.root, self.cache, self.bounds, self.now, **options)

    def walk(self, name: str | Identifier, **options: Any) -> Resolution:
        """A whole walk. `asked` is afterwards what it asked: "udp 1088 0.NA/88.118"."""
        self.asked = []
        walk = self.start(name, **options)
        while (ask := walk.next_ask(self.now)) is not None:
            assert ask.patience > 0, "an exchange has some time"
            self.asked.append(f"{ask.endpoint.protocol} {ask.endpoint.port} {ask.identifier.canonical}")
            self.now += ask.pause
            said = self.answer(ask)
            walk.receive(said, self.now)
        return walk.resolution

    def answer(self, ask: Ask) -> Told | WaymarkError:
        port, name = ask.endpoint.port, ask.identifier.canonical
        if port in self._down:
            self.now += ask.patience
            return UnreachableError(f"{ask.endpoint} did not answer")
        self.now += _EXCHANGE_SECONDS
        said = self._says.get((port, name))
        if isinstance(said, Told | WaymarkError):
            return said
        true = self.truth(self._homes.get(port, ()), ask.identifier)
        return true if said is None else said(true)

    def truth(self, homes: tuple[str, ...], identifier: Identifier) -> Told:
        """What a node that homes these prefixes says: the record, no such identifier, the nearest delegation, or not mine."""
        at_root = PREFIX_AUTHORITY in homes
        if scope(identifier) in homes or (at_root and identifier.canonical == ANCHOR):
            for record in self.world.records.values():
                if identifier.is_answered_by(record.identifier):
                    return Told(1, record.identifier, self.world.values(record.identifier.canonical))
            return Told(100)
        zone = scope(identifier)
        while zone not in (PREFIX_AUTHORITY, "0.0"):
            delegation = Identifier(PREFIX_AUTHORITY, zone)
            if scope(delegation) in homes and delegation.key in self.world.records:
                return Told(303, delegation, self.world.values(delegation.canonical))
            zone = parent_prefix(zone)
        return Told(301, text="this prefix is not homed here")


class ScriptedClient:
    """In place of `client.Client`: asks a Script. While `gate` is closed, every exchange waits for it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.recursive: set[bool] = set()

    async def ask(self, identifier: Identifier, endpoint: Endpoint, patience: float, recursive: bool = False) -> Told:
        self.asked.append(f"{endpoint.protocol} {endpoint.port} {identifier.canonical}")
        self.recursive.add(recursive)
        await self.gate.wait()
        said = self.script.answer(Ask(identifier, endpoint, recursive, 0.0, patience))
        if isinstance(said, WaymarkError):
            raise said
        return said


def told(found: Resolution) -> str | type[WaymarkError]:
    """A resolution in one word: "verified", "stale", the reason of its verdict, or the error that kept it from any."""
    if isinstance(found.outcome, Answer):
        assert found.verdict.verified
        assert found.verdict.reason == "verified"
        assert found.outcome.record.key == found.chain[0].identifier.key
        return "stale" if found.outcome.stale else "verified"
    assert not found.verdict.verified
    if isinstance(found.outcome, Failed) and found.verdict.reason == "unreachable":
        return type(found.outcome.error)
    return found.verdict.reason


def tree(bounds: Limits | None = None, now: int | None = None) -> Script:
    """Root 1000, 88 at 1088, 88.118 at 1118 (which hosts 88.118.5), 88.118.8 at 1008 and 2008; some records in each."""
    world = World(now, root_port=1000)
    world.delegate("88", 1088)
    world.delegate("88.118", 1118)
    world.delegate("88.118.5", 1118)
    world.delegate("88.118.8", 1008, Value(INDEX_SITE + 10, TYPE_SITE, encode_site(site(2008))))
    for name in ("88.118/ABC", "88.118/DEF", "88.118.5/HOSTED", "88.118.8/XYZ"):
        world.put(name, Value(1, "URL", b"https://example.org/" + name.encode()), Value(2, "NAME", "水杯".encode()))
    script = Script(world, bounds)
    script.homes(1000, "0.NA", "0.0")
    script.homes(1088, "88")
    script.homes(1118, "88.118", "88.118.5")
    for port in (1008, 2008):
        script.homes(port, "88.118.8")
    return script
