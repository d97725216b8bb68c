"""`waymark import` as a person meets it: a real registry, real processes, real products, exit statuses and words."""

import asyncio
import csv
import gzip
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from registry import importing
from resolver.core import trust
from resolver.core.identifier import Identifier
from resolver.core.message import Answer
from resolver.core.wire.values import decode_values
from resolver.table import Table
from tests.support.registry_process import RegistryProcess, make_registry
from tests.support.zygote import Command, Ended, Zygote

DATA = Path(__file__).parents[1] / "data"
PRODUCTS, BAD_PRODUCTS = DATA / "products-100k.csv.gz", DATA / "products-bad-gtin.csv"
SAMPLE = Path(importing.__file__).parent / "demo_data" / "products-1000.csv"
PREFIXES = [f"88.101.{number}" for number in range(1, 20)]


class Importer(NamedTuple):
    """A place to import to, of one test alone: a prefix, and files for errors and journal."""

    registry: RegistryProcess
    prefix: str
    errors: Path
    journal: Path

    def run(self, path: Path, *more: object) -> Ended:
        """Runs `waymark import PATH` with the usual templates; `more` are further arguments."""
        return self.start(path, *more).wait()

    def start(self, path: Path, *more: object) -> Command:
        return self.registry.zygote.start(
            "import", path, "--identifier", self.prefix + "/{gtin}", "--value", "NAME={name}", "--check", "gtin=gs1",
            "--registry", self.registry.url, "--token", f"@{self.registry.directory}/token",
            "--errors", self.errors, "--journal", self.journal, *more,
        )  # fmt: skip

    async def registered(self) -> list[str]:
        async with self.registry.client() as client, aclosing(client.list(self.prefix)) as items:
            return [item["identifier"] async for item in items]

    @property
    def settled_rows(self) -> int:
        return int(json.loads(self.journal.read_bytes())["rows"]) if self.journal.exists() else 0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    directory = tmp_path_factory.mktemp("registry")
    with Zygote(directory) as zygote:
        yield asyncio.run(make_registry(zygote, directory, "88.101", hosts=PREFIXES))


@pytest.fixture
def importer(registry: RegistryProcess, tmp_path: Path, unused: list[str]) -> Importer:
    return Importer(registry, unused.pop(), tmp_path / "errors.csv", tmp_path / "journal")


@pytest.fixture(scope="module")
def unused() -> list[str]:
    """Prefixes that no test has imported to."""
    return [*PREFIXES]


def rows(path: Path) -> Iterator[dict[str, str]]:
    octets = path.read_bytes()
    text = (gzip.decompress(octets) if path.suffix == ".gz" else octets).decode("utf-8-sig")
    return csv.DictReader(text.splitlines(keepends=True))


async def test_100_000_products_and_a_second_run_that_changes_nothing(importer: Importer) -> None:
    first = importer.run(PRODUCTS, "--value", "URL={image_url}")
    assert first.status == 0, first
    assert first.out.startswith("100,000 rows: 100,000 registered, 0 unchanged, 0 rejected.")
    assert len(await importer.registered()) == 100_000
    before = await serial(importer, "BEFORE")
    second = importer.run(PRODUCTS, "--value", "URL={image_url}")
    assert second.status == 0, second
    assert second.out.startswith("100,000 rows: 0 registered, 100,000 unchanged, 0 rejected.")
    assert await serial(importer, "AFTER") == before + 1
    assert not importer.journal.exists()
    assert not importer.errors.exists()

    table = Table(importer.registry.directory / "table")
    homed = next(homed for homed in table.homed() if homed.prefix == importer.prefix)
    keys = trust.Keys(f"0.NA/{importer.prefix}", homed.keys, 2**62)
    for row in rows(PRODUCTS):
        identifier = Identifier(importer.prefix, row["gtin"])
        answer = table.find(identifier)
        assert isinstance(answer, Answer)
        stored = answer.record
        verified = trust.verify(identifier, decode_values(stored.encoded + stored.signature_octets), keys, int(time.time()))
        data = {value.type: value.text for value in verified.values}
        assert data["NAME"] == row["name"].strip()
        assert data.get("URL", "") == row["image_url"]
    table.close()


