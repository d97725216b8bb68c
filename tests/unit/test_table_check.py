"""The check of an answer table: silent over a whole one, and it names what is wrong with any other."""

import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from resolver import table_check
from resolver.core.errors import StoreError
from resolver.core.record import TYPE_SITE, Record, Value
from resolver.core.wire.stored import decode_stored, encode_stored
from resolver.table import Change, Homed, Table, TableWriter
from resolver.table_check import Problem, check_table
from resolver.table_pages import Pages
from tests.support.world import World

PAGE = 4096
LONG = "88.7/" + "长" * 200


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    world.delegate("88")
    world.delegate("88.7")
    for number in range(60):
        world.put(f"88.7/{number * 7919 % 1000}", Value(1, "URL", b"https://example.org/%d" % number), Value(2, "N", b"n" * number))
    world.put(LONG, Value(1, "URL", b"x" * 6000))
    world.put("88.7/B", Value(1, "URL", b"b"))
    world.delete("88.7/C")
    return world


@pytest.fixture
def table(world: World, tmp_path: Path) -> Path:
    return world.publish(["0.NA", "88", "88.7"], tmp_path / "table")


def problems(path: Path, world: World | None = None) -> list[Problem]:
    found = list(check_table(path, anchor=None if world is None else world.anchor))
    assert isinstance(found[-1], int)
    return [finding for finding in found if isinstance(finding, Problem)]


def rewritten(path: Path, key: str, change: Callable[[Record], Record]) -> None:
    """Puts another record in place of one, as a faulty or hostile publisher might."""
    table = Table(path)
    octets = table.get(key.encode())
    serial = table.serial
    table.close()
    assert octets is not None
    writer = TableWriter(path)
    writer.apply([Change(serial + 1, key.encode(), encode_stored(change(decode_stored(key.encode(), octets))))])
    writer.close()


def test_a_whole_table_has_no_problem(world: World, table: Path) -> None:
    seen: list[int] = []
    assert list(check_table(table, seen.append, world.anchor)) == [len(world.records)]
    assert seen == [len(world.records)]


def test_several_processes_check_every_record_once(world: World, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_check, "_SEVERAL_OCTETS", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert list(check_table(table, anchor=world.anchor)) == [len(world.records)]
    rewritten(table, "88.7/B", lambda record: record._replace(signature=bytes(64)))
    assert [problem.place for problem in problems(table)].count("88.7/B") == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda record: record._replace(signature=record.signature[::-1]), "did not make its signature"),
        (lambda record: record._replace(values=(record.values[0]._replace(data=b"c"),)), "did not make its signature"),
        (lambda record: record._replace(values=(*record.values, record.values[0])), "did not make its signature"),
        (lambda record: record._replace(key_index=303), "signed by key 303"),
        (lambda record: record._replace(serial=2**40), "the table only goes up to"),
        (lambda record: record._replace(serial=1), "no record of that serial"),
    ],
)
def test_a_record_that_was_tampered_with_is_named(table: Path, change: Callable[[Record], Record], text: str) -> None:
    rewritten(table, "88.7/B", change)
    assert any(text in str(problem) for problem in problems(table))


def test_an_expired_signature_is_named(tmp_path: Path) -> None:
    old = World(now=1_700_000_000)
    old.put("88/A", Value(1, "URL", b"x"))
    found = {problem.place: problem.text for problem in problems(old.publish("88", tmp_path / "table"))}
    assert "expired" in found["88/A"]


@pytest.mark.parametrize(
    ("site", "more", "text"),
    [(b"garbage", (), "HS_SITE"), (None, (Value(303, "JWK", b"{}"),), "cannot be read")],
)
def test_a_delegation_that_cannot_be_followed_is_named(
    tmp_path: Path, site: bytes | None, more: tuple[Value, ...], text: str
) -> None:
    world = World()
    values = world.delegate("88").values
    changed = [v._replace(data=site) if site is not None and v.type == TYPE_SITE else v for v in values]
    world.put("0.NA/88", *changed, *more)
    found = {problem.place: problem.text for problem in problems(world.publish("0.NA", tmp_path / "table"))}
    assert text in found["0.NA/88"]


