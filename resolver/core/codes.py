"""Code systems that people type, scan or import, and the check of one code: its characters, its length, its check character.

Each system is a row of a table: which lengths it has, which character may stand where, which algorithm of `checkdigits` promises
the check character and where that stands. A refusal says exactly what was expected, so that a clerk can mend the code:

    GTIN-13 4006381333930: check digit 0, expected 1
    '00002' has 5 digits; a GTIN has 8, 12, 13 or 14

A code is taken as it would be printed: capital letters, no spaces or hyphens. Resident identity numbers (GB 11643) are left out
on purpose: an identifier is public, and such a number must not become one.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from resolver.core import checkdigits
from resolver.core.checkdigits import ALPHANUMERIC, DIGITS, LETTERS, USCC_CHARACTERS
from resolver.core.errors import FormatError


class CodeError(FormatError):
    """A code breaks a rule of its system. `expected` says in a few words what would have been right."""

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(text)
        self.expected = expected


class Alphabet(NamedTuple):
    """The characters that may stand at a place, and how a person is told."""

    characters: frozenset[str]
    words: str


class System(NamedTuple):
    """One code system. `places` are the exceptions to `alphabet`, counted from 0, or from the end as -1, -2, …

    After the key a serial of up to `serial_most` characters may follow that nothing checks (GRAI, GDTI).
    """

    name: str
    noun: str
    title: str
    lengths: tuple[int, ...]
    alphabet: Alphabet
    check_character: Callable[[str], str]
    example: str
    check_place: int = -1
    places: Mapping[int, Alphabet] = {}
    serial_most: int = 0


_SMALL_LETTERS = frozenset(LETTERS.lower())
_DIGIT = Alphabet(frozenset(DIGITS), "a digit")
_DIGIT_OR_X = Alphabet(frozenset(DIGITS + "X"), "a digit or X")
_LETTER = Alphabet(frozenset(LETTERS), "a capital letter")
_ALPHANUMERIC = Alphabet(frozenset(ALPHANUMERIC), "a digit or a capital letter")
_USCC = Alphabet(frozenset(USCC_CHARACTERS), "a digit or a capital letter other than I, O, S, V and Z")
_VIN = Alphabet(frozenset(ALPHANUMERIC) - frozenset("IOQ"), "a digit or a capital letter other than I, O and Q")
_CATEGORY = Alphabet(frozenset("UJZ"), "U, J or Z, the equipment category")
# The graphic characters of GS1 General Specifications, figure 7.11-1 (ISO/IEC 646 without those that scanners confuse).
_GS1_SERIAL = frozenset("!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")

_TABLE = (
    System("gs1", "GTIN", "trade item number: GTIN-8, -12 (UPC), -13 (EAN), -14",
           (8, 12, 13, 14), _DIGIT, checkdigits.gs1, "6901234567892"),
    System("gln", "GLN", "GS1 location number", (13,), _DIGIT, checkdigits.gs1, "6291041500213"),
    System("sscc", "SSCC", "GS1 number of a pallet or parcel", (18,), _DIGIT, checkdigits.gs1, "006141411234567890"),
    System("gsin", "GSIN", "GS1 shipment number", (17,), _DIGIT, checkdigits.gs1, "61414112345678902"),
    System("gsrn", "GSRN", "GS1 service relation number", (18,), _DIGIT, checkdigits.gs1, "061414112345678902"),
    System("grai", "GRAI", "GS1 returnable asset: 13 digits, then a serial of up to 16 characters",
           (13,), _DIGIT, checkdigits.gs1, "0614141123452AB1", serial_most=16),
    System("gdti", "GDTI", "GS1 document type: 13 digits, then a serial of up to 17 characters",
           (13,), _DIGIT, checkdigits.gs1, "0614141123452AB1", serial_most=17),
    System("uscc", "USCC", "unified social credit code of an organisation (GB 32100, 统一社会信用代码)",
           (18,), _USCC, checkdigits.uscc, "91110108589104047H", places=dict.fromkeys(range(2, 8), _DIGIT)),
    System("orgcode", "organisation code", "organisation code (GB 11714, 组织机构代码), without its hyphen",
           (9,), _ALPHANUMERIC, checkdigits.organisation, "589104047", places={-1: _DIGIT_OR_X}),
    System("iso6346", "container number", "freight container (ISO 6346)", (11,), _DIGIT, checkdigits.container, "CSQU3054383",
           places={0: _LETTER, 1: _LETTER, 2: _LETTER, 3: _CATEGORY}),
    System("vin", "VIN", "vehicle (ISO 3779; the check character of GB 16735, which European makers leave out)",
           (17,), _VIN, checkdigits.vehicle, "1M8GDM9AXKP042788", check_place=8, places={8: _DIGIT_OR_X}),
    System("imo", "IMO number", "ship, seven digits without the letters IMO", (7,), _DIGIT, checkdigits.ship, "9074729"),
    System("imei", "IMEI", "mobile equipment", (15,), _DIGIT, checkdigits.luhn, "490154203237518"),
    System("luhn", "number", "any number with a Luhn digit, such as an ICCID (ISO/IEC 7812-1)",
           tuple(range(2, 41)), _DIGIT, checkdigits.luhn, "79927398713"),
    System("mod11-2", "number", "any number with an ISO/IEC 7064 MOD 11-2 character, such as an ISNI",
           tuple(range(2, 41)), _DIGIT, checkdigits.mod_11_2, "0000000218250097", places={-1: _DIGIT_OR_X}),
    System("mod37-36", "code", "any code with an ISO/IEC 7064 MOD 37,36 character",
           tuple(range(2, 41)), _ALPHANUMERIC, checkdigits.mod_37_36, "A12425GABC1234002M"),
)  # fmt: skip

SYSTEMS: dict[str, System] = {system.name: system for system in _TABLE}


def check(system: str, code: str) -> None:
    """Returns if `code` is a right code of the system named `system`; raises FormatError that says what was expected.

    A CodeError is about the code, a plain FormatError about the system's name.
    """
    rules = system_named(system)
    key = _key(rules, code)
    place = rules.check_place % len(key)
    found, promised = key[place], rules.check_character(key[:place] + key[place + 1 :])
    if found != promised:
        kind = "digit" if rules.alphabet is _DIGIT and promised in _DIGIT.characters else "character"
        raise CodeError(f"{_name(rules, key)} {code}: check {kind} {found}, expected {promised}", f"check {kind} {promised}")


def system_named(name: str) -> System:
    """Raises FormatError that lists the systems there are."""
    try:
        return SYSTEMS[name]
    except KeyError:
        near = difflib.get_close_matches(name.lower(), SYSTEMS, 1, 0.5)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise FormatError(f"there is no code system {name[:40]!r}; {meant}known are {', '.join(SYSTEMS)}") from None


def _key(system: System, code: str) -> str:
    """The part of `code` that the check character covers. Raises CodeError for a wrong character or length."""
    key, serial = code, ""
    if system.serial_most:
        key, serial = code[: system.lengths[0]], code[system.lengths[0] :]
    fits = len(key) in system.lengths
    if system.places or not system.alphabet.characters.issuperset(key):
        _check_characters(system, key, fits)
    if not fits:
        raise _wrong_length(system, key)
    _check_serial(system, serial)
    return key


def _check_characters(system: System, key: str, fits: bool) -> None:
    """Each place has its own alphabet; but if the length is wrong, what belongs where is a guess, and any of them will do."""
    every = frozenset().union(*(alphabet.characters for alphabet in (system.alphabet, *system.places.values())))
    for place, character in enumerate(key):
        alphabet = system.places.get(place) or system.places.get(place - len(key)) or system.alphabet
        if character not in (alphabet.characters if fits else every):
            raise CodeError(
                f"{_shown(key)} has {_shown(character)} at character {place + 1}; expected {alphabet.words}"
                + _slip(key, character, alphabet),
                f"{alphabet.words} at character {place + 1}",
            )


def _check_serial(system: System, serial: str) -> None:
    whose = f"the serial of the {system.noun}"
    if len(serial) > system.serial_most:
        most = f"at most {system.serial_most}"
        raise CodeError(f"{whose} has {len(serial)} characters; {most} may follow", f"{most} characters after the key")
    for place, character in enumerate(serial, system.lengths[0] + 1):
        if character not in _GS1_SERIAL:
            words = "a letter, a digit or GS1 punctuation"
            raise CodeError(f"{whose} has {_shown(character)} at character {place}; expected {words}", words)


def _wrong_length(system: System, key: str) -> CodeError:
    unit = "digit" if system.alphabet is _DIGIT and not system.places else "character"
    *others, last = map(str, system.lengths)
    listed = f"{', '.join(others)} or {last}" if others else last
    if len(others) > 3:
        listed = f"{others[0]} to {last}"
    has = f"{_shown(key)} has {len(key)} {unit}{'' if len(key) == 1 else 's'}" if key else "it is empty"
    text = f"{has}; {_article(system.noun)} {system.noun} has {listed}"
    longer = next((length for length in system.lengths if length > len(key)), None)
    if system.noun == "GTIN" and longer and len(key) >= 7 and system.check_character(key[:-1]) == key[-1]:
        text += f"; did you mean {key.zfill(longer)}, with the zeros in front that spreadsheets drop?"
    return CodeError(text, f"{listed} {unit}s")


def _name(system: System, key: str) -> str:
    return f"GTIN-{len(key)}" if system.noun == "GTIN" else system.noun


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeioAEIO" or noun == "SSCC" else "a"


def _slip(key: str, character: str, alphabet: Alphabet) -> str:
    """What probably went wrong, and how it is put right, where one character tells."""
    if character in ".," and "E+" in key.upper():
        return "; a spreadsheet shortened the number: format the column as text and export it again"
    if character in " \u00a0-":
        return "; leave spaces and hyphens out"
    if character in _SMALL_LETTERS and character.upper() in alphabet.characters:
        return "; write capital letters"
    if "\uff01" <= character <= "\uff5e":
        return "; it is a full-width character: switch the input method to half width"
    return ""


def _shown(text: str) -> str:
    text = text if len(text) <= 40 else text[:37] + "..."
    return repr(text) if text.isprintable() else ascii(text)
