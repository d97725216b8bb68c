"""`waymark import`: the command, its progress line and its closing words. The work is `importing`'s."""

import asyncio
import sys
import time
from pathlib import Path

import click

from registry.access import secret, with_registry
from registry.importing import ImportOptions, ImportSummary, Progress, run_import
from resolver.core.codes import SYSTEMS

EXIT_REJECTED, EXIT_INTERRUPTED = 1, 130
LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal

_PATH = click.Path(dir_okay=False, path_type=Path)
_HELP = """Register every row of FILE.

CSV or NDJSON, gzipped or not, however large.

Templates say what becomes of a row: names of columns in braces are filled with its cells. A value is left out where a column it
names is empty.

\b
waymark import products.csv --identifier '88.101.5/{gtin}' \\
    --value 'URL={image_url}' --value 'NAME={name}' --check gtin=gs1 --token @token

\b
A value:     [INDEX:]TYPE[@TTL]=TEMPLATE   e.g. 3:URL@3600=https://example.org/{gtin}
Encoding:    UTF-8, UTF-16 and GB18030 are detected, and , ; tab or | as the delimiter
In NDJSON:   a line is one object, its members are the columns

Rows that are refused go to an error file, as they were, with line, column, what is wrong and what was expected. Mend them there and
import that file. All other rows are registered. Nothing is imported twice: a row that is registered already counts as unchanged.
After Ctrl-C, a crash or a power cut give the same command again, and it goes on where it stopped; a journal beside FILE remembers.

\b
Exit status: 0 every row is registered, 1 some were refused (the error file says which),
             2 wrong usage or a file that cannot be read, 3 the registry cannot be reached, 130 stopped with Ctrl-C

\b
Codes that --check knows:
"""
_SYSTEMS = "\n".join(f"  {system.name:9} {system.title}" for system in SYSTEMS.values())


@click.command("import", help=_HELP + _SYSTEMS)
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--identifier", required=True, metavar="TEMPLATE", help="Identifier of a row, e.g. '88.101.5/{gtin}'.")
@click.option("--value", "values", multiple=True, required=True, metavar="TYPE=TEMPLATE", help="A value of a row; repeat for more.")
@click.option("--check", "checks", multiple=True, metavar="COLUMN=SYSTEM", help="Refuse rows whose code is wrong, e.g. gtin=gs1.")
@click.option("--replace", is_flag=True, help="Replace records that exist with other values, instead of refusing the row.")
@with_registry
@click.option("--errors", type=_PATH, help="Where refused rows go.  [default: FILE.errors.csv]")
@click.option("--journal", type=_PATH, help="Where progress is remembered.  [default: FILE.journal]")
@click.option("--encoding", help="Encoding of FILE, e.g. cp1252.  [default: detected]")
@click.option("--delimiter", help="Delimiter of a CSV file; 'tab' for a tab.  [default: detected]")
@click.option("--patience", type=click.FloatRange(0, 86_400), default=60, show_default=True, metavar="SECONDS",
              help="How long a registry that was lost is waited for.")  # fmt: skip
def import_command(
    path: Path, identifier: str, values: tuple[str, ...], checks: tuple[str, ...], replace: bool, url: str, token: str | None,
    errors: Path | None, journal: Path | None, encoding: str | None, delimiter: str | None, patience: float,
) -> None:  # fmt: skip
    """Runs an import, and says how it goes and how it ended."""
    options = ImportOptions(
        path, identifier, values, checks, url, secret(token), replace, errors, journal, encoding,
        "\t" if delimiter in ("tab", "\\t") else delimiter, patience,
    )  # fmt: skip
    screen = Screen()
    try:
        summary = asyncio.run(run_import(options, screen.report))
    except KeyboardInterrupt:
        screen.end()
        click.echo(f"stopped; {screen.rows:,} rows are settled. Give the same command again, and it goes on there", err=True)
        sys.exit(EXIT_INTERRUPTED)
    finally:
        screen.end()
    click.echo(closing_words(summary))
    sys.exit(EXIT_REJECTED if summary.rejected else 0)


class Screen:
    """Progress on standard error: one line that is written over on a terminal, elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self.rows = 0
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._width = 0  # of the line that stands there

    def report(self, progress: Progress) -> None:
        self.rows = progress.settled.rows
        if progress.notice:
            self.end()
            click.echo(progress.notice, err=True)
        elif self._terminal:
            line = progress_line(progress)
            click.echo("\r" + line.ljust(self._width), nl=False, err=True)
            self._width = len(line)
        elif time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            click.echo(progress_line(progress), err=True)

    def end(self) -> None:
        """Leaves the line that stands there."""
        if self._width:
            click.echo(err=True)
            self._width = 0


def progress_line(progress: Progress) -> str:
    """`[#########...........]  45 %  45,000 rows  9,800/s  0:06 left  3 rejected`"""
    done = round(progress.fraction * 20)
    parts = [
        f"[{'#' * done:.<20}] {progress.fraction:4.0%}",
        f"{progress.settled.rows:,} rows",
        f"{progress.rows_per_second:,.0f}/s",
    ]
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02} left")
    if progress.settled.rejected:
        parts.append(f"{progress.settled.rejected:,} rejected")
    return "  ".join(parts)


def closing_words(summary: ImportSummary) -> str:
    """How it ended, in plain words."""
    outcomes = [f"{summary.registered:,} registered", f"{summary.unchanged:,} unchanged", f"{summary.rejected:,} rejected"]
    if summary.replaced:
        outcomes.insert(1, f"{summary.replaced:,} replaced")
    here = summary.rows - summary.resumed_rows
    text = (
        f"{summary.rows:,} rows: {', '.join(outcomes)}. {summary.seconds:.1f} s, {here / max(summary.seconds, 0.001):,.0f} rows/s"
    )
    if summary.resumed_rows:
        text += f" ({summary.resumed_rows:,} rows were settled before)"
    if summary.errors is not None:
        text += f"\nThe rejected rows and what is wrong with them: {summary.errors}; mend them there and import that file"
    return text
