"""Code systems: the examples that the standards print, every kind of slip, and what a clerk is told."""

import pytest

from resolver.core import codes
from resolver.core.codes import SYSTEMS
from resolver.core.errors import FormatError

# Numbers printed in the standards or seen on real goods, none of them computed here.
PUBLISHED = [
    ("gs1", "6901234567892"),
    ("gs1", "4006381333931"),
    ("gs1", "036000291452"),
    ("gs1", "96385074"),
    ("gs1", "10614141000415"),
    ("gln", "6291041500213"),
    ("sscc", "006141411234567890"),
    ("uscc", "91110108589104047H"),
    ("orgcode", "589104047"),
    ("iso6346", "CSQU3054383"),
    ("vin", "1M8GDM9AXKP042788"),
    ("vin", "11111111111111111"),
    ("imo", "9074729"),
    ("imei", "490154203237518"),
    ("luhn", "79927398713"),
    ("mod11-2", "0000000218250097"),  # the ORCID of the standard's example person
    ("mod11-2", "000000021694233X"),
    ("mod37-36", "A12425GABC1234002M"),
]


@pytest.mark.parametrize(("system", "code"), PUBLISHED)
def test_a_published_number_is_right(system: str, code: str) -> None:
    codes.check(system, code)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_example_in_the_help_is_right(system: str) -> None:
    codes.check(system, SYSTEMS[system].example)


@pytest.mark.parametrize(
    ("system", "code", "told"),
    [
        ("gs1", "4006381333930", "GTIN-13 4006381333930: check digit 0, expected 1"),
        ("gs1", "96385075", "GTIN-8 96385075: check digit 5, expected 4"),
        ("gs1", "00002", "'00002' has 5 digits; a GTIN has 8, 12, 13 or 14"),
        ("gs1", "", "it is empty; a GTIN has 8, 12, 13 or 14"),
        ("gs1", "36000291452", ("'36000291452' has 11 digits; a GTIN has 8, 12, 13 or 14; did you mean 036000291452, "
                               "with the zeros in front that spreadsheets drop?")),
        ("gs1", "4 006381333931", "'4 006381333931' has ' ' at character 2; expected a digit; leave spaces and hyphens out"),
        ("gs1", "4.00638E+12", ("'4.00638E+12' has '.' at character 2; expected a digit; a spreadsheet shortened the number: "
                               "format the column as text and export it again")),
        ("gs1", "４006381333931", ("'４006381333931' has '４' at character 1; expected a digit; it is a full-width character: "
                                  "switch the input method to half width")),
        ("gs1", "x\x00", r"'x\x00' has 'x' at character 1; expected a digit"),
        ("sscc", "1", "'1' has 1 digit; an SSCC has 18"),
        ("uscc", "91110108589104047A", "USCC 91110108589104047A: check character A, expected H"),
        ("uscc", "91110108589104O47H", ("'91110108589104O47H' has 'O' at character 15; expected a digit or a capital letter other "
                                       "than I, O, S, V and Z")),
        ("uscc", "9111010A589104047H", "'9111010A589104047H' has 'A' at character 8; expected a digit"),
        ("orgcode", "589104048", "organisation code 589104048: check character 8, expected 7"),
        ("iso6346", "CSQU3054384", "container number CSQU3054384: check digit 4, expected 3"),
        ("iso6346", "CSQX3054383", "'CSQX3054383' has 'X' at character 4; expected U, J or Z, the equipment category"),
        ("vin", "1M8GDM9A1KP042788", "VIN 1M8GDM9A1KP042788: check character 1, expected X"),
        ("vin", "1m8GDM9AXKP042788", ("'1m8GDM9AXKP042788' has 'm' at character 2; expected a digit or a capital letter other than "
                                     "I, O and Q; write capital letters")),
        ("luhn", "7", "'7' has 1 digit; a number has 2 to 40"),
        ("grai", "0614141123452" + "A" * 17, "the serial of the GRAI has 17 characters; at most 16 may follow"),
        ("gdti", "0614141123452A#",
         "the serial of the GDTI has '#' at character 15; expected a letter, a digit or GS1 punctuation"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_expected(system: str, code: str, told: str) -> None:
    with pytest.raises(FormatError) as refused:
        codes.check(system, code)
    assert str(refused.value) == told


def test_a_serial_follows_its_key() -> None:
    codes.check("grai", "0614141123452" + "Ab-1/" * 3)
    with pytest.raises(FormatError, match="check digit 3, expected 2"):
        codes.check("grai", "0614141123453AB1")


def test_an_unknown_system_is_named_and_the_known_are_listed() -> None:
    with pytest.raises(FormatError, match=r"no code system 'gsx'; did you mean 'gs1'\? known are gs1, gln, sscc"):
        codes.check("gsx", "1")
    with pytest.raises(FormatError, match=r"no code system '!'; known are gs1"):
        codes.check("!", "1")


def test_a_refusal_of_a_very_long_code_is_short() -> None:
    with pytest.raises(FormatError) as refused:
        codes.check("gs1", "9" * 100_000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("code", "expected"),
    [("4006381333930", "check digit 1"), ("12", "8, 12, 13 or 14 digits"), ("400638133393O", "a digit at character 13")],
)
def test_what_was_expected_is_told_in_a_few_words_too(code: str, expected: str) -> None:
    with pytest.raises(codes.CodeError) as refused:
        codes.check("gs1", code)
    assert refused.value.expected == expected
