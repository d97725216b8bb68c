"""Rows of a node that stands there: memory of a worker whose answer caches are full, and the time from a start to an answer."""

import time
from urllib.request import urlopen

from benchmarks import data
from benchmarks.answering import WINDOW, dns_labels
from benchmarks.load import questions
from benchmarks.load.datagrams import DatagramLoad
from benchmarks.machine import private_octets
from benchmarks.report import Row, at_most
from benchmarks.tree import Node, Tree

MEMORY_TARGET, RESTART_TARGET = 150, 1  # MiB, seconds
NAMES = 200_000  # asked for at each UDP door: half of them already fill the cache of either, the rest drive out older ones
_PORTION = 20_000


def memory(tree: Tree) -> Row:
    """Asks one worker at both UDP doors for more names than its answer caches hold."""
    with tree.serving("secondary") as node:
        fresh = private_octets(node.pid)
        dns, handle = DatagramLoad(node.dns), DatagramLoad(node.handle)
        expected = questions.handle_expected(handle.ask(questions.handle(data.key(0), 0)))
        for first in range(0, min(NAMES, tree.records), _PORTION):
            wanted = range(first, first + _PORTION)
            dns.turn([questions.dns(dns_labels(i), i) for i in wanted], questions.dns_expected(), WINDOW)
            handle.turn([questions.handle(data.key(i), i) for i in wanted], expected, WINDOW)
        full = private_octets(node.pid)
        note = f"{fresh / 2**20:.0f} MiB when started; {cache_note(node)}"
    return Row("memory of a worker, answer cache full", "MiB", (full / 2**20,), at_most(MEMORY_TARGET), note=note)


def cache_note(node: Node) -> str:
    """What the node itself says of its answer caches."""
    with urlopen(f"http://{node.http[0]}:{node.http[1]}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    said = [line for line in lines if "cache" in line and "octets" in line and not line.startswith("#")]
    return ", ".join(f"{line.split()[0].removeprefix('waymark_')} {float(line.split()[1]) / 2**20:.1f} MiB" for line in said)


def restart(tree: Tree, turns: int) -> Row:
    """From starting the program to the first right answer, with all names in the table."""
    samples = []
    for _ in range(turns):
        began = time.perf_counter()
        with tree.serving("secondary"):
            samples.append(time.perf_counter() - began)
    return Row(f"restart with {tree.records:,} names to first answer", "s", tuple(samples), at_most(RESTART_TARGET))
