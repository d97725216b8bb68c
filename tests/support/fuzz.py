"""Broken octets made from good ones, and what a function costs in calls: the same on every machine."""

import sys
from collections.abc import Callable, Sequence
from random import Random
from types import FrameType
from typing import Any

_LENGTHS = (0, 1, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFF, 0x100001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(random: Random, good: Sequence[bytes]) -> bytes:
    """One of `good` with one to four things wrong: flipped, cut, doubled, spliced, or a length that lies."""
    octets = bytearray(random.choice(good))
    for _ in range(random.choice((1, 1, 2, 4))):
        kind, at = random.randrange(8), random.randrange(len(octets) + 1)
        if kind == 0:
            del octets[at:]
        elif kind == 1:
            del octets[at : at + random.randrange(1, 9)]
        elif kind == 2:
            octets[at:at] = random.randbytes(random.randrange(1, 9))
        elif kind == 3:
            octets[at:at] = octets[at : at + random.randrange(1, 64)]
        elif kind == 4:
            octets[at : at + 4] = random.choice(_LENGTHS).to_bytes(4, "big")
        elif kind == 5:
            other = random.choice(good)
            octets[at:] = other[random.randrange(len(other) + 1) :]
        elif at < len(octets):
            octets[at] = random.randrange(256) if kind == 6 else octets[at] ^ 1 << random.randrange(8)
    return bytes(octets)


def calls_of(function: Callable[..., Any], *arguments: Any) -> int:
    """How many functions, of Python and of C, one call of `function` calls."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return count
