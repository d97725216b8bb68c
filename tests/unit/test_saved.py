"""Saved records: written, read, verified without a network; and refused with the place, whatever stands in the file."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core import trust
from resolver.core.errors import FormatError, SignatureError
from resolver.core.identifier import Identifier
from resolver.core.record import Reference, Value
from resolver.core.trust import Reason
from resolver.saved import load, save
from tests.support.scripted import Script, tree

NAME = "88.118.5/各种 值"


def script() -> Script:
    """A tree with one record that has every kind of value."""
    made = tree(now=1_800_000_000)
    made.world.put(
        NAME,
        Value(1, "URL", b"https://example.org/?a=1&b=2"),
        Value(2, "NAME", "水杯\n\ttwo lines".encode()),
        Value(3, "PHOTO", bytes(range(256))),
        Value(4, "HS_VLIST", b"\0\0\0\0", references=(Reference("88/x", 300),)),
        Value(5, "EMPTY", b"", ttl=1_900_000_000, ttl_type=1, permissions=0x02),
        Value(6, "CONTROL", b"\0\x1b[31m"),
        Value(7, "HS_SITE", b"not a site"),
    )
    return made


SCRIPT = script()
FOUND = SCRIPT.walk(NAME)
SAVED = save(FOUND)
ANCHOR = SCRIPT.world.anchor.keys
NOW = SCRIPT.world.now


def test_what_is_saved_verifies_as_it_did() -> None:
    chain = load(json.loads(json.dumps(SAVED)))
    assert [identifier.canonical for identifier, _ in chain] == [NAME, "0.NA/88.118.5", "0.NA/88.118", "0.NA/88", "0.0/0.0"]
    assert tuple(trust.verify_chain(chain, ANCHOR, NOW)) == FOUND.chain


def test_what_was_not_verified_is_not_saved() -> None:
    with pytest.raises(FormatError, match="only a verified record"):
        save(SCRIPT.walk("88.118/NONE"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda chain: chain.pop(), Reason.BROKEN_CHAIN),
        (lambda chain: chain.pop(1), Reason.BROKEN_CHAIN),
        (lambda chain: chain.insert(1, chain[1]), Reason.BROKEN_CHAIN),
        (lambda chain: chain[0]["values"].pop(0), Reason.MISSING_VALUE),
        (lambda chain: chain[2]["values"].pop(0), Reason.MISSING_VALUE),
        (lambda chain: chain[0]["values"].append({"index": 50, "type": "URL", "data": "x"}), Reason.EXTRA_VALUE),
        (lambda chain: chain[0]["values"][0].update(data="https://evil.example/"), Reason.CHANGED_VALUE),
        (lambda chain: chain[0]["values"][0].update(ttl=5), Reason.CHANGED_VALUE),
    ],
)
def test_a_changed_chain_is_refused(change: Callable[[Any], object], reason: Reason) -> None:
    document = deepcopy(SAVED)
    change(document["chain"])
    with pytest.raises(SignatureError) as raised:
        trust.verify_chain(load(document), ANCHOR, NOW)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: [], "expected an object"),
        (lambda _: "text", "expected an object"),
        (lambda d: d | {"chain": {}}, "expected an object"),
        (lambda d: d | {"chain": []}, "0 records; from 1 to 16"),
        (lambda d: d | {"chain": d["chain"] * 4}, "20 records; from 1 to 16"),
        (lambda d: d | {"identifier": "88.118/OTHER"}, "identifier: '88.118/OTHER' is not that of the first record"),
        (lambda d: d | {"identifier": ["x"] * 1000}, "is not that of the first record"),
        (lambda d: d | {"chain": [d["chain"][0], 7]}, r"chain\[1\]: expected an object"),
        (lambda d: d | {"chain": [{"handle": "noslash", "values": []}]}, r"chain\[0\].handle: 'noslash' has no slash"),
        (lambda d: d | {"chain": [{"handle": "88/x", "values": [{}] * 2049}]}, r"chain\[0\].values: 2049 values"),
        (lambda d: d | {"chain": [{"handle": "88/x", "values": [{"index": 0}]}]}, r"chain\[0\].values\[0\]"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_place(change: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(FormatError, match=text):
        load(change(deepcopy(SAVED)))


def loaded(document: object) -> list[tuple[Identifier, tuple[Value, ...]]] | None:
    """What is loaded; None when it is refused, which only ever happens as FormatError."""
    try:
        return load(document)
    except FormatError:
        return None


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
link = st.fixed_dictionaries({"handle": json_values, "values": json_values | st.lists(json_values, max_size=3)})
documents = st.one_of(json_values, st.fixed_dictionaries({"identifier": json_values, "chain": st.lists(link, max_size=3)}))


@settings(max_examples=150, deadline=None)
@given(documents)
def test_any_json_is_read_or_refused(document: object) -> None:
    loaded(document)


STRANGE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**64,
    1.5,
    float("inf"),
    "",
    "\ud800",
    "\0",
    "x" * 300,
    "AAAA",
    "==",
    [],
    {},
    [[]],
    {"a": 1},
)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    found: list[tuple[Any, Any]] = []
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, inner in items:
        found += [(document, key), *places(inner)]
    return found


def test_mutated_files_are_refused_or_say_the_same() -> None:
    dice = random.Random(2641)
    text = json.dumps(SAVED)
    count = len(places(SAVED))
    verified = 0
    for _ in range(5000):
        document = json.loads(text)
        for _ in range(dice.randint(1, 2)):
            everywhere = places(document)
            container, key = everywhere[dice.randrange(len(everywhere))]
            match dice.randrange(4):
                case 0:
                    container[key] = dice.choice(STRANGE)
                case 1 if isinstance(container, dict):
                    del container[key]
                case 2 if isinstance(container[key], str) and container[key]:
                    at = dice.randrange(len(container[key]))
                    container[key] = container[key][:at] + chr(dice.randrange(32, 127)) + container[key][at + 1 :]
                case _:
                    other, its = everywhere[dice.randrange(len(everywhere))]
                    container[key] = deepcopy(other[its])
        chain = loaded(document)
        if chain is not None:
            try:
                trusted = trust.verify_chain(chain, ANCHOR, NOW)
            except SignatureError:
                continue
            verified += 1
            for link, true in zip(trusted, FOUND.chain, strict=True):
                assert link.identifier == true.identifier
                assert {v._replace(timestamp=0) for v in link.values} == {v._replace(timestamp=0) for v in true.values}
    assert count > 100
    assert verified > 10, "timestamps and the order of values are free"
