"""Rows of a node that stands there: memory of a worker whose answer caches are full, and the time from a start to an answer."""

import time
from collections.abc import Iterator
from urllib.request import urlopen

from benchmarks import data
from benchmarks.answering import CONNECTIONS, WINDOW, dns_labels
from benchmarks.load import questions
from benchmarks.load.connections import http_judge, kept_open
from benchmarks.load.datagrams import DatagramLoad
from benchmarks.machine import private_octets
from benchmarks.report import Row, at_most, progress
from benchmarks.tree import Node, Tree

MEMORY_TARGET, RESTART_TARGET = 150, 1  # MiB, seconds
# Names asked for at each door: more than 64 MiB of its answers, so that the oldest are driven out for a while.
DNS_NAMES, HANDLE_NAMES, HTTP_NAMES = 200_000, 100_000, 60_000

_PORTION = 20_000


def memory(tree: Tree) -> list[Row]:
    """Asks one worker at every door for more names than its answer caches hold."""
    with tree.serving("secondary") as node:
        fresh = private_octets(node.pid)
        _ask_dns(node, tree)
        _ask_handle(node, tree)
        _ask_http(node, tree)
        full = private_octets(node.pid)
        note = f"{fresh / 2**20:.0f} MiB when started; {', '.join(_cache_sizes(node))}"
    return [Row("memory of a worker, answer caches full", "MiB", (full / 2**20,), at_most(MEMORY_TARGET), note=note)]


def restart(tree: Tree, turns: int) -> list[Row]:
    """From starting the program to the first right answer, with all names in the table."""
    samples = []
    for turn in range(turns):
        progress(f"turn {turn + 1}: restart")
        began = time.perf_counter()
        with tree.serving("secondary"):
            samples.append(time.perf_counter() - began)
    progress("")
    return [Row(f"restart with {tree.records:,} names to first answer", "s", tuple(samples), at_most(RESTART_TARGET))]


def _ask_dns(node: Node, tree: Tree) -> None:
    client = DatagramLoad(node.dns)
    for portion in _portions(DNS_NAMES, tree, "DNS"):
        client.turn([questions.dns(dns_labels(i), i) for i in portion], questions.dns_expected(), WINDOW)


def _ask_handle(node: Node, tree: Tree) -> None:
    client = DatagramLoad(node.handle)
    expected = questions.handle_expected(client.ask(questions.handle(data.key(0), 0)))
    for portion in _portions(HANDLE_NAMES, tree, "Handle"):
        client.turn([questions.handle(data.key(i), i) for i in portion], expected, WINDOW)


def _ask_http(node: Node, tree: Tree) -> None:
    for portion in _portions(HTTP_NAMES, tree, "HTTP"):
        requests = [questions.http_get(f"/api/handles/{data.PREFIX}/{data.digits(i)}") for i in portion]
        kept_open(node.http, requests, http_judge(200), CONNECTIONS)


def _portions(names: int, tree: Tree, door: str) -> Iterator[range]:
    """Names to ask for, so many at a time that their questions take little memory here."""
    for first in range(0, min(names, tree.records), _PORTION):
        progress(f"filling the answer cache of the {door} door: {first:,}")
        yield range(first, min(first + _PORTION, names, tree.records))
    progress("")


def _cache_sizes(node: Node) -> list[str]:
    """What the node itself says of its answer caches."""
    with urlopen(f"http://{node.http[0]}:{node.http[1]}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    sizes = [line.split() for line in lines if line.partition(" ")[0].endswith("_cache_octets")]
    return [f"{name.removeprefix('waymark_').removesuffix('_octets')} {float(octets) / 2**20:.1f} MiB" for name, octets in sizes]
