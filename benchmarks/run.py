"""`make bench`: measures every row of the speed targets side by side in one run, prints the table, keeps it in RESULTS.md.

python -m benchmarks.run                       all of it, less than ten minutes on two cores
python -m benchmarks.run --quick               smaller counts and fewer turns: the direction, not the figure
python -m benchmarks.run --only dns,handle     some groups; nothing is kept unless --keep says so
"""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from benchmarks import answering, data, machine, recursing, report, standing, writing
from benchmarks.report import Row
from benchmarks.tree import Tree
from benchmarks.turns import Scale

GROUPS = ("dns", "handle", "tcp", "http", "memory", "restart", "recursive", "write")
_ANSWERING = {"dns", "handle", "tcp", "http"}
_BUSY_SHARE_MAX = 0.1

_FULL = Scale(questions=100_000, requests=40_000, turns=7)
_QUICK = Scale(questions=20_000, requests=8_000, turns=3)
_FULL_WRITING = writing.Scale(lines=190_000, singles=10_000, turns=5)
_QUICK_WRITING = writing.Scale(lines=20_000, singles=4_000, turns=3)
_QUICK_RECORDS = 250_000


@click.command()
@click.option("--quick", is_flag=True, help="Smaller counts, fewer turns, a quarter of the records.")
@click.option("--only", metavar="GROUPS", help=f"Some of {', '.join(GROUPS)}, with commas between.")
@click.option("--keep/--no-keep", default=None, help="Append to RESULTS.md.  [default: only a whole run that is not quick]")
def main(quick: bool, only: str | None, keep: bool | None) -> None:
    """Measure speed, memory and disk against the targets."""
    groups = set(only.split(",")) if only else set(GROUPS)
    if unknown := groups - set(GROUPS):
        raise click.BadParameter(
            f"there is no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}", param_hint="--only"
        )
    busy = machine.busy_share()
    remarks = [f"others used {busy:.0%} of the processors just before"]
    if busy > _BUSY_SHARE_MAX:
        print(f"the machine is {busy:.0%} busy: figures will be worse than they are", file=sys.stderr)
    rows: list[Row] = []
    failed = False
    began = time.monotonic()
    with machine.on_cores({machine.CLIENT_CORE}), tempfile.TemporaryDirectory(dir=_build(), prefix="run-") as directory:
        for part in _parts(groups, Path(directory), quick):
            try:
                rows += part()
            except RuntimeError as error:
                print(f"Error: {error}", file=sys.stderr)
                failed = True
    remarks.append(f"took {(time.monotonic() - began) / 60:.1f} minutes{', quick' if quick else ''}")
    print("\n".join(report.table(rows)))
    if rows and (keep or (keep is None and not quick and not failed and groups == set(GROUPS))):
        report.keep(rows, shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]), remarks)
    sys.exit(1 if failed else 0)


def _parts(groups: set[str], directory: Path, quick: bool) -> Iterator[Callable[[], list[Row]]]:
    """What is to be measured, one part after the other; a part that fails does not stop the others."""
    scale = _QUICK if quick else _FULL
    if groups - {"write"}:
        try:
            tree = Tree(directory, data.table(_QUICK_RECORDS if quick else data.RECORDS))
        except RuntimeError as error:
            raise click.ClickException(str(error)) from None
        if groups & _ANSWERING:
            yield partial(answering.run, groups & _ANSWERING, tree, scale)
        if "memory" in groups:
            yield partial(standing.memory, tree)
        if "restart" in groups:
            yield partial(standing.restart, tree, scale.turns)
        if "recursive" in groups:
            yield partial(recursing.run, tree, scale)
    if "write" in groups:
        yield partial(writing.run, directory / "registry", _QUICK_WRITING if quick else _FULL_WRITING)


def _build() -> Path:
    data.BUILD.mkdir(parents=True, exist_ok=True)
    return data.BUILD


if __name__ == "__main__":
    main()
