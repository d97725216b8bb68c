"""Templates and plans: what the command line says, what a row becomes, and what a clerk is told of one that is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client import RefusedError, refusal_of
from registry.import_plan import ImportPlan
from registry.rows import Fault, Row
from registry.template import Template, ValueTemplate, parse_value
from resolver.core.errors import ConfigError

GTIN = "4006381333931"


def row(**cells: str) -> Row:
    return Row(1, 2, cells)


def plan(identifier: str = "88.101.5/{gtin}", values: tuple[str, ...] = ("URL={url}", "NAME={name}"),
         checks: tuple[str, ...] = ("gtin=gs1",), replaces: bool = False) -> ImportPlan:  # fmt: skip
    return ImportPlan.parse(identifier, values, checks, replaces)


def line(**cells: str) -> Any:
    made = plan().line(row(**cells))
    assert isinstance(made, bytes), made
    assert made.endswith(b"\n")
    return json.loads(made)


# ---- templates


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("88.101.5/{gtin}", "88.101.5/1"),
        ("{gtin}{gtin}-{name}", "11-x y"),
        ("{ gtin }", "1"),
        ("{{{gtin}}}", "{1}"),
        ("{{gtin}}", "{gtin}"),
        ("no column", "no column"),
        ("{品名 (kg): 100%}", "中"),
        ("{empty}", None),
        ("x{absent}y", None),
    ],
)
def test_a_template_is_filled(text: str, filled: str | None) -> None:
    assert Template(text).fill({"gtin": " 1\t", "name": "x y", "empty": " ", "品名 (kg): 100%": "中"}) == filled


@pytest.mark.parametrize(("text", "place"), [("{gtin", 1), ("a}b", 2), ("{}", 1), ("{a{b}", 1), ("{{a}", 4)])
def test_a_brace_without_partner_is_refused(text: str, place: int) -> None:
    with pytest.raises(ConfigError, match=f"brace at character {place} has no partner"):
        Template(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_braces_written_twice_stand_for_themselves(literal: str, cell: str) -> None:
    doubled = literal.replace("{", "{{").replace("}", "}}")
    filled = Template(doubled + "{c}" + doubled).fill({"c": cell})
    assert filled == (literal + cell.strip() + literal if cell.strip() else None)


def test_a_value_may_name_index_and_ttl() -> None:
    cells = {"a": "x"}
    assert ValueTemplate.parse("URL={a}", 2).fill(cells) == {"index": 2, "type": "URL", "data": "x"}
    assert ValueTemplate.parse("7:10320/loc@60=<{a}>=", 2).fill(cells) == {
        "index": 7,
        "type": "10320/loc",
        "data": "<x>=",
        "ttl": 60,
    }
    assert ValueTemplate.parse("品名@0={b}", 2).fill(cells) is None
    assert parse_value("3:URL@60=https://x/?a={b}&c=d", 1) == {"index": 3, "type": "URL", "data": "https://x/?a={b}&c=d", "ttl": 60}


@pytest.mark.parametrize(
    "text", ["URL", "={a}", "0:URL=x", "4000000000:URL=x", "URL@99999999999=x", "URL@4294967296=x", "U\nRL=x", " URL=x"]
)
def test_a_value_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--value "):
        ValueTemplate.parse(text, 1)


# ---- plans


def test_an_unknown_column_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as refused:
        plan(values=("URL={URl}",)).check_columns(("gtin", "name", "url"))
    assert str(refused.value) == "'{URl}': the file has no column 'URl' (did you mean {url}?); it has: gtin, name, url"
    with pytest.raises(ConfigError, match=r"--check: the file has no column 'code'; it has: gtin, name, url"):
        plan(checks=("code=gs1",)).check_columns(("gtin", "name", "url"))
    with pytest.raises(ConfigError, match=r"did you mean \{image_url\}"):
        plan(values=("URL={image_ur}",)).check_columns(("gtin", "image_url"))
    with pytest.raises(ConfigError, match=r"c0, c1.*c28, …$"):
        plan(values=("URL={zz}",)).check_columns(("gtin", *(f"c{i}" for i in range(99))))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"identifier": "88.101.5/1"}, "names no column: all rows would be one identifier"),
        ({"values": ()}, "at least one --value"),
        ({"values": ("URL={a}", "1:NAME={b}")}, "another value has index 1 already"),
        ({"checks": ("gs1",)}, "must be COLUMN=SYSTEM"),
        ({"checks": ("=gs1",)}, "must be COLUMN=SYSTEM"),
        ({"checks": ("gtin=gs2",)}, r"no code system 'gs2'; did you mean 'gs1'\?"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plan(**options)


def test_a_row_becomes_a_line() -> None:
    assert line(gtin=GTIN, url="https://x/", name=" 电源 模块 ") == {
        "identifier": f"88.101.5/{GTIN}",
        "values": [{"index": 1, "type": "URL", "data": "https://x/"}, {"index": 2, "type": "NAME", "data": "电源 模块"}],
    }
    made = plan(replaces=True).line(row(gtin=GTIN, url="u", name="n"))
    assert isinstance(made, bytes)
    assert json.loads(made)["action"] == "replace"


def test_a_value_whose_column_is_empty_is_left_out_and_the_others_keep_their_index() -> None:
    assert line(gtin=GTIN, url="", name="x")["values"] == [{"index": 2, "type": "NAME", "data": "x"}]
    both = plan(values=("URL=https://x/{gtin}/{url}", "NAME={name}")).line(row(gtin=GTIN, url="", name="x"))
    assert isinstance(both, bytes)
    assert [value["type"] for value in json.loads(both)["values"]] == ["NAME"]


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"gtin": "4006381333930"}, Fault("gtin", "GTIN-13 4006381333930: check digit 0, expected 1", "check digit 1")),
        ({"gtin": ""}, Fault("gtin", "it is empty; a GTIN has 8, 12, 13 or 14", "8, 12, 13 or 14 digits")),
        ({"gtin": GTIN, "url": " ", "name": ""},
         Fault("url, name", "all cells of which values are made are empty", "at least one value")),
        ({"gtin": GTIN, "name": "half \ud83d"},
         Fault("", "the row has half of a surrogate pair, '\\ud83d'", "whole Unicode characters")),
    ],
)  # fmt: skip
def test_a_row_is_refused_with_what_was_expected(cells: dict[str, str], fault: Fault) -> None:
    assert plan().line(row(**cells)) == fault


def test_an_identifier_that_breaks_a_rule_is_refused() -> None:
    free = plan("{prefix}/{code}", checks=())
    fault = free.line(row(prefix="88.101", code="", name="x"))
    assert fault == Fault("code", "the cell is empty, and the identifier needs it", "a code")
    fault = free.line(row(prefix="88..101", code="a", name="x"))
    assert isinstance(fault, Fault)
    assert fault.column == "prefix, code"
    assert "empty label" in fault.problem
    fault = free.line(row(prefix="88.101", code="a\u200bb", name="x"))
    assert isinstance(fault, Fault)
    assert "U+200B, at character 2" in fault.problem
    assert fault.expected == "88.101/ab"


def test_a_check_beside_the_identifier_is_for_cells_that_are_there() -> None:
    loose = plan(checks=("container=iso6346",))
    assert isinstance(loose.line(row(gtin="1", name="x", container="")), bytes)
    fault = loose.line(row(gtin="1", name="x", container="CSQU3054384"))
    assert isinstance(fault, Fault)
    assert fault.column == "container"


def test_a_row_that_could_not_be_read_stays_refused() -> None:
    fault = Fault("", "broken", "whole")
    assert plan().line(Row(1, 2, {"gtin": GTIN, "name": "x"}, fault)) is fault


@given(st.dictionaries(st.sampled_from(["gtin", "url", "name"]), st.text(max_size=30)))
def test_any_row_becomes_one_line_or_a_fault(cells: dict[str, str]) -> None:
    made = plan(checks=()).line(row(**cells))
    if isinstance(made, bytes):
        assert made.count(b"\n") == 1
        assert json.loads(made)["values"]
    else:
        assert made.problem
        assert made.expected


# ---- what the registry refuses


def refused(kind: str, place: str = "") -> RefusedError:
    return refusal_of({"type": f"/v1/problems/{kind}", "status": 409, "detail": "because", "place": place, "next": "do"})


def test_a_refusal_of_the_registry_is_told_in_terms_of_the_row() -> None:
    told = plan().fault_of_refusal
    full, nameless = row(gtin=GTIN, url="u", name="n"), row(gtin=GTIN, url="", name="n")
    assert told(full, refused("exists")) == Fault(
        "gtin", "because", "the values that are registered; or import with --replace to replace them"
    )
    assert told(full, refused("invalid-value", "values[1].data")) == Fault("name", "because", "do")
    assert told(nameless, refused("invalid-value", "values[0].data")) == Fault("name", "because", "do")
    assert told(nameless, refused("invalid-value", "values[9]")).column == ""
    assert told(full, refused("too-large", "line")).column == ""
