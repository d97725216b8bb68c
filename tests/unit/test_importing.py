"""An import against a registry that misbehaves: broken streams, refusals, lost connections; its journal and its error file."""

import asyncio
import csv
import json
import resource
from pathlib import Path
from typing import Any

import pytest

from registry.client import TokenRefusedError
from registry.importing import ImportOptions, ImportSummary, Progress, run_import
from resolver.core import codes, limits
from resolver.core.errors import ConfigError, FormatError, StoreError, UnreachableError
from tests.support.fake_registry import FakeRegistry, Turn

BAD = 10  # every tenth row has a wrong check digit


def gtin(number: int) -> str:
    body = f"690{number:09}"
    return body + codes.SYSTEMS["gs1"].check_character(body)


def write_products(path: Path, rows: int, wrong: bool = False) -> Path:
    lines = ["gtin,name,url"]
    for number in range(1, rows + 1):
        code = gtin(number)
        if wrong and number % BAD == 0:
            code = code[:-1] + str((int(code[-1]) + 1) % 10)
        lines.append(f"{code},产品 {number},https://example.org/{number}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def add_line(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def options(path: Path, registry: FakeRegistry | str, **more: Any) -> ImportOptions:
    url = registry if isinstance(registry, str) else registry.url
    return ImportOptions(path, "88.101.5/{gtin}", ("URL={url}", "NAME={name}"), ("gtin=gs1",), url, "secret", **more)


async def run(path: Path, registry: FakeRegistry | str, notices: list[str] | None = None, **more: Any) -> ImportSummary:
    def report(progress: Progress) -> None:
        if progress.notice and notices is not None:
            notices.append(progress.notice)

    async with asyncio.timeout(30):
        return await run_import(options(path, registry, **more), report)


def errors(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "products.csv"


# ---- when all goes well


async def test_every_row_is_registered_once_and_a_second_run_changes_nothing(path: Path) -> None:
    write_products(path, 5000)
    async with FakeRegistry() as registry:
        first = await run(path, registry)
        again = await run(path, registry)
        assert (first.rows, first.registered, first.unchanged, first.rejected) == (5000, 5000, 0, 0)
        assert (again.rows, again.registered, again.unchanged, again.rejected) == (5000, 0, 5000, 0)
        assert set(registry.created.values()) == {1}
        assert registry.requests == 2
        assert registry.records[f"88.101.5/{gtin(7)}"][1] == {"index": 2, "type": "NAME", "data": "产品 7"}
    assert sorted(found.name for found in path.parent.iterdir()) == ["products.csv"]


async def test_refused_rows_go_to_a_file_that_can_be_mended_and_imported(path: Path) -> None:
    write_products(path, 30, wrong=True)
    async with FakeRegistry() as registry:
        registry.records[f"88.101.5/{gtin(3)}"] = "other values"
        summary = await run(path, registry)
        assert (summary.registered, summary.rejected) == (26, 4)
        assert summary.errors is not None
        refused = errors(summary.errors)
        assert [row["import_line"] for row in refused] == ["4", "11", "21", "31"]
        assert refused[0]["import_column"] == "gtin"
        assert refused[0]["import_problem"] == "exists it is"
        right = gtin(10)
        assert refused[1]["import_problem"].endswith(f"check digit {refused[1]['gtin'][-1]}, expected {right[-1]}")
        assert refused[1]["import_expected"] == f"check digit {right[-1]}"
        assert refused[1]["name"] == "产品 10"

        text = summary.errors.read_text("utf-8-sig")
        for row in refused[1:]:
            number = int(row["name"].split()[1])
            text = text.replace(row["gtin"] + ",", gtin(number) + ",")
        mended = path.with_name("mended.csv")
        mended.write_text(text, "utf-8-sig")
        summary = await run(mended, registry)
        assert (summary.registered, summary.rejected) == (3, 1)
        assert summary.errors is not None
        assert list(errors(summary.errors)[0]) == list(refused[0])  # the added columns are not added twice
        summary = await run(summary.errors, registry, replace=True)
        assert (summary.replaced, summary.rejected) == (1, 0)


async def test_a_run_without_refusals_removes_the_error_file_of_the_run_before(path: Path) -> None:
    async with FakeRegistry() as registry:
        write_products(path, 10, wrong=True)
        assert (await run(path, registry)).errors == path.with_name("products.csv.errors.csv")
        write_products(path, 10)
        assert (await run(path, registry)).errors is None
    assert not path.with_name("products.csv.errors.csv").exists()


async def test_the_window_bounds_the_rows_on_their_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that takes lines and does not answer gets no more than a window, and a block begun before it was full."""
    window, block = 500, 200
    monkeypatch.setattr(limits, "import_window_rows", limits.import_window_rows._replace(default=window))
    write_products(path, 5000, wrong=True)
    async with FakeRegistry([Turn(100, "hold")]) as registry:
        summary = await run(path, registry)
        assert window * 0.8 < registry.unanswered <= window + block
    assert (summary.registered + summary.unchanged, summary.rejected) == (4500, 500)


# ---- when the stream breaks


@pytest.mark.parametrize("how", ["abort", "end", "unread", "unavailable", "busy"])
async def test_what_has_no_answer_is_sent_again(path: Path, how: str) -> None:
    write_products(path, 1000, wrong=True)
    async with FakeRegistry([Turn(0, how), Turn(137, how), Turn(1, how)]) as registry:
        notices: list[str] = []
        summary = await run(path, registry, notices)
        assert (summary.rows, summary.registered + summary.unchanged, summary.rejected) == (1000, 900, 100)
        assert set(registry.created.values()) == {1}
        assert len(registry.records) == 900
        assert len(notices) == 3
        waits = ["0.1", "0.2", "0.4"] if how == "busy" else ["0.1"] * 3  # longer each time, as long as nothing is settled
        assert [notice.rpartition(" in ")[2] for notice in notices] == [f"{wait} s" for wait in waits]
    assert [int(row["import_line"]) for row in errors(path.with_name("products.csv.errors.csv"))] == [*range(11, 1002, 10)]


async def test_an_end_before_everything_was_sent_is_not_taken_for_success(path: Path) -> None:
    """More rows than fit the window and the line: the reply ends while the client still waits to send."""
    write_products(path, 12_000)
    async with FakeRegistry([Turn(10, "end")]) as registry:
        summary = await run(path, registry)
        assert summary.registered + summary.unchanged == 12_000
        assert len(registry.records) == 12_000


async def test_a_registry_that_cannot_be_reached_is_told_soon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.importing.FIRST_CONTACT_SECONDS", 0.3)
    write_products(path, 10)
    async with FakeRegistry() as registry:
        gone = registry.url
    with pytest.raises(UnreachableError, match=r"0 rows are settled; start the registry and give the same command again"):
        await run(path, gone)
    async with FakeRegistry() as registry:
        assert (await run(path, registry)).registered == 10


async def test_patience_ends_and_the_next_run_takes_up(path: Path) -> None:
    write_products(path, 1000, wrong=True)
    async with FakeRegistry([Turn(500, "abort")] + [Turn(0, "busy")] * 99) as registry:
        with pytest.raises(UnreachableError, match="rows are settled"):
            await run(path, registry, patience_seconds=0.4)
        notices: list[str] = []
        registry._turns.clear()
        registry.received.clear()
        summary = await run(path, registry, notices, patience_seconds=0.4)
        assert notices[0].startswith("taking up an earlier import behind row 5")
        assert (summary.rows, summary.rejected, summary.registered + summary.unchanged) == (1000, 100, 900)
        assert 500 <= summary.resumed_rows < 1000
        assert sum(registry.received.values()) <= 401  # nothing that was settled was sent again
        assert set(registry.created.values()) == {1}
    assert [int(row["import_line"]) for row in errors(path.with_name("products.csv.errors.csv"))] == [*range(11, 1002, 10)]


# ---- when the registry refuses, or is none


async def test_a_refused_token_ends_the_import_at_once(path: Path) -> None:
    write_products(path, 100_0)
    async with FakeRegistry([Turn(0, "token")] * 9) as registry:
        with pytest.raises(TokenRefusedError, match=r"the registry refused: bad-token it is\. mend bad-token"):
            await run(path, registry)
        assert registry.requests == 1


@pytest.mark.parametrize(
    ("how", "told"), [("nonsense", "reply is not a JSON object: b'nonsense'"), ("unknown", "unknown status 'pondered'")]
)
async def test_an_answer_that_makes_no_sense_ends_the_import(path: Path, how: str, told: str) -> None:
    write_products(path, 10)
    async with FakeRegistry([Turn(3, how)]) as registry:
        with pytest.raises(FormatError, match=told):
            await run(path, registry)


async def test_more_answers_than_lines_are_not_believed(path: Path) -> None:
    write_products(path, 10)
    async with FakeRegistry([Turn(100, "extra")] * 99) as registry:
        with pytest.raises(UnreachableError, match="answered line 1 where line 2 was due"):
            await run(path, registry, patience_seconds=0)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://x", "http://127.0.0.1/v2", "http://a:99999", "http://a?b=c", "http://", ""]
)
async def test_an_address_that_is_none_is_refused(path: Path, url: str) -> None:
    write_products(path, 1)
    with pytest.raises(ConfigError, match=r"must be like http://127\.0\.0\.1:8080"):
        await run(path, url)


# ---- the journal and the error file


async def interrupted(path: Path, registry: FakeRegistry, **more: Any) -> None:
    registry._turns = [Turn(500, "abort")] + [Turn(0, "busy")] * 99
    with pytest.raises(UnreachableError):
        await run(path, registry, patience_seconds=0.2, **more)
    registry._turns = []
    registry.received.clear()


@pytest.mark.parametrize("change", ["file", "options", "damage", "error file"])
async def test_a_journal_of_another_import_is_not_believed(path: Path, change: str) -> None:
    write_products(path, 1000, wrong=True)
    async with FakeRegistry() as registry:
        await interrupted(path, registry)
        journal = path.with_name("products.csv.journal")
        assert json.loads(journal.read_bytes())["rows"] >= 500
        more: dict[str, Any] = {}
        if change == "file":
            add_line(path, f"{gtin(1001)},x,y\n")
        elif change == "options":
            more["replace"] = True
        elif change == "damage":
            journal.write_bytes(journal.read_bytes()[:-20])
        else:
            path.with_name("products.csv.errors.csv").unlink()
        summary = await run(path, registry, **more)
        assert summary.resumed_rows == 0
        assert summary.rejected == 100
        assert sum(registry.received.values()) == 900 + (change == "file")
    assert len(errors(path.with_name("products.csv.errors.csv"))) == 100


async def test_refused_rows_that_the_journal_does_not_know_are_cut_off(path: Path) -> None:
    """As after a kill between the error file and the journal."""
    write_products(path, 1000, wrong=True)
    async with FakeRegistry() as registry:
        await interrupted(path, registry)
        refused = path.with_name("products.csv.errors.csv")
        add_line(refused, "half a ro")
        await run(path, registry)
    assert [int(row["import_line"]) for row in errors(refused)] == [*range(11, 1002, 10)]
    assert "half" not in refused.read_text("utf-8")


async def test_without_a_place_for_the_journal_the_import_runs_and_says_so(path: Path) -> None:
    write_products(path, 10)
    path.with_name("products.csv.journal").mkdir()
    async with FakeRegistry() as registry:
        notices: list[str] = []
        assert (await run(path, registry, notices)).registered == 10
        assert "journal" in notices[0]
        assert "begins again at the first row" in notices[0]
        with pytest.raises(ConfigError, match=r"the journal .* cannot be written: .*; name another with --journal"):
            await run(path, registry, journal=path.parent / "absent" / "journal")


async def test_no_file_of_the_user_is_overwritten(path: Path) -> None:
    write_products(path, 10, wrong=True)
    other = path.with_name("other.csv")
    other.write_text("something,else\n")
    async with FakeRegistry() as registry:
        with pytest.raises(ConfigError, match="would overwrite the imported file"):
            await run(path, registry, errors=path)
        with pytest.raises(ConfigError, match="exists and is not the error file of an import"):
            await run(path, registry, errors=other)
        with pytest.raises(ConfigError, match="exists and is not the journal of an import; name another with --journal"):
            await run(path, registry, journal=other)
        assert registry.requests == 0
        with pytest.raises(ConfigError, match="cannot be written: No such file or directory; name another with --errors"):
            await run(path, registry, errors=path.parent / "absent" / "errors.csv")


async def test_a_full_disk_is_told(path: Path) -> None:
    write_products(path, 2000, wrong=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with FakeRegistry() as registry:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # stands for a full disk: writing beyond it fails
        try:
            with pytest.raises(StoreError, match=r"the error file .* cannot be written: File too large; make room"):
                await run(path, registry)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        summary = await run(path, registry)
        assert (summary.registered + summary.unchanged, summary.rejected) == (1800, 200)
    assert len(errors(path.with_name("products.csv.errors.csv"))) == 200
