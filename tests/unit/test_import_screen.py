"""What `waymark import` shows: help to work from, a progress line, closing words."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.import_command import Screen, closing_words, import_command, progress_line
from registry.importing import ImportSummary, Progress
from registry.journal import Settled
from resolver.core.codes import SYSTEMS


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(rows: int, fraction: float = 0.45, rejected: int = 0, begun_at: int = 0, notice: str = "") -> Progress:
    return Progress(Settled(rows=rows, rejected=rejected), fraction, Settled(rows=begun_at), 5.0, notice)


def test_the_help_names_every_option_and_every_code_system() -> None:
    text = CliRunner().invoke(import_command, ["--help"]).output
    for option in import_command.params:
        assert any(name in text for name in option.opts) or option.name == "path"
    for name, system in SYSTEMS.items():
        assert f"  {name:9} {system.title}" in text
    assert "waymark import products.csv --identifier '88.101.5/{gtin}'" in text


def test_a_progress_line_has_rate_and_time_left() -> None:
    assert progress_line(progress(45_000)) == "[#########...........]  45%  45,000 rows  9,000/s  0:06 left"
    assert progress_line(progress(45_000, rejected=3)).endswith("0:06 left  3 rejected")
    assert progress_line(progress(0, 0.0)) == "[....................]   0%  0 rows  0/s"
    assert progress_line(progress(100, 1.0)).startswith("[####################] 100%  100 rows  20/s  0:00 left")
    assert progress_line(progress(1000, 1000 / (1000 + 200 * 59.7))).endswith("1:00 left")
    long = progress(1000, 0.001)
    assert progress_line(long).endswith("200/s  83:15 left")


def test_rows_that_were_settled_before_do_not_count_for_the_rate() -> None:
    assert progress(50_000, begun_at=45_000).rows_per_second == 1000


def test_on_a_terminal_one_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    screen = Screen()
    screen.report(progress(1_000_000))
    screen.report(progress(5))
    first, second = terminal.getvalue().split("\r")[1:]
    assert len(first) == len(second)
    screen.report(progress(6, notice="the line broke"))
    screen.end()
    assert terminal.getvalue().endswith("\nthe line broke\n")
    assert screen.rows == 6


def test_elsewhere_a_line_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    screen = Screen()
    screen.report(progress(5))
    assert log.getvalue() == ""
    monkeypatch.setattr("registry.import_command.LINE_SECONDS", 0.0)
    screen.report(progress(45_000))
    assert log.getvalue() == progress_line(progress(45_000)) + "\n"


def test_the_closing_words_say_what_became_of_every_row() -> None:
    clean = ImportSummary(1000, 900, 0, 100, 0, 0, 2.0, None)
    assert closing_words(clean) == "1,000 rows: 900 registered, 100 unchanged, 0 rejected. 2.0 s, 500 rows/s"
    mixed = ImportSummary(1000, 900, 50, 40, 10, 600, 2.0, Path("e.csv"))
    assert closing_words(mixed) == (
        "1,000 rows: 900 registered, 50 replaced, 40 unchanged, 10 rejected. 2.0 s, 200 rows/s (600 rows were settled before)\n"
        "The rejected rows and what is wrong with them: e.csv; mend them there and import that file"
    )
