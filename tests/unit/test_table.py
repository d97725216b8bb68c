"""The answer table: what is found, what is said of what is not, how readers move on, how it is made again."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core.errors import CorruptError, StoreError
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.message import Answer, NotFound, Referral, Refused
from resolver.core.record import Value
from resolver.core.wire.stored import decode_stored, encode_stored, read_stored
from resolver.core.wire.values import decode_values
from resolver.table import Change, Homed, Table, TableWriter, rebuild, stored_at
from tests.support.world import World

URL = Value(1, "URL", b"https://example.org/")
LONG = "88.118/" + "长" * 240


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    for prefix in ("88", "88.118", "88.118.8", "88.118.9"):
        world.delegate(prefix)
    for name in ("88.118/ABC", "88.118/abc", "88.118.9/X", LONG, "88.118/" + "x" * 61):
        world.put(name, URL)
    return world


def find(table: Table, name: str) -> object:
    return table.find(Identifier.parse(name))


def test_outcomes_of_a_node_in_the_middle(world: World, tmp_path: Path) -> None:
    world.put("88.118/OLD", URL)
    gone = world.delete("88.118/OLD")
    table = Table(world.publish(["88.118", "88.118.9"], tmp_path / "table"))
    for name in ("88.118/ABC", "88.118/abc", "88.118.9/X", LONG, "0.NA/88.118.8"):
        found = find(table, name)
        assert isinstance(found, Answer), name
        assert found.record.key == Identifier.parse(name).key
    assert find(table, "88.118/Abc") == NotFound("88.118")
    assert find(table, "88.118.9/Y") == NotFound("88.118.9")
    assert find(table, "88.118/OLD") == NotFound("88.118", gone.issued)
    assert find(table, "88.118.7/X") == NotFound("88.118")
    assert find(table, "0.NA/88.118.7") == NotFound("88.118")
    assert find(table, "88.118.7.6/X") == NotFound("88.118")
    below = find(table, "88.118.8/ABC")
    assert isinstance(below, Referral)
    assert below.prefix == "88.118.8"
    assert below.delegation.key == b"0.NA/88.118.8"
    deeper = find(table, "0.NA/88.118.8.1")
    assert isinstance(deeper, Referral)
    assert deeper.prefix == "88.118.8"
    for name in ("88/x", "88.119/x", "0.NA/88.118", "0.0/0.0", "0.NA/0.NA"):
        assert isinstance(find(table, name), Refused), name
    table.close()


def test_outcomes_of_the_root(world: World, tmp_path: Path) -> None:
    table = Table(world.publish("0.NA", tmp_path / "table"))
    assert isinstance(find(table, "0.0/0.0"), Answer)
    assert isinstance(find(table, "0.NA/0.NA"), Answer)
    assert isinstance(find(table, "0.NA/88"), Answer)
    assert find(table, "0.NA/99") == NotFound("0.NA")
    assert find(table, "99.1/x") == NotFound("0.NA")
    found = find(table, "0.NA/88.118.8")
    assert isinstance(found, Referral)
    assert found.prefix == "88"
    table.close()


def test_what_is_stored_is_what_was_signed(world: World, tmp_path: Path) -> None:
    table = Table(world.publish("88.118", tmp_path / "table"))
    for key, octets in table.records():
        stored = stored_at(table, key, octets)
        record = decode_stored(stored.key, octets)
        assert encode_stored(record) == octets
        assert record == world.records[record.identifier.key]
    table.close()


def test_a_changed_octet_anywhere_in_a_stored_record_is_noticed(world: World) -> None:
    record = world.records[b"88.118/ABC"]
    good = encode_stored(record)
    for place in range(len(good)):
        bad = good[:place] + bytes((good[place] ^ 0x40,)) + good[place + 1 :]
        with pytest.raises(CorruptError):
            decode_stored(record.identifier.key, bad)
    with pytest.raises(CorruptError):
        decode_stored(b"88.118/ABD", good)


@given(st.binary(max_size=400))
def test_any_octets_are_a_stored_record_or_corrupt(octets: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_stored(b"88/x", octets)


def test_readers_learn_exactly_what_changed(world: World, tmp_path: Path) -> None:
    path = world.publish("88.118", tmp_path / "table")
    writer, table = TableWriter(path), Table(path)
    assert table.refresh() == []
    serial = table.serial
    changed = world.put("88.118/ABC", URL._replace(data=b"https://new.example/"))
    new = world.put("88.118/NEW", URL)
    writer.apply([Change(serial + n, r.identifier.key, encode_stored(r)) for n, r in enumerate((changed, new), 1)])
    assert isinstance(find(table, "88.118/NEW"), NotFound), "a reader keeps its snapshot until it refreshes"
    assert table.refresh() == [b"88.118/ABC", b"88.118/NEW"]
    assert table.serial == serial + 2
    found = find(table, "88.118/ABC")
    assert isinstance(found, Answer)
    assert decode_values(found.record.encoded)[0].data == b"https://new.example/"
    assert table.refresh() == []
    table.close()
    writer.close()


def test_a_reader_that_slept_too_long_forgets_everything(world: World, tmp_path: Path) -> None:
    path = world.publish("88.118", tmp_path / "table")
    writer, table = TableWriter(path, Limits({"change_feed": 1024})), Table(path)
    octets = encode_stored(world.records[b"88.118/ABC"])
    start = writer.serial
    for portion in range(4):
        writer.apply([Change(start + 500 * portion + n, b"88.118/ABC", octets) for n in range(1, 501)])
    assert table.refresh() is None
    assert table.serial == start + 2000
    table.close()
    writer.close()


def test_homing_comes_and_goes(world: World, tmp_path: Path) -> None:
    path = world.publish("88.118", tmp_path / "table")
    writer, table = TableWriter(path), Table(path)
    homed = Homed("88.118.7", {302: bytes(32)})
    writer.apply([Change(table.serial + 1, b"88.118.7", homed.encode())])
    table.refresh()
    assert find(table, "88.118.7/x") == NotFound("88.118.7")
    assert homed in table.homed()
    writer.apply([Change(table.serial + 1, b"88.118.7", None)])
    table.refresh()
    assert find(table, "88.118.7/x") == NotFound("88.118")
    table.close()
    writer.close()


def test_a_rebuilt_table_says_the_same_and_takes_the_place_of_the_old(world: World, tmp_path: Path) -> None:
    path = world.publish("88.118", tmp_path / "table")
    table = Table(path)
    before = dict(table.records())
    homes = [Change(0, h.prefix.encode(), h.encode()) for h in table.homed()]
    keep = [r for k, r in world.records.items() if k.startswith((b"88.118/", b"0.NA/88.118."))]
    records = sorted((Change(r.serial, r.identifier.key, encode_stored(r)) for r in keep), key=lambda change: change.key)
    assert rebuild(path, [*homes, *records], 77) == len(before)
    assert table.refresh() is None, "a new generation: nothing of the old answers holds"
    assert dict(table.records()) == before
    assert table.serial == 77
    assert [p.name for p in path.iterdir() if p.is_dir()] == ["g000002"]
    table.close()


def test_long_names_are_found_by_the_hash_in_their_label(world: World, tmp_path: Path) -> None:
    from hashlib import sha256

    table = Table(world.publish("88.118", tmp_path / "table"))
    for name in (LONG, "88.118/" + "x" * 61):
        suffix = name.partition("/")[2].encode()
        assert table.unhashed("88.118", sha256(suffix).digest()) == Identifier.parse(name)
    assert table.unhashed("88.118", sha256(b"ABC").digest()) is None
    table.close()


def test_no_table_is_told_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has its registry run yet"):
        Table(tmp_path / "none")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9./-]{1,70}", fullmatch=True), st.binary(max_size=50), max_size=30))
def test_the_table_agrees_with_a_dict(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, bytes]) -> None:
    world = World()
    world.delegate("88")
    for suffix, data in entries.items():
        world.put(f"88/{suffix}", Value(1, "DATA", data))
    table = Table(world.publish("88", tmp_path_factory.mktemp("table") / "t"))
    for suffix, data in entries.items():
        found = find(table, f"88/{suffix}")
        assert isinstance(found, Answer)
        assert decode_values(found.record.encoded)[0].data == data
    assert table.stat().records == len(entries)
    assert [read_stored(k, o).key for k, o in table.records()] == sorted(f"88/{s}".encode() for s in entries)
    table.close()
