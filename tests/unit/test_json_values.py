"""Values as JSON: the golden vectors both ways, what comes back after a round trip, and what a wrong document is told."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core.errors import FormatError
from resolver.core.record import Reference, Value
from resolver.core.wire.json import document_from_octets, iso_time, value_from_json, value_to_json, values_from_json
from resolver.core.wire.json_site import site_to_json
from resolver.core.wire.json_text import public_values_text, signature_text
from resolver.core.wire.values import decode_values, encode_value, encode_values
from tests.support.world import World

VECTORS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "handle.json").read_text("utf-8"))["vectors"]
}
VALUES = [name for name in VECTORS if name.startswith("value.")]
SITES = [name for name in VECTORS if name.startswith("data.hs_site")]


@pytest.mark.parametrize("name", VALUES)
def test_a_golden_value_has_its_golden_document(name: str) -> None:
    octets, document = bytes.fromhex(VECTORS[name]["hex"]), VECTORS[name]["fields"]["json"]
    (value,) = decode_values(octets)
    assert value_to_json(value) == document
    assert encode_value(value_from_json(document, "value")) == octets


@pytest.mark.parametrize("name", SITES)
def test_a_golden_site_has_its_golden_document(name: str) -> None:
    octets, document = bytes.fromhex(VECTORS[name]["hex"]), VECTORS[name]["fields"]["json"]
    assert site_to_json(octets) == document
    whole = {"type": "HS_SITE", "data": {"format": "site", "value": document}}
    assert value_from_json(whole, "value").data == octets


def test_there_are_vectors_to_compare_with() -> None:
    assert len(VALUES) >= 10
    assert len(SITES) == 2


# ---- round trips

references = st.builds(Reference, st.text(st.characters(codec="utf-8"), max_size=12), st.integers(0, 2**32 - 1))
values = st.builds(
    Value,
    index=st.integers(1, 2**31 - 1),
    type=st.one_of(st.sampled_from(["URL", "HS_ADMIN", "HS_VLIST", "HS_SITE", "HS_PUBKEY", "HS_SITE.PREFIX", "HS_SIGNATURE.X"]),
                   st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)),
    data=st.one_of(st.binary(max_size=40), st.text(st.characters(codec="utf-8"), max_size=30).map(str.encode),
                   st.sampled_from([bytes.fromhex(VECTORS[name]["hex"]) for name in SITES])),
    ttl=st.integers(0, 2**32 - 1),
    ttl_type=st.integers(0, 1),
    timestamp=st.integers(0, 2**32 - 1),
    permissions=st.integers(0, 15),
    references=st.lists(references, max_size=3).map(tuple),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(values)
def test_a_value_survives_the_way_through_json(value: Value) -> None:
    text = json.dumps(value_to_json(value))
    assert value_from_json(document_from_octets(text.encode(), "body"), "value") == value


@settings(max_examples=400, deadline=None)
@given(st.lists(values, max_size=4))
def test_the_fast_text_is_the_text_of_the_definition(several: list[Value]) -> None:
    expected = [value_to_json(value) for value in several if value.is_public]
    assert [json.loads(text) for text in public_values_text(encode_values(several))] == expected


def test_the_text_of_a_signature_is_that_of_its_value() -> None:
    world = World()
    world.put("0.0/ABC", Value(1, "URL", b"https://example.org/"))
    value = world.values("0.0/ABC")[-1]
    assert json.loads(signature_text(value.data.decode(), value.timestamp)) == value_to_json(value)


def test_cut_off_values_are_refused_and_nothing_else() -> None:
    octets = encode_values(decode_values(b"".join(bytes.fromhex(VECTORS[name]["hex"]) for name in VALUES)))
    for length in range(1, len(octets), 7):
        try:
            public_values_text(octets[:length])
        except FormatError:
            continue


# ---- reading


@pytest.mark.parametrize("data", ["text", {"format": "string", "value": "text"}, {"format": "hex", "value": "74657874"},
                                  {"format": "base64", "value": "dGV4dA=="}])  # fmt: skip
def test_data_in_every_format(data: object) -> None:
    assert value_from_json({"type": "DESC", "data": data}, "value") == Value(1, "DESC", b"text")


def test_what_deployed_clients_send_is_understood() -> None:
    """An administrator's index as a string, all permissions as a star, an absolute TTL, and the legacy end of HS_ADMIN."""
    document = {
        "index": 100,
        "type": "HS_ADMIN",
        "data": {"format": "admin", "value": {"handle": "0.NA/88.1", "index": "200", "permissions": "011111110011"}},
        "permissions": "*",
        "ttl": "2026-11-20T04:48:46Z",
    }
    value = value_from_json(document, "value")
    assert value.data.hex() == "07f3000000093" + "02e4e412f38382e31000000c8"
    assert (value.permissions, value.ttl_type, value.ttl) == (0b1111, 1, 1795150126)
    document["data"]["value"]["legacyByteLength"] = True  # type: ignore[index]
    assert value_from_json(document, "value").data == value.data + bytes(2)


