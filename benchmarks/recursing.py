"""Rows of a recursive node: asked again, and asked for the first time, when it walks three levels and verifies each."""

import contextlib
import time

from benchmarks import answering, data
from benchmarks.load import questions
from benchmarks.load.datagrams import DatagramLoad
from benchmarks.machine import CLIENT_CORE, SERVER_CORE
from benchmarks.report import Row, at_most, progress
from benchmarks.tree import Tree, is_success
from benchmarks.turns import Scale, measured

COLD_TARGET = 10  # milliseconds


def run(tree: Tree, scale: Scale) -> list[Row]:
    """Root, top and secondary node run on both cores, the recursive node on the servers' core."""
    with contextlib.ExitStack() as stack:
        for role in ("root", "top", "secondary"):
            stack.enter_context(tree.serving(role, delegated=True, cores=(SERVER_CORE, CLIENT_CORE)))
        samples = tuple(_first_answer(tree, turn) for turn in range(scale.turns))
        cold = Row("recursive, cold, three levels, verified", "ms", samples, at_most(COLD_TARGET))
        loads = answering.knot_load(stack, tree.records, scale)
        loads += answering.recursive_loads(stack.enter_context(tree.serving("recursive")), scale)
        return [cold, *measured(loads, scale.turns)]


def _first_answer(tree: Tree, turn: int) -> float:
    """Milliseconds that the first question of all takes at a recursive node that has just started."""
    progress(f"turn {turn + 1}: recursive, cold")
    with tree.serving("recursive") as node, contextlib.closing(DatagramLoad(node.handle)) as client:
        began = time.perf_counter()
        answer = client.first(questions.handle(data.key(turn), turn), seconds=5)
        milliseconds = (time.perf_counter() - began) * 1000
    if not answer or not is_success(answer):
        raise RuntimeError(f"the recursive node did not resolve {data.key(turn).decode()}: {answer!r}")
    return milliseconds
