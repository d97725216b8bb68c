"""What was measured, beside what was promised: the rows, the table that is printed, the section that is kept.

A row has one sample a turn. Its figure is the median; the spread is the least and the greatest sample. Where the target is a ratio
to a peer, each turn's ratio is taken from the two samples of that same turn, and the median of those is what counts.
"""

import datetime as dt
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import machine

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


class Target(NamedTuple):
    """`bound` in the row's unit; or, with a `peer`, the least that peer's cost divided by ours may be."""

    bound: float
    at_least: bool = False
    peer: str | None = None


class Row(NamedTuple):
    name: str
    unit: str
    samples: tuple[float, ...]  # one a turn; empty when it could not be measured
    target: Target | None = None
    peer_samples: tuple[float, ...] = ()  # of the target's peer, in the same turns
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(peer / ours for peer, ours in zip(self.peer_samples, self.samples, strict=True)) if self.peer_samples else ()

    @property
    def met(self) -> bool | None:
        """None when there is no target, or nothing to judge it by."""
        judged = self.ratios if self.target and self.target.peer else self.samples
        if self.target is None or not judged:
            return None
        return median(judged) >= self.target.bound if self.target.at_least else median(judged) <= self.target.bound


def at_most(bound: float) -> Target:
    return Target(bound)


def at_least(bound: float, peer: str | None = None) -> Target:
    return Target(bound, at_least=True, peer=peer)


def progress(text: str) -> None:
    """Shows what is being done, where somebody watches. Empty text clears the line."""
    if sys.stderr.isatty():
        print(f"\r{text:80}\r{text}", end="", file=sys.stderr, flush=True)


def table(rows: Iterable[Row]) -> list[str]:
    """The rows as lines of aligned text."""
    cells = [("row", "measured (min..max)", "ratio to peer (min..max)", "target", "met", "")]
    for row in rows:
        measured = f"{_figure(row.samples)} {row.unit}" if row.samples else "not measured"
        ratio = f"{_figure(row.ratios)} of {row.target.peer}" if row.ratios and row.target else ""
        met = {True: "yes", False: "NO", None: ""}[row.met]
        cells.append((row.name, measured, ratio, _target(row), met, row.note))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]) - 1)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in cells]
    return [lines[0].rstrip(), "  ".join("-" * width for width in widths), *(line.rstrip() for line in lines[1:])]


def keep(rows: Sequence[Row], command: str, remarks: Sequence[str]) -> None:
    """Appends a dated section to RESULTS.md."""
    now = dt.datetime.now(dt.UTC)
    lines = ["", f"## {now:%Y-%m-%d %H:%M} UTC", ""]
    facts = machine.description() | {"commit": machine.commit(), "command": f"`{command}`"}
    lines += [f"- {name}: {fact}" for name, fact in facts.items()]
    lines += [f"- {remark}" for remark in remarks]
    lines += ["", "```", *table(rows), "```", ""]
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))


def _figure(samples: Sequence[float]) -> str:
    middle = _number(median(samples))
    return f"{middle} ({_number(min(samples))}..{_number(max(samples))})" if len(samples) > 1 else middle


def _number(value: float) -> str:
    """Three digits that count, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    sign = ">=" if row.target.at_least else "<="
    return f"{sign} {row.target.bound:,g} " + (f"of {row.target.peer}" if row.target.peer else row.unit)