@pytest.mark.parametrize("name", ["value.hs_pubkey", "value.hs_vlist", "value.hs_site", "value.hs_admin"])
def test_octets_that_a_format_would_not_give_back_are_shown_as_octets(name: str) -> None:
    (value,) = decode_values(bytes.fromhex(VECTORS[name]["hex"]))
    for data in (value.data + bytes(4), value.data[:-4], value.data[:-1]):
        document = value_to_json(value._replace(data=data))
        assert document["data"]["format"] in ("base64", "string")
        assert value_from_json(document, "value").data == data


def test_values_without_an_index_get_the_lowest_free_ones() -> None:
    documents = [{"type": "A", "data": ""}, {"index": 1, "type": "B", "data": ""}, {"type": "C", "data": ""}]
    assert [value.index for value in values_from_json(documents, "values")] == [2, 1, 3]


WRONG: list[tuple[Any, str]] = [
    (None, "values[0]: a value must be an object with type and data, not null or nothing"),
    ({"data": "x"}, "values[0]: the field 'type' is missing"),
    ({"type": "URL"}, "values[0]: the field 'data' is missing"),
    ({"type": "URL", "data": "x", "permision": "1100"}, "values[0]: there is no field 'permision' in a value"),
    ({"type": "", "data": "x"}, "values[0].type: must be a text that is not empty"),
    ({"type": "URL", "data": 5}, "values[0].data: must be a text, or an object with format and value, not 5"),
    ({"type": "URL", "data": {"format": "xml", "value": ""}}, "values[0].data.format: must be one of admin, base64, hex"),
    ({"type": "URL", "data": {"format": "base64", "value": "a"}}, "values[0].data.value: must be base64"),
    ({"type": "URL", "data": {"format": "hex", "value": "abc"}}, "values[0].data.value: must be an even number"),
    ({"type": "URL", "data": {"format": "string", "value": []}}, "values[0].data.value: must be a text, not a list"),
    ({"type": "URL", "data": "\ud800"}, "values[0].data: half of a surrogate pair at character 1"),
    ({"type": "URL", "data": "x", "index": 0}, "values[0].index: must be a whole number from 1 to 2147483647, not 0"),
    ({"type": "URL", "data": "x", "index": True}, "values[0].index: must be a whole number"),
    ({"type": "URL", "data": "x", "index": 10**30}, "values[0].index: must be a whole number"),
    ({"type": "URL", "data": "x", "ttl": -1}, "values[0].ttl: must be a whole number from 0"),
    ({"type": "URL", "data": "x", "ttl": "tomorrow"}, "values[0].ttl: must be a time"),
    ({"type": "URL", "data": "x", "timestamp": "2026-11-20T04:48:46"}, "values[0].timestamp: must be a time"),
    ({"type": "URL", "data": "x", "permissions": "11"}, "values[0].permissions: must be four binary digits"),
    ({"type": "URL", "data": "x", "references": [{"handle": "88.1/a"}]}, "values[0].references[0].index: must be a whole number"),
    ({"type": "V", "data": {"format": "vlist", "value": [{"index": 1}]}}, "values[0].data.value[0].handle: must be a text"),
    ({"type": "A", "data": {"format": "admin", "value": {"handle": "h", "index": 1}}}, "values[0].data.value.permissions: must be"),
    ({"type": "S", "data": {"format": "site", "value": {"servers": [{}]}}}, "values[0].data.value.servers[0].serverId: must be"),
    ({"type": "K", "data": {"format": "key", "value": {"kty": "EC"}}}, "values[0].data.value: expected a JWK"),
]


