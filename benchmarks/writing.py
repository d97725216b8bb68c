"""Rows of writing: registration through the registry's HTTP API, durable and published, and what it takes on the disk.

A registry is set up with the commands that an operator would type, in an empty directory. Records arrive in random order.
"""

import contextlib
import http.client
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import data
from benchmarks.load import bulk, questions
from benchmarks.load.connections import http_judge, kept_open
from benchmarks.load.datagrams import Turn
from benchmarks.machine import CLIENT_CORE, SERVER_CORE, cpu_seconds, disk_octets, on_cores
from benchmarks.process import answers_datagram, running
from benchmarks.report import Row, Target, at_least, at_most, progress
from benchmarks.tree import WAYMARK, is_success
from registry.ports import free_ports
from resolver.table import Table

BULK_TARGET, SINGLE_TARGET = 12_000, 4_000  # records a second
LIVE_TARGET, REBUILT_TARGET = 1_050, 900  # octets a record
SEEN_TARGET = 1_000  # milliseconds
CLIENTS = 64

_BOTH_CORES = (SERVER_CORE, CLIENT_CORE)
_PUBLISH_SECONDS = 30.0
_SEEN = 200  # registrations watched, one after another


class Registry(NamedTuple):
    """A registry's directory, as `waymark init` made it, and where it listens."""

    directory: Path
    address: tuple[str, int]

    @property
    def token(self) -> str:
        return (self.directory / "token").read_text("ascii").strip()


class Scale(NamedTuple):
    """Records of one bulk request, requests of the 64 clients together, turns of each."""

    lines: int
    singles: int
    turns: int


def run(directory: Path, scale: Scale) -> list[Row]:
    """The rows of writing and of the disk. `directory` is empty, and on a real disk."""
    with on_cores(_BOTH_CORES):
        registry = _set_up(directory)
        with _serving(registry) as pid:
            _waymark("delegate", data.PREFIX, "--registry", f"http://127.0.0.1:{registry.address[1]}", "--token", registry.token)
            records = scale.turns * scale.lines
            bulk_turns = [
                _measured(pid, "bulk registration", _bulk(registry, first, scale.lines)) for first in range(0, records, scale.lines)
            ]
            records += scale.turns * scale.singles
            firsts = range(scale.turns * scale.lines, records, scale.singles)
            single_turns = [_measured(pid, "single registrations", _singles(registry, first, scale.singles)) for first in firsts]
            _wait_until_published(registry, records)
            seen = _milliseconds_until_seen(registry, records)
            records += len(seen)
        truth = disk_octets(directory / "truth.db") + disk_octets(directory / "truth.db-wal")
        live = truth + disk_octets(directory / "table")
        _waymark("table", "rebuild", str(directory / "registry.toml"))
        rebuilt = truth + disk_octets(directory / "table")
    return [
        _row("bulk registration, durable, on two cores", bulk_turns, at_least(BULK_TARGET)),
        _row(f"single registrations, {CLIENTS} clients", single_turns, at_least(SINGLE_TARGET)),
        Row("registered until a resolver answers, p99", "ms", (seen[len(seen) * 99 // 100],), at_most(SEEN_TARGET)),
        Row(f"disk, truth and table live, {records:,} records", "octets/record", (live / records,), at_most(LIVE_TARGET)),
        Row("disk, truth and table rebuilt", "octets/record", (rebuilt / records,), at_most(REBUILT_TARGET)),
        Row("  of which the truth", "octets/record", (truth / records,)),
    ]


class Rate(NamedTuple):
    """Of one turn: records a second by the clock, and processor time of the registry for each."""

    records_a_second: float
    microseconds: float


def _row(name: str, rates: list[Rate], target: Target) -> Row:
    used = median(rate.microseconds for rate in rates)
    samples = tuple(rate.records_a_second for rate in rates)
    return Row(name, "records/s", samples, target, note=f"{used:.0f} us of processor time each")


def _measured(pid: int, what: str, load: Callable[[], Turn]) -> Rate:
    """Runs a load that was made ready before, so that making it is not counted."""
    progress(what)
    before = cpu_seconds([pid])
    turn = load()
    if turn.wrong or turn.lost:
        raise RuntimeError(f"{what}: {turn.answers} created, {turn.wrong} refused, {turn.lost} unanswered")
    return Rate(turn.answers / turn.seconds, (cpu_seconds([pid]) - before) / turn.answers * 1e6)


def _bulk(registry: Registry, first: int, count: int) -> Callable[[], Turn]:
    pieces = bulk.chunks(bulk.line(i) for i in range(first, first + count))
    return lambda: bulk.post_bulk(registry.address, registry.token, count, pieces)


def _singles(registry: Registry, first: int, count: int) -> Callable[[], Turn]:
    headers = {"Authorization": f"Bearer {registry.token}", "Content-Type": "application/json"}
    requests = [
        questions.http_post("/v1/identifiers", bulk.line(i), headers | {"Idempotency-Key": f"key-{i}"})
        for i in range(first, first + count)
    ]
    return lambda: kept_open(registry.address, requests, http_judge(201), CLIENTS)


def _milliseconds_until_seen(registry: Registry, first: int) -> list[float]:
    """How long after its registration was acknowledged each of some records is answered over Handle, ascending."""
    progress("registered until answered")
    port = registry.address[1] - 3  # the first of the four that `waymark init` was given is the node's Handle door
    seen = []
    node = (WAYMARK, "serve", registry.directory / "node.toml")
    with running(node, lambda: answers_datagram(port, questions.handle(data.key(0), 1), is_success), cores=_BOTH_CORES):
        client = http.client.HTTPConnection(*registry.address, timeout=10)
        with contextlib.closing(client):
            for i in range(first, first + _SEEN):
                headers = {"Authorization": f"Bearer {registry.token}", "Content-Type": "application/json"}
                client.request("POST", "/v1/identifiers", bulk.line(i), headers)
                client.getresponse().read()
                began = time.perf_counter()
                while not answers_datagram(port, questions.handle(data.key(i), i), is_success):
                    time.sleep(0.001)
                seen.append((time.perf_counter() - began) * 1000)
    return sorted(seen)


# ---- a registry


def _set_up(directory: Path) -> Registry:
    root, child = directory.parent / "root", directory
    port = free_ports(4)[0]
    _waymark("init", "root", str(root))
    _waymark(
        "init", "secondary", str(child), "--prefix", data.SECONDARY, "--anchor", str(root / "anchor.json"), "--ports", str(port)
    )
    return Registry(child, ("127.0.0.1", port + 3))


@contextlib.contextmanager
def _serving(registry: Registry) -> Iterator[int]:
    command = (WAYMARK, "registry", "serve", registry.directory / "registry.toml")
    with running(command, lambda: _is_ready(registry.address), cores=_BOTH_CORES) as pid:
        yield pid


def _is_ready(address: tuple[str, int]) -> bool:
    client = http.client.HTTPConnection(*address, timeout=1)
    with contextlib.suppress(OSError), contextlib.closing(client):
        client.request("GET", "/readyz")
        return client.getresponse().status == 200
    return False


def _wait_until_published(registry: Registry, records: int) -> None:
    """Until the answer table has them all, so that the disk is measured with both."""
    deadline = time.monotonic() + _PUBLISH_SECONDS
    while True:
        table = Table(registry.directory / "table")
        published = table.stat().records
        table.close()
        if published >= records:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{published:,} of {records:,} records were published {_PUBLISH_SECONDS:.0f} s after the last answer"
            )
        time.sleep(0.1)


def _waymark(*arguments: str) -> None:
    done = subprocess.run([WAYMARK, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"waymark {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
