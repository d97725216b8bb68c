"""Check characters: the algorithms, each a pure function from the other characters of a code to the one they promise.

A check character is a sum over the others, each weighted by its place, taken modulo a small number. How the weights are chosen
decides which slips of the hand it catches. A *prime* modulus larger than every difference of two characters catches any single
wrong character and any two neighbours exchanged (USCC, ISO 7064 MOD 11-2); modulo 10 with weights 3 and 1 catches any single
wrong digit, but not the exchange of two neighbours that differ by 5 (GS1); Luhn misses only 09 for 90.

Every function takes a text that `codes` has already found to be made of the scheme's characters, in its length.
"""

DIGITS = "0123456789"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALPHANUMERIC = DIGITS + LETTERS
USCC_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"

_VALUE = {character: value for value, character in enumerate(ALPHANUMERIC)}
_USCC_VALUE = {character: value for value, character in enumerate(USCC_CHARACTERS)}

_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 9, 8, 7, 6, 5, 4, 3, 2)
_VIN_VALUE = {character: int(value) for character, value in zip(ALPHANUMERIC, "012345678912345678012345070923456789", strict=True)}


def gs1(body: str) -> str:
    """GS1 General Specifications, 7.9: from the right, weights 3, 1, 3, 1, …; up to the next ten."""
    digits = [*map(int, body)]
    return DIGITS[-(3 * sum(digits[::-2]) + sum(digits[-2::-2])) % 10]


def luhn(body: str) -> str:
    """ISO/IEC 7812-1, annex B: from the right, every second digit is doubled and its digits added; up to the next ten."""
    digits = [*map(int, body)]
    return DIGITS[-(sum(2 * d - 9 * (d > 4) for d in digits[::-2]) + sum(digits[-2::-2])) % 10]


def uscc(body: str) -> str:
    """GB 32100: weights 3^i modulo 31, over an alphabet of 31 characters."""
    return USCC_CHARACTERS[-sum(pow(3, place, 31) * _USCC_VALUE[character] for place, character in enumerate(body)) % 31]


def organisation(body: str) -> str:
    """GB 11714: eight weights modulo 11; a check value of 10 is written X."""
    return "0123456789X"[-sum(w * _VALUE[c] for w, c in zip(_ORGANISATION_WEIGHTS, body, strict=True)) % 11]


def container(body: str) -> str:
    """ISO 6346, annex A: letters count from 10 and skip 11, 22 and 33; weights 2^i, modulo 11; a check value of 10 is written 0."""
    values = (value + (value - 1) // 10 if (value := _VALUE[c]) >= 10 else value for c in body)
    return DIGITS[sum(value << place for place, value in enumerate(values)) % 11 % 10]


def vehicle(body: str) -> str:
    """ISO 3779 with GB 16735: `body` is the number without its ninth character; modulo 11; a check value of 10 is written X."""
    return "0123456789X"[sum(w * _VIN_VALUE[c] for w, c in zip(_VIN_WEIGHTS, body, strict=True)) % 11]


def ship(body: str) -> str:
    """IMO resolution A.1117(30): six digits times 7 to 2; the last digit of the sum."""
    return DIGITS[sum(weight * int(digit) for weight, digit in zip(range(7, 1, -1), body, strict=True)) % 10]


def mod_11_2(body: str) -> str:
    """ISO/IEC 7064 MOD 11-2, a pure system: each step doubles; a check value of 10 is written X."""
    product = 0
    for digit in body:
        product = (product + int(digit)) * 2 % 11
    return "0123456789X"[(12 - product) % 11]


def mod_37_36(body: str) -> str:
    """ISO/IEC 7064 MOD 37,36, a hybrid system: each step adds modulo 36, then doubles modulo 37."""
    product = 36
    for character in body:
        product = ((product + _VALUE[character]) % 36 or 36) * 2 % 37
    return ALPHANUMERIC[(37 - product) % 36]
