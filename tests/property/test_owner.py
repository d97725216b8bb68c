"""Owner names: equal if and only if the identifiers are, and each leads back to its identifier."""

import unicodedata
from hashlib import sha256

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from resolver.core import limits
from resolver.core.errors import IdentifierError
from resolver.core.identifier import Identifier
from resolver.core.owner import (
    LABEL_OCTETS_MAX,
    NAME_SERVER_LABEL,
    SIGNATURE_LABEL,
    HashedName,
    decode_name,
    digest_of,
    identifier_of,
    is_hashed,
    label_of,
    name_of,
    owner_labels,
    suffix_of,
    zone_labels,
    zone_prefix,
)
from resolver.core.wire.dns import encode_name

LABEL_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"
prefix_labels = st.text(LABEL_CHARACTERS, min_size=1, max_size=12).filter(lambda label: label[0] != "-" and label[-1] != "-")
prefixes = st.one_of(
    st.sampled_from(["88.118", "0.NA", "0.na", "0.0"]), st.lists(prefix_labels, min_size=1, max_size=6).map(".".join)
)
# Suffixes that are near to one another under some careless mapping: by case, escape, hyphen, hash, normal form, length.
near = st.text(st.sampled_from("aA-_.045hHé/é中ﬁ "), min_size=1, max_size=12)
long_ones = st.text(st.sampled_from("aA0-中"), min_size=18, max_size=70)
suffixes = st.one_of(near, long_ones, st.text(min_size=1, max_size=80))


@st.composite
def identifiers(draw: st.DrawFn) -> Identifier:
    try:
        return Identifier(draw(prefixes), draw(suffixes))
    except IdentifierError:
        assume(False)
        raise


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Identifier, Identifier]:
    """An identifier, and another spelling or a near miss of it."""
    one = draw(identifiers())
    suffix = one.suffix
    changed = draw(
        st.sampled_from(
            [suffix, suffix.lower(), suffix.upper(), suffix.swapcase(), unicodedata.normalize("NFD", suffix), suffix + "-",
             label_of(suffix.encode()).decode(), suffix[:-1], suffix.replace("_", "_5f"), suffix.replace("A", "_41"),
             suffix.replace("/", "."), suffix.replace("-", "_2d")]
        )
    )  # fmt: skip
    prefix = draw(st.sampled_from([one.prefix, one.prefix.upper(), one.prefix.lower(), one.prefix + ".1", "1." + one.prefix]))
    try:
        return one, Identifier(prefix, changed)
    except IdentifierError:
        assume(False)
        raise


@settings(max_examples=400, deadline=None)
@given(neighbours())
def test_equal_if_and_only_if_the_identifiers_are(pair: tuple[Identifier, Identifier]) -> None:
    one, other = pair
    assert (owner_labels(one) == owner_labels(other)) == (one == other)


@settings(max_examples=100, deadline=None)
@given(identifiers(), identifiers())
def test_equal_if_and_only_if_any_two_are(one: Identifier, other: Identifier) -> None:
    assert (owner_labels(one) == owner_labels(other)) == (one == other)


@settings(max_examples=250, deadline=None)
@given(identifiers())
@example(Identifier("88.118.8", "ABC"))
@example(Identifier("88.118", "-"))
@example(Identifier("88.118", "--"))
@example(Identifier("88.118", "x" * 60))
@example(Identifier("88.118", "x" * 61))
@example(Identifier("88.118", "_h" + "0" * 52))
@example(Identifier("88.118", "_sig"))
@example(Identifier("0.na", "88.abc"))
def test_a_name_leads_back_to_its_identifier(identifier: Identifier) -> None:
    labels = owner_labels(identifier)
    suffix = identifier.key.partition(b"/")[2]
    if is_hashed(suffix):
        assert identifier_of(labels) is None
        assert digest_of(labels[0]) == sha256(suffix).digest()
        asked = name_of(labels)
        assert (asked is None) == identifier.is_prefix_record
        assert asked is None or asked.is_answered_by(identifier)
    else:
        assert identifier_of(labels) == name_of(labels) == identifier
        assert suffix_of(labels[0]) == suffix
        assert digest_of(labels[0]) is None


