"""Answers as a stranger may send them: whatever the octets, they are read or refused, and nothing untrue is ever verified.

What may change in a signed answer without the signature noticing is named here, octet by octet: how the message travels (version,
session, sequence, flags, site serial, recursion count, expiration), the order of the values, when each was written (its timestamp),
and the fields of the signature value around its token. None of it is what a record says; only the timestamps are ever passed on.
"""

import random
from itertools import permutations

import pytest

from resolver.core import trust
from resolver.core.errors import FormatError, SignatureError
from resolver.core.exchange import Exchange, Told
from resolver.core.identifier import Identifier
from resolver.core.record import Reference, Value
from resolver.core.trust import Trusted
from resolver.core.wire.bodies import (
    ReferralResponse,
    ResolutionResponse,
    encode_error,
    encode_referral,
    encode_resolution_response,
)
from resolver.core.wire.fragments import fragment
from resolver.core.wire.handle import AUTHORITATIVE, REQUEST_DIGEST, Message, Op, encode_message, request_digest
from tests.support.world import World

NOW = 1_800_000_000
NAME = Identifier.parse("88.118/ABC")
WORLD = World(NOW)
for prefix in ("88", "88.118"):
    WORLD.delegate(prefix)
WORLD.put(
    str(NAME), Value(1, "URL", b"https://example.org/ABC"), Value(2, "NAME", "水杯".encode(), references=(Reference("88/x", 1),))
)
VALUES = WORLD.values(str(NAME))
KEYS = trust.Keys("0.NA/88.118", trust.public_keys(WORLD.values("0.NA/88.118"), "0.NA/88.118"), 2**40)
EXCHANGE = Exchange(NAME, 0x01020304, NOW)


def response(body: bytes, code: int = 1, flags: int = AUTHORITATIVE | REQUEST_DIGEST) -> bytes:
    body = request_digest((2, 11), EXCHANGE.request) + body
    return encode_message(Message(Op.RESOLUTION, body, code, flags, 0x01020304, expires=NOW + 43_200))


SIGNED = response(encode_resolution_response(ResolutionResponse(NAME.key, VALUES)))
OTHERS = (
    response(encode_referral(ReferralResponse(b"0.NA/88.118", WORLD.values("0.NA/88.118"))), 303),
    response(encode_error("there is no such identifier"), 100),
    response(encode_error("this prefix is not homed here"), 301),
    response(b"", 200),
)


def told(octets: bytes) -> Told | None:
    """What is read from a whole message; None when it is refused, which only ever happens as FormatError."""
    try:
        return EXCHANGE.take_message(octets, NOW)
    except FormatError:
        return None


def verified(said: Told | None) -> Trusted | None:
    """What is believed of it, as the walk does; None when it is refused, which only ever happens as SignatureError."""
    if said is None or said.code != 1 or said.name != NAME:
        return None
    try:
        return trust.verify(NAME, said.values, KEYS, NOW)
    except SignatureError:
        return None


def meaning(trusted: Trusted | None) -> set[Value]:
    assert trusted is not None
    return {value._replace(timestamp=0) for value in trusted.values}


TRUE = meaning(verified(told(SIGNED)))


def free_octets() -> set[int]:
    """Positions in SIGNED whose octet no signature covers, and which may change without the answer being refused."""
    free = set(range(8)) | set(range(12, 16))  # versions and flags of the envelope, session, sequence
    free |= set(range(28, 32)) | {32, 33, 34, 35} | set(range(36, 40))  # flags, serial, recursion, reserved, expiration
    at = SIGNED.index(NAME.key) + len(NAME.key) + 4
    for value in VALUES:
        free |= set(range(at + 4, at + 8))  # timestamp
        if value.type == "HS_SIGNATURE.ED25519":
            free |= set(range(at, at + 14))  # index, TTL type, TTL, permissions
        size = 4 + 4 + 1 + 4 + 1 + 4 + len(value.type) + 4 + len(value.data) + 4
        at += size + sum(8 + len(reference.identifier) for reference in value.references)
    return free | set(range(len(SIGNED) - 4, len(SIGNED)))  # the credential's length: none, or one that cannot be


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_every_octet_of_a_signed_answer_counts_or_is_free_by_name(mask: int) -> None:
    free = free_octets()
    survived = set()
    for position in range(len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[position] ^= mask
        trusted = verified(told(bytes(changed)))
        if trusted is not None:
            assert meaning(trusted) == TRUE, f"octet {position} changed what was verified"
            survived.add(position)
    assert survived <= free, f"octets {sorted(survived - free)} changed and nobody noticed"
    assert survived, "some are free, or this test tests nothing"


def test_the_order_of_values_is_free() -> None:
    for values in permutations(VALUES):
        octets = response(encode_resolution_response(ResolutionResponse(NAME.key, values)))
        assert meaning(verified(told(octets))) == TRUE


def mutated(dice: random.Random, octets: bytes) -> bytes:
    """`octets` with one to four changes of the kinds that break decoders."""
    changed = bytearray(octets)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(changed)) if changed else 0
        match dice.randrange(7):
            case 0 if changed:
                changed[at] = dice.randrange(256)
            case 1 if changed:
                changed[at] ^= 1 << dice.randrange(8)
            case 2:
                del changed[at : at + dice.randint(1, 8)]
            case 3:
                changed[at:at] = dice.randbytes(dice.randint(1, 8))
            case 4:
                changed[at : at + 4] = dice.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\0\1\0\0")
                )
            case 5:
                del changed[at:]
            case _:
                source = dice.choice((SIGNED, *OTHERS))
                start = dice.randrange(len(source))
                changed[at : at + 40] = source[start : start + 40]
    return bytes(changed)


def with_true_length(octets: bytes) -> bytes:
    """So that a mutation gets past the envelope more often."""
    return octets[:16] + max(0, len(octets) - 20).to_bytes(4, "big") + octets[20:]


def test_mutated_answers_are_read_or_refused_and_never_verified_as_something_else() -> None:
    dice = random.Random(2641)
    read = believed = 0
    for number in range(24_000):
        octets = mutated(dice, dice.choice((SIGNED, SIGNED, *OTHERS)))
        said = told(with_true_length(octets) if number % 4 else octets)
        trusted = verified(said)
        read += said is not None
        believed += trusted is not None
        if trusted is not None:
            assert meaning(trusted) == TRUE
    assert read > 1000, "mutations that get through the decoder reach what is behind it"
    assert believed > 10


def test_mutated_datagrams_are_read_refused_or_passed_over() -> None:
    dice = random.Random(3652)
    read = 0
    for _ in range(5000):
        exchange = Exchange(NAME, 0x01020304, NOW)
        datagrams = list(fragment(dice.choice((SIGNED, *OTHERS))))
        for _ in range(dice.randint(0, 2)):
            datagrams.insert(dice.randrange(len(datagrams) + 1), mutated(dice, dice.choice(datagrams)))
        if dice.random() < 0.5:
            dice.shuffle(datagrams)
        for datagram in datagrams:
            try:
                said = exchange.take_datagram(datagram, NOW)
            except FormatError:
                continue
            if said is not None:
                read += 1
                trusted = verified(said)
                assert trusted is None or meaning(trusted) == TRUE
                break
    assert read > 2500, "noise seldom keeps the answer away"
