"""What each scheme promises: any single wrong character is seen, and where it says so any two neighbours exchanged."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.core import checkdigits, codes
from resolver.core.checkdigits import ALPHANUMERIC, DIGITS, USCC_CHARACTERS
from resolver.core.codes import SYSTEMS
from resolver.core.errors import FormatError


class Promise(NamedTuple):
    """`body` are the alphabets of the characters before the check character, which comes last."""

    system: str
    body: list[str]
    transpositions: bool = False


_D = DIGITS
PROMISES = [
    *(Promise("gs1", [_D] * (length - 1)) for length in (8, 12, 13, 14)),
    Promise("gln", [_D] * 12),
    Promise("sscc", [_D] * 17),
    Promise("gsin", [_D] * 16),
    Promise("gsrn", [_D] * 17),
    Promise("grai", [_D] * 12),
    Promise("gdti", [_D] * 12),
    Promise("uscc", [USCC_CHARACTERS] * 2 + [_D] * 6 + [USCC_CHARACTERS] * 9, transpositions=True),
    Promise("orgcode", [_D] * 8, transpositions=True),
    Promise("imei", [_D] * 14),
    Promise("luhn", [_D] * 10),
    Promise("mod11-2", [_D] * 15, transpositions=True),
    Promise("mod37-36", [ALPHANUMERIC] * 17),
]


def _right(draw: st.DrawFn, promise: Promise) -> str:
    body = "".join(draw(st.sampled_from(alphabet)) for alphabet in promise.body)
    return body + SYSTEMS[promise.system].check_character(body)


def _refused(system: str, code: str) -> bool:
    try:
        codes.check(system, code)
    except FormatError:
        return True
    return False


@given(st.sampled_from(PROMISES), st.data())
def test_a_made_code_is_right_and_any_single_error_is_seen(promise: Promise, data: st.DataObject) -> None:
    code = _right(data.draw, promise)  # type: ignore[arg-type]  # hypothesis: DataObject.draw is a DrawFn
    codes.check(promise.system, code)
    place = data.draw(st.integers(0, len(promise.body) - 1))
    wrong = data.draw(st.sampled_from(promise.body[place]).filter(lambda c: c != code[place]))
    assert _refused(promise.system, code[:place] + wrong + code[place + 1 :])


@given(st.sampled_from([p for p in PROMISES if p.transpositions]), st.data())
def test_exchanged_neighbours_are_seen(promise: Promise, data: st.DataObject) -> None:
    code = _right(data.draw, promise)  # type: ignore[arg-type]  # as above
    place = data.draw(st.integers(0, len(promise.body) - 1))
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert swapped == code or _refused(promise.system, swapped)


@pytest.mark.parametrize(
    ("scheme", "missed"),
    [(checkdigits.gs1, {(a, b) for a in range(10) for b in range(10) if abs(a - b) == 5}), (checkdigits.luhn, {(0, 9), (9, 0)})],
)
def test_the_exchanges_that_a_scheme_misses_are_those_it_is_known_for(scheme: object, missed: set[tuple[int, int]]) -> None:
    assert callable(scheme)
    pairs = [(a, b) for a in range(10) for b in range(10) if a != b]
    assert {(a, b) for a, b in pairs if scheme(f"1{a}{b}7") == scheme(f"1{b}{a}7")} == missed


@given(st.sampled_from(list(SYSTEMS)), st.text(max_size=50))
def test_any_text_is_taken_or_refused_with_a_short_reason(system: str, code: str) -> None:
    refusal = "right"
    try:
        codes.check(system, code)
    except FormatError as error:
        refusal = str(error)
    assert 0 < len(refusal) < 300
    assert refusal.isprintable()


@given(st.sampled_from(["iso6346", "vin", "imo"]), st.data())
def test_exactly_one_check_character_fits(system: str, data: st.DataObject) -> None:
    """Schemes that do not promise to see every slip still promise one check character, and `check` takes only that."""
    example, place = SYSTEMS[system].example, SYSTEMS[system].check_place % len(SYSTEMS[system].example)
    digit = data.draw(st.sampled_from(DIGITS))
    body = example[: len(example) - 2] + digit + example[-1] if place == 8 else example[:-2] + digit + example[-1]
    fitting = [c for c in ALPHANUMERIC if not _refused(system, body[:place] + c + body[place + 1 :])]
    assert len(fitting) == 1