@settings(max_examples=250, deadline=None)
@given(neighbours(), st.booleans())
def test_a_hashed_name_is_answered_by_one_identifier_and_equals_none(pair: tuple[Identifier, Identifier], lower: bool) -> None:
    one, other = pair
    suffix = one.key.partition(b"/")[2]
    assume(not one.is_prefix_record)
    asked = HashedName(one.prefix.lower() if lower else one.prefix, sha256(suffix).digest())
    assert asked.is_answered_by(one) == is_hashed(suffix)
    assert asked.is_answered_by(other) == (is_hashed(suffix) and one == other)
    assert not asked.is_answered_by(asked)
    assert decode_name(asked.key) == asked != one
    assert decode_name(one.key) == one
    with pytest.raises(IdentifierError):
        Identifier.decode(asked.key)
    with pytest.raises(IdentifierError):
        Identifier.parse(asked.canonical)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.builds(lambda a, b: a + b"/\0" + b, st.binary(max_size=8), st.binary(max_size=34))))
def test_what_is_asked_for_is_read_or_refused(octets: bytes) -> None:
    try:
        name = decode_name(octets)
    except IdentifierError:
        return
    assert decode_name(name.key) == name
    assert isinstance(name, HashedName) == (b"\0" in octets.partition(b"/")[2])


@settings(max_examples=150, deadline=None)
@given(identifiers())
def test_a_name_is_lower_case_and_fits(identifier: Identifier) -> None:
    labels = owner_labels(identifier)
    assert [label.lower() for label in labels] == labels
    assert len(labels[0]) <= LABEL_OCTETS_MAX
    assert labels[0] not in (SIGNATURE_LABEL, NAME_SERVER_LABEL)
    assert set(labels[0]) <= set(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert labels[0][:1] != b"-" != labels[0][-1:]
    apex = [b"a" * 24, b"b" * 24]
    assert sum(map(len, apex)) + 1 <= limits.apex_octets.default
    assert encode_name([SIGNATURE_LABEL, *labels, *apex])


def test_the_longest_prefix_leaves_room_for_everything() -> None:
    prefix = ".".join(["a" * 63, "b" * 62, "c"])
    assert len(prefix) == limits.prefix_octets.default
    identifier = Identifier(prefix, "A" * 100)
    name = encode_name([SIGNATURE_LABEL, *owner_labels(identifier), b"d" * 24, b"e" * 25])
    assert len(name) <= 255


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=70), st.text("abAB012_-h.", max_size=64).map(str.encode)))
def test_a_label_that_has_a_suffix_is_the_one_label_of_it(label: bytes) -> None:
    suffix = suffix_of(label)
    if suffix is not None:
        assert label_of(suffix) == label
        assert label == label.lower()


def test_a_suffix_that_is_spelt_otherwise_has_no_name() -> None:
    """Only the canonical spelling has a name: form C, and upper case where the suffix is a prefix."""
    decomposed = unicodedata.normalize("NFD", "é").encode()
    for labels in ([label_of(decomposed), b"118", b"88"], [label_of(b"88.abc"), b"na", b"0"], [b"_ff", b"88"], [b"_09", b"88"]):
        assert suffix_of(labels[0]) is not None
        assert identifier_of(labels) is None
    assert identifier_of([label_of(b"88.ABC"), b"na", b"0"]) == Identifier("0.NA", "88.abc")


@settings(max_examples=100, deadline=None)
@given(prefixes)
def test_a_zone_leads_back_to_its_prefix(prefix: str) -> None:
    assert zone_prefix(zone_labels(prefix)) == prefix.upper()


def test_labels_that_no_prefix_has() -> None:
    for labels in ([], [b""], [b"a.b"], [b"a/b"], [b"-a"], [b"a-"], [b"_a"], [b"A"], [b"\xff"], [b"1"] * 17):
        assert zone_prefix(labels) is None