@pytest.mark.parametrize(("document", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_is_wrong_is_told_with_its_place(document: object, told: str) -> None:
    with pytest.raises(FormatError) as refusal:
        values_from_json([document], "values")
    assert str(refusal.value).startswith(told)


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (b"\xff", "body: not UTF-8 at octet 0"),
        (b'{"a":\n}', "body: not JSON at line 2, column 1"),
        (b"NaN", "body: not JSON: NaN is no JSON number"),
        (b"[" * 5000, "body: JSON nested deeper than 16"),
        (b"[" * 17 + b"]" * 17, "body: JSON nested deeper than 16"),
        (b"9" * 5000, "body: not JSON"),
    ],
)
def test_a_document_that_is_none_is_told_where(octets: bytes, told: str) -> None:
    with pytest.raises(FormatError) as refusal:
        document_from_octets(octets, "body")
    assert str(refusal.value).startswith(told)


def test_a_document_as_deep_as_allowed_is_read() -> None:
    assert document_from_octets(b"[" * 16 + b"]" * 16, "body")


def test_times_are_those_of_iso_8601() -> None:
    assert iso_time(0) == "1970-01-01T00:00:00Z"
    assert iso_time(1_700_000_000) == "2023-11-14T22:13:20Z"
    assert iso_time(2**32 - 1) == "2106-02-07T06:28:15Z"


# ---- any document at all


def _mutant(dice: random.Random, document: Any) -> Any:
    """`document` with something in it replaced, dropped or doubled."""
    odd: Any = dice.choice(
        [None, True, -1, 2**80, 1.5, "", "\ud800", "x" * 300, [], {}, [[]], {"format": "site", "value": {}}, "NaN"]
    )
    if isinstance(document, dict) and document and dice.random() < 0.85:
        name = dice.choice(list(document))
        changed = dict(document)
        if dice.random() < 0.15:
            del changed[name]
        else:
            changed[name] = _mutant(dice, document[name])
        return changed
    if isinstance(document, list) and document and dice.random() < 0.8:
        place = dice.randrange(len(document))
        return [*document[:place], _mutant(dice, document[place]), *document[place + dice.randrange(2) :]]
    if isinstance(document, str) and document and dice.random() < 0.5:
        place = dice.randrange(len(document))
        return document[:place] + chr(dice.choice([0, 10, 34, 47, 0x300, 0xD83D, 0x4E2D])) + document[place + 1 :]
    return odd


def test_any_document_is_a_value_or_refused() -> None:
    """12,000 documents, golden ones changed in one to three places: FormatError and nothing else."""
    dice = random.Random(20261120)
    golden = [VECTORS[name]["fields"]["json"] for name in VALUES]
    taken = refused = 0
    for _ in range(12_000):
        document = dice.choice(golden)
        for _ in range(dice.randint(1, 3)):
            document = _mutant(dice, document)
        try:
            value = value_from_json(document, "value")
        except FormatError:
            refused += 1
        else:
            assert decode_values(encode_value(value)) == (value,)
            taken += 1
    assert taken > 500
    assert refused > 1000


def test_any_octets_are_a_document_or_refused() -> None:
    dice = random.Random(7)
    golden = json.dumps([VECTORS[name]["fields"]["json"] for name in VALUES[:4]]).encode()
    for _ in range(4000):
        octets = bytearray(golden)
        for _ in range(dice.randint(1, 6)):
            octets[dice.randrange(len(octets))] = dice.randrange(256)
        try:
            document_from_octets(bytes(octets), "body")
        except FormatError:
            continue