async def serial(importer: Importer, suffix: str) -> int:
    """The serial of a change made now: how many changes there were."""
    async with importer.registry.client() as client:
        return int((await client.register(f"{importer.prefix}/{suffix}", [{"type": "NAME", "data": "x"}]))["serial"])


async def test_every_row_with_a_bad_gtin_is_refused_with_what_was_expected(importer: Importer) -> None:
    ended = importer.run(BAD_PRODUCTS)
    assert ended.status == 1
    assert ended.out.startswith("500 rows: 0 registered, 0 unchanged, 500 rejected.")
    assert f"The rejected rows and what is wrong with them: {importer.errors}; mend them there" in ended.out
    assert await importer.registered() == []
    refused, typed = list(rows(importer.errors)), list(rows(BAD_PRODUCTS))
    assert len(refused) == len(typed) == 500
    for number, (row, origin) in enumerate(zip(refused, typed, strict=True), 2):
        code = origin["gtin"]
        assert (row["gtin"], row["name"], row["import_line"], row["import_column"]) == (code, origin["name"], str(number), "gtin")
        if len(code) in (8, 12, 13, 14):
            # By the book: weights 3 and 1 from the right, up to the next ten.
            digit = str(-sum(int(d) * (3 if place % 2 else 1) for place, d in enumerate(reversed(code[:-1] + "0"))) % 10)
            assert row["import_problem"] == f"GTIN-{len(code)} {code}: check digit {code[-1]}, expected {digit}"
            assert row["import_expected"] == f"check digit {digit}"
        else:
            assert f" has {len(code)} digits; a GTIN has 8, 12, 13 or 14" in row["import_problem"]
            assert row["import_expected"] == "8, 12, 13 or 14 digits"


async def test_the_sample_of_the_demo_imports_whole(importer: Importer) -> None:
    ended = importer.run(SAMPLE, "--value", "7:URL@600={image_url}")
    assert ended.status == 0
    assert ended.out.startswith("1,000 rows: 1,000 registered, 0 unchanged, 0 rejected.")
    row = next(row for row in rows(SAMPLE) if row["image_url"])
    async with importer.registry.client() as client:
        values = (await client.read(f"{importer.prefix}/{row['gtin']}"))["values"]
    assert [(v["index"], v["type"], v["data"]["value"], v["ttl"]) for v in values] == [
        (1, "NAME", row["name"], 86_400), (7, "URL", row["image_url"], 600),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--value", "URL={picture}"], 2, "waymark: '{picture}': the file has no column 'picture'; it has: gtin, name, image_url"),
        (["--check", "gtin=gs3"], 2, "there is no code system 'gs3'; did you mean 'gs1'?"),
        (["--encoding", "ascii"], 2, "the octets are not ascii; leave --encoding out to have it detected"),
        (["--token", "wrong"], 2, "waymark: the registry refused: the token is unknown or was revoked"),
        (["--registry", "http://127.0.0.1:1", "--patience", "0"], 3, "127.0.0.1:1 broke: Connection refused"),
        (["--errors", SAMPLE], 2, "would overwrite the imported file; name another with --errors"),
    ],
)
async def test_an_import_that_cannot_begin_says_why(importer: Importer, arguments: list[object], status: int, told: str) -> None:
    ended = importer.run(SAMPLE, *arguments)
    assert ended.status == status, ended
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert await importer.registered() == []


async def test_ctrl_c_keeps_what_is_settled_and_the_same_command_goes_on(importer: Importer, tmp_path: Path) -> None:
    text = "gtin,name\n" + "".join(f"{row['gtin']},{row['gtin']}\n" for row in islice(rows(PRODUCTS), 20_000))
    path = tmp_path / "products.csv"
    path.write_text(text)
    command = importer.start(path)
    wait_until(lambda: importer.settled_rows >= 300)
    command.send(signal.SIGINT)
    ended = command.wait()
    assert ended.status == 130, ended
    settled = importer.settled_rows
    assert f"stopped; {settled:,} rows are settled. Give the same command again, and it goes on there" in ended.err
    ended = importer.run(path)
    assert f"taking up an earlier import behind row {settled:,}" in ended.err
    assert ended.out.startswith("20,000 rows: ")
    assert f"({settled:,} rows were settled before)" in ended.out
    assert len(await importer.registered()) == 20_000


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
