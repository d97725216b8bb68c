"""The nodes under measurement: a small tree that is verified up to its own anchor, with the million records at its third level.

    root (0.NA)  ->  top (88)  ->  secondary (88.101, and 88.101.5 hosted there)

Each node is the real `waymark serve NODE.toml`, a process of its own.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks import data
from benchmarks.load import questions
from benchmarks.machine import SERVER_CORE
from benchmarks.process import accepts, answers_datagram, running
from registry.ports import free_ports
from resolver.anchor import anchor_document
from resolver.core.wire.stored import encode_stored
from resolver.table import Change, TableWriter
from tests.support.world import World, site

WAYMARK = Path(sys.executable).with_name("waymark")
APEX = "id.test"
HANDLE_SUCCESS = 1

_NODE = """\
[node]
name = "{name}"
role = "{role}"
handle_port = {handle}
dns_port = {dns}
http_port = {http}
{table}
[dns]
apex = "{apex}"
[trust]
anchor = "{anchor}"
[limits]
{limits}
"""


class Node(NamedTuple):
    """A running node."""

    pid: int
    handle: tuple[str, int]
    dns: tuple[str, int]
    http: tuple[str, int]


class Tree:
    """The files of the tree: anchor, tables, one NODE.toml for each node that is started."""

    def __init__(self, directory: Path, built: data.Built) -> None:
        self._directory = directory
        self.records = built.records
        ports = dict(zip(("root", "top", "secondary"), free_ports(3), strict=True))
        world = World(root_port=ports["root"])
        world.keys |= built.keys
        world.delegate("88", ports["top"])
        world.delegate(data.SECONDARY, ports["secondary"])
        hosted = world.delegate(data.PREFIX, ports["secondary"])
        self._tables = {
            "root": world.publish("0.NA", directory / "root"),
            "top": world.publish("88", directory / "top"),
            "secondary": built.path,
        }
        writer = TableWriter(built.path)
        writer.apply([Change(writer.serial + 1, hosted.identifier.key, encode_stored(hosted))])
        writer.close()
        self.table = built.path
        self.site = site(ports["secondary"])
        self._ports = ports
        self._anchor = directory / "anchor.json"
        self._anchor.write_text(anchor_document(dict(world.anchor.keys.public), world.root_site), "utf-8")

    @contextlib.contextmanager
    def serving(
        self, role: str, limits: Mapping[str, int] | None = None, *, delegated: bool = False, cores: Iterable[int] = (SERVER_CORE,)
    ) -> Iterator[Node]:
        """Runs a node of this role (root, top, secondary, recursive) until the block ends.

        `delegated`: at the port that the tree's delegations name; else beside the tree, at any port.
        """
        handle, dns, http = free_ports(3)
        handle = self._ports[role] if delegated else handle
        path = self.config(role, (handle, dns, http), limits)
        with running((WAYMARK, "serve", path), lambda: self._is_ready(role, handle), cores=cores) as pid:
            yield Node(pid, ("127.0.0.1", handle), ("127.0.0.1", dns), ("127.0.0.1", http))

    def config(self, role: str, ports: tuple[int, int, int] = (0, 0, 0), limits: Mapping[str, int] | None = None) -> Path:
        """Writes a NODE.toml. `ports` are those of Handle, DNS and HTTP; `limits` are settings that differ from the defaults."""
        table = f'[table]\npath = "{self._tables[role]}"' if role in self._tables else ""
        settings = "\n".join(f"{name} = {value}" for name, value in (limits or {}).items())
        facts = {"name": role, "role": role, "table": table, "apex": APEX, "anchor": self._anchor, "limits": settings}
        path = self._directory / f"{role}-{ports[0]}.toml"
        path.write_text(_NODE.format(**dict(zip(("handle", "dns", "http"), ports, strict=True)), **facts), "utf-8")
        return path

    def _is_ready(self, role: str, port: int) -> bool:
        """Whether the node answers. A recursive one is not asked, since it would remember: it only has to listen."""
        if role == "recursive":
            return accepts(port)
        known = {"root": b"0.NA/88", "top": b"0.NA/88.101", "secondary": data.key(0)}[role]
        return answers_datagram(port, questions.handle(known, 1), is_success)


def is_success(message: bytes) -> bool:
    """Whether a Handle answer's first datagram says success."""
    return message[27] == HANDLE_SUCCESS
