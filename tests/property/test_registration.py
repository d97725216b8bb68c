"""What becomes of changes, whatever they are and however they fall into commits. Nothing here touches a database or a key."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.batch import Batch, Order, Zone
from registry.database.truth import Version
from registry.registration import Actor, Write, Written
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.record import Value
from resolver.core.wire.stored import decode_stored
from resolver.table import Homed

NOW = 1_800_000_000
OPERATOR = Actor("operator", "operator")
ZONE = Zone(Homed("88", {302: bytes(32)}), 302, "88@302", "302:0.NA/88", None)
NAMES = [Identifier.parse(f"88/{suffix}") for suffix in ("A", "B", "C")]

held_values = st.dictionaries(
    st.integers(1, 4), st.tuples(st.sampled_from(["URL", "NAME"]), st.sampled_from([b"1", b"2"])), max_size=3
)
values = held_values.map(lambda held: tuple(Value(index, *content) for index, content in held.items()))
writes = st.builds(
    Write,
    action=st.sampled_from(["register", "replace", "patch", "delete"]),
    identifier=st.sampled_from(NAMES),
    values=values,
    remove=st.just(()),
    if_match=st.one_of(st.none(), st.none(), st.integers(1, 8)),
) | st.builds(
    Write,
    action=st.just("patch"),
    identifier=st.sampled_from(NAMES),
    values=st.just(()),
    remove=st.lists(st.integers(1, 4), max_size=2, unique=True).map(tuple),
    if_match=st.none(),
)


class Outcome(NamedTuple):
    results: list[Written]
    log: list[tuple[int, bytes, int | None]]  # serial, key, previous
    newest: dict[bytes, Version]


def run(commits: list[list[Write]]) -> Outcome:
    """Makes the changes, each inner list in one commit."""
    newest: dict[bytes, Version] = {}
    results, log, head = [], [], 0
    for commit in commits:
        batch = Batch(Limits(), {"88": ZONE}, head, NOW, lambda _: ZONE)
        batch.found = dict(newest)
        for write in commit:
            batch.add(Order(OPERATOR, write))
        entries = batch.sealed([bytes(64)] * len(batch.requests))
        head = batch.head
        log += [(entry.serial, entry.key, entry.previous) for entry in entries]
        newest |= {entry.key: Version(entry.key, entry.serial, entry.record) for entry in entries}
        results += [outcome for outcome in batch.outcomes if isinstance(outcome, Written)]
    return Outcome(results, log, newest)


class Model:
    """The rules, said once more: what each identifier holds, and what a change makes of it."""

    def __init__(self) -> None:
        self.held: dict[Identifier, dict[int, tuple[str, bytes]] | None] = {}  # None: gone
        self.serials: dict[Identifier, int] = {}
        self.head = 0

    def expect(self, write: Write) -> str:
        name, wanted = write.identifier, {value.index: (value.type, value.data) for value in write.values}
        if name in self.held and self.held[name] is None:
            return "gone"
        if write.if_match is not None and write.if_match != self.serials.get(name):
            return "stale"
        old = self.held.get(name)
        if old is None and write.action in ("patch", "delete"):
            return "not-found"
        if write.action == "delete":
            self.put(name, None)
            return "deleted"
        if write.action == "patch" and old is not None:
            wanted = {index: value for index, value in (old | wanted).items() if index not in write.remove}
        if wanted == old:
            return "unchanged"
        if old is not None and write.action == "register":
            return "exists"
        if not wanted:
            return "invalid-value"
        self.put(name, wanted)
        return "created" if old is None else "replaced"

    def put(self, name: Identifier, held: dict[int, tuple[str, bytes]] | None) -> None:
        self.head += 1
        self.held[name], self.serials[name] = held, self.head


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(writes, max_size=4), max_size=6))
def test_every_change_becomes_what_the_rules_say(commits: list[list[Write]]) -> None:
    model = Model()
    outcome = run(commits)
    for write, written in zip([write for commit in commits for write in commit], outcome.results, strict=True):
        expected = model.expect(write)
        assert (written.problem.code if written.problem else written.status) == expected
        if written.record is not None:
            assert written.record.serial == model.serials[write.identifier]
    for key, version in outcome.newest.items():
        record = decode_stored(key, version.record)
        held = model.held[record.identifier]
        assert record.gone == (held is None)
        assert {value.index: (value.type, value.data) for value in record.values} == (held or {})


@settings(max_examples=200, deadline=None)
@given(st.lists(writes, max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_where_one_commit_ends_and_the_next_begins_makes_no_difference(changes: list[Write], cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(changes)]
    commits = [changes[start:end] for start, end in pairwise(bounds)]
    assert run(commits) == run([changes])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(writes, max_size=4), max_size=6))
def test_serials_have_no_gap_and_every_version_names_the_one_before(commits: list[list[Write]]) -> None:
    log = run(commits).log
    assert [serial for serial, _, _ in log] == list(range(1, len(log) + 1))
    last: dict[bytes, int] = {}
    for serial, key, previous in log:
        assert previous == last.get(key)
        last[key] = serial
