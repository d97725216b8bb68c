"""Identifiers: what is one, which are equal, and what is suggested for what is none."""

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.core.errors import FormatError, IdentifierError
from resolver.core.identifier import Identifier, parent_prefix, prefix_record, scope, signer

LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,8}[A-Za-z0-9])?", fullmatch=True)
PREFIX = st.lists(LABEL, min_size=1, max_size=5).map(".".join)
SUFFIX = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=40)


def accepted(prefix: str, suffix: str) -> Identifier | None:
    try:
        return Identifier(prefix, suffix)
    except IdentifierError:
        return None


@given(PREFIX, SUFFIX)
def test_what_is_printed_parses_to_the_same(prefix: str, suffix: str) -> None:
    found = accepted(prefix, suffix)
    if found is not None:
        assert Identifier.parse(str(found)) == found
        assert Identifier.decode(found.key) == found
        assert Identifier.parse(found.canonical).canonical == found.canonical


@given(PREFIX, SUFFIX)
def test_prefixes_compare_without_case_and_suffixes_exactly(prefix: str, suffix: str) -> None:
    found = accepted(prefix, suffix)
    if found is not None:
        assert found == Identifier(prefix.swapcase(), suffix)
        assert hash(found) == hash(Identifier(prefix.lower(), suffix))
        other = accepted(prefix, suffix + "x")
        assert other is None or other != found
    assert Identifier("88", "Abc") != Identifier("88", "abc")


@given(SUFFIX)
def test_normal_forms_of_one_text_are_one_identifier(suffix: str) -> None:
    found = accepted("88", suffix)
    if found is not None:
        assert found == Identifier("88", unicodedata.normalize("NFD", suffix))


@given(st.text(max_size=300))
def test_any_text_is_an_identifier_or_an_error_of_ours(text: str) -> None:
    try:
        found = Identifier.parse(text)
    except IdentifierError as error:
        if error.suggestion is not None:
            Identifier.parse(error.suggestion)
    else:
        assert len(str(found)) <= 255


@given(st.binary(max_size=2100))
def test_any_octets_are_an_identifier_or_a_format_error(octets: bytes) -> None:
    with suppress(FormatError):
        Identifier.decode(octets)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "no slash"),
        ("/x", "prefix is empty"),
        ("88.1/", "empty suffix"),
        ("88..1/x", "empty label"),
        (".88/x", "empty label"),
        ("-88/x", "inner hyphens"),
        ("8８/x", "ASCII"),
        ("a" * 64 + "/x", "63 octets"),
        (".".join(["1"] * 17) + "/x", "17 labels"),
        ("88/" + "x" * 253, "256 characters"),
        ("88/a\x00", "U+0000"),
        ("88/a\u202eb", "U+202E, at character 2"),
        ("88/a\u200bb", "U+200B"),
        ("88/\u3164", "invisible"),
        ("88/a\ud800", "surrogate"),
    ],
)
def test_what_is_refused_names_the_rule(text: str, rule: str) -> None:
    with pytest.raises(IdentifierError, match=rule.replace("+", r"\+")):
        Identifier.parse(text)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("88.118.8 ABC", "88.118.8/ABC"),
        ("88.118.8／ABC", "88.118.8/ABC"),
        ("８８．118.8/ABC", "88.118.8/ABC"),
        ("88.118.8\\ABC", "88.118.8/ABC"),
        ("88.118.8%2FABC", "88.118.8/ABC"),
        (" 88.118.8/ABC\n", "88.118.8/ABC"),
        ("hdl:88.118.8/ABC", "88.118.8/ABC"),
        ("https://id.example/88.118.8/AB%20C?x=1", "88.118.8/AB C"),
        ("88.118.8/A\u200bBC", "88.118.8/ABC"),
    ],
)
def test_a_usual_slip_gets_a_suggestion(slip: str, meant: str) -> None:
    with pytest.raises(IdentifierError) as caught:
        Identifier.parse(slip)
    assert caught.value.suggestion == meant


def test_labels_are_strings() -> None:
    assert Identifier.parse("88.101.0042/x") != Identifier.parse("88.101.42/x")


def test_later_slashes_and_colons_belong_to_the_suffix() -> None:
    found = Identifier.parse("88.1/01/0123:a/b")
    assert (found.prefix, found.suffix) == ("88.1", "01/0123:a/b")


def test_a_bare_prefix_stands_for_its_prefix_record() -> None:
    assert Identifier.parse_or_prefix("88.118").canonical == "0.NA/88.118"
    assert prefix_record("88.abc") == Identifier.parse("0.na/88.ABC")


@pytest.mark.parametrize(
    ("name", "key_holder", "served_by"),
    [
        ("88.118.8/ABC", "0.NA/88.118.8", "88.118.8"),
        ("0.NA/88.118.8", "0.NA/88.118", "88.118"),
        ("0.NA/88.118", "0.NA/88", "88"),
        ("0.NA/88", "0.0/0.0", "0.NA"),
        ("0.NA/0.NA", "0.0/0.0", "0.NA"),
        ("0.0/0.0", "0.0/0.0", "0.0"),
    ],
)
def test_the_names_say_who_signs_and_who_serves(name: str, key_holder: str, served_by: str) -> None:
    assert signer(Identifier.parse(name)).canonical == key_holder
    assert scope(Identifier.parse(name)) == served_by


def test_parents() -> None:
    assert [parent_prefix(p) for p in ("88.118.8", "88.118", "88", "0.NA", "0.0")] == ["88.118", "88", "0.NA", "0.NA", "0.NA"]