def test_a_root_with_other_keys_than_the_anchor_is_named(table: Path) -> None:
    assert {problem.place for problem in problems(table, World())} == {"0.0", "0.NA"}


def test_a_prefix_homed_with_another_key_than_it_was_delegated_with_is_named(world: World, table: Path) -> None:
    writer = TableWriter(table)
    writer.apply([Change(writer.serial + 1, b"88.7", Homed("88.7", {302: b"k" * 32}).encode())])
    writer.close()
    named = {problem.place: problem.text for problem in problems(table)}
    assert "other keys" in named["0.NA/88.7"]
    assert len(named) > 60


def test_a_gap_in_the_changes_and_a_lost_hash_are_named(world: World, table: Path) -> None:
    writer = TableWriter(table)
    with writer._env.begin(write=True) as txn:
        txn.delete((5).to_bytes(8, "big"), db=writer._databases[b"changes"])
        cursor = txn.cursor(db=writer._databases[b"hashed"])
        assert cursor.first()
        cursor.delete()
    writer.close()
    texts = " ".join(map(str, problems(table)))
    assert "change 6 follows change 4" in texts
    assert "no identifier is known" in texts or "no entry leads" in texts


def test_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no answer table"):
        list(check_table(tmp_path))


@pytest.mark.parametrize("size", [0, 100, PAGE, 3 * PAGE, 3 * PAGE + 5])
def test_a_file_that_was_cut_off_is_found(table: Path, size: int) -> None:
    data = next(table.glob("g*/data.mdb"))
    data.write_bytes(data.read_bytes()[:size])
    assert problems(table)


def test_every_octet_that_holds_data_is_guarded(world: World, table: Path, tmp_path: Path) -> None:
    """One octet is changed at a time: twenty that LMDB keeps for itself in the heads of pages, and twenty of all."""
    dice = random.Random(20261120)
    whole = next(table.glob("g*/data.mdb")).read_bytes()
    live = live_octets(table, whole)
    heads = [at for at in live if at % PAGE < 16]
    for at in dice.sample(heads, 20) + dice.sample(live, 20):
        change = dice.randrange(1, 256)
        damaged = bytearray(whole)
        damaged[at] ^= change
        copy = tmp_path / "copy"
        shutil.copytree(table, copy)
        next(copy.glob("g*/data.mdb")).write_bytes(damaged)
        assert problems(copy, world), f"octet {at % PAGE} of page {at // PAGE} changed by {change:#x}"
        shutil.rmtree(copy)


def live_octets(table: Path, whole: bytes) -> list[int]:
    """Where data stand in the file: heads, node lists and nodes of every page in use; not what pads nodes and fills gaps."""
    reader = Table(table)
    pages = Pages(reader.data_file, reader.transaction)
    free = {page for key, data in pages._walk(pages._free) for page in pages._freed(key, data)}
    pages.close()
    newest = reader.transaction % 2
    reader.close()
    live = [newest * PAGE + 16 + offset for offset in range(136)]
    page = 2
    while page < len(whole) // PAGE:
        start = page * PAGE
        _, _, kind, lower, upper = struct.unpack_from("=QHHHH", whole, start)
        if page in free:
            page += 1
        elif kind == 4:
            page += int(struct.unpack_from("=I", whole, start + 12)[0])
        else:
            live += [start + offset for offset in range(lower) if offset not in (8, 9)]
            for offset in struct.unpack_from(f"={(lower - 16) // 2}H", whole, start + 16):
                low, high, flags, key = struct.unpack_from("=HHHH", whole, start + offset)
                data = 0 if kind == 1 else 8 if flags & 1 else low | high << 16
                live += range(start + offset, start + offset + 8 + key + data)
            assert upper <= PAGE
            page += 1
    return live
