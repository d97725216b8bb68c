"""The contract of `registry.database.Truth`, run on SQLite and on a PostgreSQL server of the tests' own."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import registry.database
from registry.database import open_truth
from registry.database.truth import FIRST_KEY, LAST_KEY, Entry, Reply, TokenRow, Truth
from registry.service import Write
from resolver.core.errors import ConfigError, ConflictError, StoreError
from resolver.core.identifier import Identifier
from resolver.table import Table
from tests.support.registry import NAME, OPERATOR, URL, new_database, postgres_server, registry_config, root_service

NOW = 1_800_000_000


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "truth.db")
    return await new_database(request.getfixturevalue("server"))


@pytest.fixture
async def truth(database: str) -> AsyncIterator[Truth]:
    opened = await open_truth(database)
    yield opened
    await opened.close()


async def append(truth: Truth, *keys: bytes, action: str = "register", time: int = NOW, record: bytes = b"record") -> list[Entry]:
    async with truth.turn() as turn:
        found = await turn.newest(keys)
        previous = {key: version.serial for key, version in found.items()}
        entries = []
        for serial, key in enumerate(keys, turn.head + 1):
            entries.append(Entry(serial, key, time, "alice", action, previous.get(key), record))
            previous[key] = serial
        await turn.append(entries, [], time)
    return entries


async def test_what_a_turn_appends_is_visible_when_it_ends_and_not_before(truth: Truth) -> None:
    async with truth.turn() as turn:
        assert turn.head == 0
        await turn.append([Entry(1, b"88/A", NOW, "alice", "register", None, b"one")], [], NOW)
        assert turn.head == 1
        assert (await turn.newest([b"88/A"]))[b"88/A"].record == b"one"
        assert await truth.head() == 0
        assert await truth.changes(0, 10) == []
    assert await truth.head() == 1
    assert await truth.changes(0, 10) == [Entry(1, b"88/A", NOW, "alice", "register", None, b"one")]


async def test_an_exception_undoes_the_whole_turn(truth: Truth) -> None:
    await append(truth, b"88/A")

    async def broken_off() -> None:
        async with truth.turn() as turn:
            await turn.append([Entry(2, b"88/B", NOW, "bob", "register", None, b"two")], [], NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken_off()
    assert await truth.head() == 1
    assert (await truth.newest([b"88/A", b"88/B"])).keys() == {b"88/A"}
    await append(truth, b"88/C")
    assert [entry.key for entry in await truth.changes(0, 10)] == [b"88/A", b"88/C"]


async def test_a_serial_is_given_once(truth: Truth) -> None:
    await append(truth, b"88/A")
    with pytest.raises(ConflictError):
        async with truth.turn() as turn:
            await turn.append([Entry(1, b"88/B", NOW, "alice", "register", None, b"again")], [], NOW)
    assert [version.key for version in await truth.walk(FIRST_KEY, LAST_KEY, 10, True)] == [b"88/A"]


async def test_two_programs_take_turns_and_leave_no_gap(database: str, truth: Truth) -> None:
    other = await open_truth(database)
    seen: list[int] = []

    async def write(to: Truth, name: bytes) -> None:
        for number in range(20):
            await append(to, b"88/%s%d" % (name, number), b"88/%s-%d" % (name, number))

    async def follow() -> None:
        while len(seen) < 80:
            seen.extend(entry.serial for entry in await truth.changes(seen[-1] if seen else 0, 7))

    async with asyncio.timeout(60):
        await asyncio.gather(write(truth, b"a"), write(other, b"b"), follow())
    await other.close()
    assert seen == list(range(1, 81))


async def test_keys_are_ordered_by_their_octets(truth: Truth) -> None:
    keys = [b"88/A", b"88/Z", b"88/a", b"88/~", "88/é".encode(), "88/长".encode(), b"88.1/A", b"88.10/A", b"89/\x7f", b"88"]
    await append(truth, *keys)
    assert [version.key for version in await truth.walk(FIRST_KEY, LAST_KEY, 100, True)] == sorted(keys)
    assert [version.key for version in await truth.walk(b"88/", b"880", 2, True)] == [b"88/A", b"88/Z"]
    assert [version.key for version in await truth.walk(b"88/~", b"880", 9, True)] == ["88/é".encode(), "88/长".encode()]


async def test_newest_is_the_newest_and_the_walk_leaves_out_the_gone(truth: Truth) -> None:
    await append(truth, b"88/A", b"88/B", b"88/A")
    await append(truth, b"88/B", action="delete", record=b"gone")
    found = await truth.newest([b"88/A", b"88/B", b"88/C"])
    assert {key: (version.serial, version.record) for key, version in found.items()} == {
        b"88/A": (3, b"record"),
        b"88/B": (4, b"gone"),
    }
    assert [version.key for version in await truth.walk(b"88/", b"880", 9, False)] == [b"88/A"]
    assert [version.key for version in await truth.walk(b"88/", b"880", 9, True)] == [b"88/A", b"88/B"]
    assert await truth.newest([]) == {}


async def test_the_history_of_a_key_is_its_versions_newest_first(truth: Truth) -> None:
    for _ in range(5):
        await append(truth, b"88/A", b"88/B")
    assert [entry.serial for entry in await truth.history(b"88/A", None, 100)] == [9, 7, 5, 3, 1]
    assert [entry.serial for entry in await truth.history(b"88/A", 7, 2)] == [5, 3]
    assert [entry.serial for entry in await truth.history(b"88/A", 6, 2)] == [5, 3]
    assert await truth.history(b"88/A", 1, 2) == []
    assert await truth.history(b"88/X", None, 2) == []
    assert {(entry.actor, entry.action) for entry in await truth.history(b"88/B", None, 100)} == {("alice", "register")}


async def test_homed_prefixes_are_the_keys_without_a_slash(truth: Truth) -> None:
    await append(truth, b"88", b"88/A", b"88.118", action="home")
    await append(truth, b"88", action="home", record=b"newer")
    assert [(version.key, version.record) for version in await truth.homed()] == [(b"88", b"newer"), (b"88.118", b"record")]


async def test_aging_records_are_the_newest_versions_written_before(truth: Truth) -> None:
    await append(truth, b"88", action="home", time=NOW)
    await append(truth, b"88/A", b"88/B", b"88/C", b"88/D", time=NOW)
    await append(truth, b"88/C", action="delete", time=NOW + 1)
    await append(truth, b"88/B", time=NOW + 50)
    assert [version.key for version in await truth.aging(0, NOW + 10, 9)] == [b"88/A", b"88/D"]
    assert [version.key for version in await truth.aging(2, NOW + 10, 9)] == [b"88/D"]
    assert [version.key for version in await truth.aging(0, NOW + 60, 2)] == [b"88/A", b"88/D"]
    assert [version.key for version in await truth.aging(5, NOW + 60, 2)] == [b"88/B"]
    assert await truth.aging(0, NOW, 9) == []


async def test_replies_are_kept_for_each_actor_until_they_expire(truth: Truth) -> None:
    kept = [Reply("alice", "k", b"q1", b"d1", NOW + 10), Reply("bob", "k", b"q2", b"d2", NOW + 20)]
    async with truth.turn() as turn:
        await turn.append([], kept, NOW)
    async with truth.turn() as turn:
        wanted = [("alice", "k"), ("bob", "k"), ("carol", "k"), ("alice", "other")]
        assert await turn.replies(wanted, NOW) == {("alice", "k"): kept[0], ("bob", "k"): kept[1]}
        assert await turn.replies(wanted, NOW + 10) == {("bob", "k"): kept[1]}
        newer = Reply("alice", "k", b"q3", b"d3", NOW + 99)
        await turn.append([], [newer], NOW + 30)
        assert await turn.replies(wanted, 0) == {("alice", "k"): newer}


async def test_a_large_append_arrives_whole_and_in_order(truth: Truth) -> None:
    keys = [b"88/%05d" % (number * 7919 % 3001) for number in range(3001)]
    await append(truth, *keys)
    assert [entry.key for entry in await truth.changes(0, 5000)] == keys
    assert len(await truth.newest(keys)) == 3001


async def test_tokens(truth: Truth) -> None:
    row = TokenRow("line-3", b"d" * 32, "registrant", ("88.118.5", "88.118.6"), NOW)
    await truth.add_token(row)
    with pytest.raises(ConflictError):
        await truth.add_token(row._replace(digest=b"e" * 32))
    assert await truth.tokens() == [row]
    assert await truth.remove_token("line-3")
    assert not await truth.remove_token("line-3")
    assert await truth.tokens() == []


async def test_the_truth_is_there_again_when_it_is_opened_again(database: str) -> None:
    first = await open_truth(database)
    await append(first, b"88/A", b"88/B")
    await first.close()
    second = await open_truth(database)
    assert [entry.key for entry in await second.changes(0, 9)] == [b"88/A", b"88/B"]
    assert [entry.actor for entry in await append(second, b"88/C")] == ["alice"]
    await second.close()
    with pytest.raises(StoreError):
        await second.head()
    with pytest.raises(StoreError):
        await append(second, b"88/D")


async def test_the_service_runs_on_it(database: str, tmp_path: Path) -> None:
    config = registry_config(tmp_path, database)
    service = await root_service(config)
    name = Identifier.parse("88.118/A")
    (created,) = await service.write([Write("register", name, (URL, NAME))], OPERATOR)
    (again,) = await service.write([Write("register", name, (URL, NAME))], OPERATOR)
    assert (created.status, again.status) == ("created", "unchanged")
    assert created.record is not None
    async with asyncio.timeout(20):
        await service.publisher.published(created.record.serial)
    table = Table(config.table)
    assert table.serial == created.record.serial
    table.close()
    await service.close()


async def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    strange = tmp_path / "strange.db"
    connection = sqlite3.connect(strange)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="not a truth of Waymark"):
        await open_truth(str(strange))
    (tmp_path / "text.db").write_text("hello " * 200)
    with pytest.raises(StoreError, match=r"text\.db"):
        await open_truth(str(tmp_path / "text.db"))


async def test_without_its_driver_postgresql_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "registry.database.postgres", raising=False)
    monkeypatch.delattr(registry.database, "postgres", raising=False)
    with pytest.raises(ConfigError, match=r"waymark\[postgresql\]"):
        await open_truth("postgresql://nobody@127.0.0.1:1/nothing")


async def test_a_server_that_does_not_answer_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="PostgreSQL"):
        await open_truth("postgresql://nobody@127.0.0.1:1/nothing")
