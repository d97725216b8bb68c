"""kill -9 of the importer and of the registry at random moments: no acknowledged row is lost, none is registered twice.

Both run as real processes, the importer as the command line's own `waymark import`. The truth is asked through the registry's API:
which identifiers there are, and how many changes were made in all, which the serial tells.
"""

import asyncio
import csv
import json
import random
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from resolver.core import codes
from tests.support.registry_process import RegistryProcess, make_registry
from tests.support.zygote import Command, Zygote

PREFIX = "88.101.5"
ROWS = 6000
WRONG_EVERY = 50
IMPORTER_KILLS, REGISTRY_KILLS = 24, 8


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryProcess]:
    with Zygote(tmp_path) as zygote:
        yield asyncio.run(make_registry(zygote, tmp_path, "88.101", hosts=[PREFIX]))


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """`ROWS` rows, each `WRONG_EVERY`th with a wrong check digit."""
    path = tmp_path / "products.csv"
    lines = ["gtin,name"]
    for number in range(1, ROWS + 1):
        body = f"690{number:09}"
        digit = int(codes.SYSTEMS["gs1"].check_character(body))
        lines.append(f"{body}{(digit + (number % WRONG_EVERY == 0)) % 10},产品 {number}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def start_import(registry: RegistryProcess, products: Path, turn: int) -> Command:
    """The import of one turn. Turns register different identifiers, so that there is always something left to do."""
    return registry.zygote.start(
        "import", products, "--identifier", f"{PREFIX}/{turn}-{{gtin}}", "--value", "NAME={name}", "--check", "gtin=gs1",
        "--registry", registry.url, "--token", registry.token,
        "--journal", journal_of(products, turn), "--errors", errors_of(products, turn),
    )  # fmt: skip


def journal_of(products: Path, turn: int) -> Path:
    return products.with_name(f"journal-{turn}")


def errors_of(products: Path, turn: int) -> Path:
    return products.with_name(f"errors-{turn}.csv")


def acknowledged(products: Path, turn: int) -> int:
    """Rows that the importer says are settled."""
    try:
        return int(json.loads(journal_of(products, turn).read_bytes())["rows"])
    except FileNotFoundError:  # not begun, or done
        return 0


async def newest_serial(registry: RegistryProcess, name: str) -> int:
    async with registry.client() as client:
        return int((await client.register(f"{PREFIX}/{name}", [{"type": "NAME", "data": "x"}]))["serial"])


async def names_of(registry: RegistryProcess) -> list[str]:
    async with registry.client() as client, aclosing(client.list(PREFIX)) as items:
        return [item["identifier"].removeprefix(PREFIX + "/") for item in [item async for item in items]]


def right_codes(products: Path) -> list[str]:
    with products.open(encoding="utf-8", newline="") as file:
        return [row["gtin"] for number, row in enumerate(csv.DictReader(file), 1) if number % WRONG_EVERY]


async def check_truth(registry: RegistryProcess, products: Path, turns: int, before: int) -> None:
    """All that the turns had to register is there, and as many changes were made as that is."""
    changes = await newest_serial(registry, "after") - before - 1
    expected = sorted(f"{turn}-{code}" for turn in range(1, turns + 1) for code in right_codes(products))
    assert [name for name in await names_of(registry) if name not in ("before", "after")] == expected
    assert changes == len(expected)
    async with registry.client() as client:
        for name in random.Random(7).sample(expected, 50):
            assert [entry["action"] async for entry in client.history(f"{PREFIX}/{name}")] == ["register"]
    for turn in range(1, turns + 1):
        with errors_of(products, turn).open(encoding="utf-8-sig", newline="") as file:
            lines = [int(row["import_line"]) for row in csv.DictReader(file)]
        assert lines == [number + 1 for number in range(WRONG_EVERY, ROWS + 1, WRONG_EVERY)]


async def test_a_killed_importer_loses_and_doubles_nothing(registry: RegistryProcess, products: Path) -> None:
    moment = random.Random()
    before = await newest_serial(registry, "before")
    right = len(right_codes(products))
    kills, turn, settled, taken_up = 0, 1, 0, 0
    while kills < IMPORTER_KILLS:
        command = start_import(registry, products, turn)
        while kills % 2 and acknowledged(products, turn) <= settled and command.poll() is None:  # noqa: ASYNC110  # it is at it
            await asyncio.sleep(0.005)
        await asyncio.sleep(moment.uniform(0, 0.15))
        ended = command.kill()
        assert ended.status in (-9, 1), ended
        kills += ended.status == -9
        standing = sum(name.startswith(f"{turn}-") for name in await names_of(registry))
        if ended.status == -9 and journal_of(products, turn).exists():
            assert acknowledged(products, turn) >= settled
            taken_up += settled > 0
            settled = acknowledged(products, turn)
            assert standing >= settled - settled // WRONG_EVERY
        elif ended.status == 1 or settled:  # all is done when the journal is gone
            assert standing == right
            turn, settled = turn + 1, 0
    assert taken_up >= 3, "the importer was never killed while it was at it"
    ended = start_import(registry, products, turn).wait()
    assert ended.status == 1, ended
    await check_truth(registry, products, turn, before)


async def test_a_killed_registry_loses_and_doubles_nothing(registry: RegistryProcess, products: Path) -> None:
    moment = random.Random()
    before = await newest_serial(registry, "before")
    turn, settled = 1, 0
    command = start_import(registry, products, turn)
    kills = 0
    while kills < REGISTRY_KILLS:
        if (ended := command.poll()) is not None:
            assert ended.status == 1, ended
            turn, settled = turn + 1, 0
            command = start_import(registry, products, turn)
        elif acknowledged(products, turn) > settled:  # it is at it
            await asyncio.sleep(moment.uniform(0, 0.1))
            registry.command.kill()
            kills += 1
            settled = acknowledged(products, turn)
            registry.launch()
            await registry.ready()
        await asyncio.sleep(0.005)
    ended = command.wait()
    assert ended.status == 1, ended
    await check_truth(registry, products, turn, before)
