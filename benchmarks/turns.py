"""Server CPU per answer, measured in turns: one load after the other, again and again, so that all see the same machine.

A *load* is a kind of question put to one running server, ours or a peer's. In every turn each load runs once, and a row's ratio
compares samples of the same turn.
"""

import gc
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.load.datagrams import Turn
from benchmarks.machine import cpu_seconds
from benchmarks.report import Row, Target, progress

LOST_SHARE_MAX = 0.01


class Load(NamedTuple):
    """One kind of question at one server. `run` asks the questions of a turn and counts the answers."""

    name: str
    pid: int
    run: Callable[[int], Turn]
    target: Target | None = None
    fill: Callable[[], None] | None = None  # once, before the first turn


class Scale(NamedTuple):
    """How much is asked: questions a turn over UDP, requests a turn over TCP, turns."""

    questions: int
    requests: int
    turns: int


def measured(loads: Sequence[Load], turns: int) -> list[Row]:
    """A row for each load, with a sample for each turn. A peer that is not among the loads leaves its ratios out."""
    samples: dict[str, list[float]] = {load.name: [] for load in loads}
    for load in loads:
        if load.fill:
            load.fill()
    for turn in range(turns):
        for load in loads:
            progress(f"turn {turn + 1} of {turns}: {load.name}")
            samples[load.name].append(_microseconds(load, turn))
    progress("")
    made = []
    for load in loads:
        peer = load.target.peer if load.target else None
        beside = tuple(samples[peer]) if peer in samples else ()
        note = f"{peer} is not installed" if peer and not beside else ""
        made.append(Row(load.name, "us", tuple(samples[load.name]), load.target, beside, note))
    return made


def _microseconds(load: Load, turn: int) -> float:
    """Of server CPU for one right answer. Raises RuntimeError if there were wrong answers, or too few."""
    gc.collect()
    gc.disable()
    before = cpu_seconds([load.pid])
    try:
        done = load.run(turn)
    finally:
        gc.enable()
    used = cpu_seconds([load.pid]) - before
    asked = done.answers + done.wrong + done.lost
    if done.wrong or done.lost > asked * LOST_SHARE_MAX:
        raise RuntimeError(f"{load.name}: of {asked} questions {done.wrong} were answered wrongly and {done.lost} not at all")
    return used / done.answers * 1e6
