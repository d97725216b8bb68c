"""The record cache: what a verified record becomes in it, and how long it lasts."""

import tracemalloc
from hashlib import sha256

import pytest

from resolver.core import trust
from resolver.core.held import Held, Negative, RecordCache, hold
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.owner import HashedName
from resolver.core.record import TTL_ABSOLUTE, Reference, Value
from resolver.core.wire.stored import ALL_PUBLIC, encode_stored, read_stored
from resolver.core.wire.values import decode_values, encode_values
from tests.support.world import World

NOW = 1_800_000_000
NAME = Identifier.parse("88.118/ABC")


@pytest.fixture
def world() -> World:
    world = World(NOW)
    world.delegate("88")
    world.delegate("88.118")
    return world


def held(world: World, *values: Value, received: tuple[Value, ...] | None = None, now: float = NOW, **options: int) -> Held:
    """A record of `values`, verified and held as it came: by default as the world has it."""
    world.put(str(NAME), *values)
    whole = received or world.values(str(NAME))
    keys = trust.Keys("0.NA/88.118", trust.public_keys(world.values("0.NA/88.118"), "0.NA/88.118"), NOW + 10**9)
    return hold(trust.verify(NAME, whole, keys, int(now)), whole, now, **options)


def test_it_answers_as_the_stored_record_does(world: World) -> None:
    """A recursive node passes on the very octets that an authoritative one sends."""
    found = held(
        world, Value(1, "URL", b"https://example.org/"), Value(3, "NAME", "水杯".encode(), references=(Reference("88/x", 3),))
    )
    stored = read_stored(NAME.key, encode_stored(world.records[NAME.key]))
    for field in ("key", "count", "encoded", "flags", "serial", "expires", "signature_octets"):
        assert getattr(found, field) == getattr(stored, field), field


def test_what_no_signature_covers_goes_no_further(world: World) -> None:
    """But the deployed envelope does: deployed verifiers check it for themselves."""
    envelope = Value(400, "HS_SIGNATURE", b"eyJhbGciOiJSUzI1NiJ9.e30.x")
    world.put(str(NAME), Value(1, "URL", b"u"))
    true = world.values(str(NAME))
    strange = (Value(8, "SECRET", b"s", permissions=0x0C), Value(9, "HS_SIGNATURE.X", b"t"))
    moved = true[-1]._replace(index=77, ttl=5, permissions=0x0F, timestamp=1, references=(Reference("88/x", 1),))
    found = held(world, Value(1, "URL", b"u"), received=(*true[:-1], moved, envelope, *strange))
    assert decode_values(found.encoded) == (true[0], envelope)
    assert found.count == 2
    assert found.flags == 0, "the envelope is a signature, so the doors must look at each value"
    (signature,) = decode_values(found.signature_octets)
    assert signature == Value(402, "HS_SIGNATURE.ED25519", true[-1].data, timestamp=NOW)
    assert held(world, Value(1, "URL", b"u")).flags == ALL_PUBLIC


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((Value(1, "A", b"", ttl=500), Value(2, "B", b"", ttl=300)), 300),
        ((Value(1, "A", b"", ttl=NOW + 40, ttl_type=TTL_ABSOLUTE), Value(2, "B", b"")), 40),
        ((Value(1, "A", b"", ttl=NOW - 40, ttl_type=TTL_ABSOLUTE),), 0),
        ((Value(1, "A", b"", ttl=0),), 0),
        ((Value(1, "A", b"", ttl=0xFFFFFFFF),), 604_800),
        ((), 86_400),
    ],
)
def test_it_is_fresh_for_the_least_ttl(world: World, values: tuple[Value, ...], seconds: int) -> None:
    assert held(world, *values).deadline == NOW + seconds


def test_no_ttl_outlasts_the_signature(world: World) -> None:
    late = NOW + 30 * 86_400 - 10
    assert held(world, Value(1, "A", b""), now=late).deadline == late + 10


def test_fresh_then_stale_then_over(world: World) -> None:
    cache = RecordCache()
    cache.put(held(world, Value(1, "A", b"", ttl=100)))
    assert cache.get(NAME.key, NOW + 99.9) is not None
    assert cache.get(NAME.key, NOW + 100) is None
    assert cache.kept(NAME.key, NOW + 100) is not None
    assert cache.kept(NAME.key, NOW + 100 + 86_399) is not None
    assert cache.kept(NAME.key, NOW + 100 + 86_400) is None
    cache.put(held(world, Value(1, "A", b"", ttl=30 * 86_400), ttl_most=30 * 86_400))
    assert cache.kept(NAME.key, NOW + 30 * 86_400 - 1) is not None
    assert cache.kept(NAME.key, NOW + 30 * 86_400) is None, "the signature is over, and with it the time in which to be stale"


def test_an_older_version_does_not_take_the_place_of_a_newer_one(world: World) -> None:
    cache = RecordCache()
    old, new = held(world, Value(1, "A", b"old")), held(world, Value(1, "A", b"new"))
    cache.put(new)
    cache.put(old)
    assert cache.get(NAME.key, NOW) == new
    cache.put_negative(NAME, "88.118", NOW)
    assert cache.get(NAME.key, NOW) == Negative("88.118", NOW + 60, new.serial)
    cache.put(old)
    assert cache.serial(NAME.key) == new.serial
    cache.put(new)
    assert cache.get(NAME.key, NOW) == new


def test_negatives_and_outages_end() -> None:
    cache = RecordCache(Limits({"negative_ttl_seconds": 10, "outage_seconds": 3}))
    cache.put_negative(NAME, "88.118", NOW)
    assert isinstance(cache.get(NAME.key, NOW + 9.9), Negative)
    assert cache.get(NAME.key, NOW + 10) is None
    assert cache.kept(NAME.key, NOW) is None
    cache.put_outage("88.118", NOW)
    assert cache.in_outage("88.118", NOW + 2.9)
    assert not cache.in_outage("88.118", NOW + 3)
    cache.put_outage("88.118", NOW)
    cache.end_outage("88.118")
    assert not cache.in_outage("88.118", NOW)
    assert len(cache) == 1


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = RecordCache(Limits({"record_cache_octets": 65_536}))
    names = [Identifier.parse(f"88.118/{number}") for number in range(1000)]
    for name in names:
        cache.put_negative(name, "88.118", NOW)
        cache.get(names[0].key, NOW)
    assert cache.octets <= 65_536
    assert cache.get(names[0].key, NOW) is not None, "it was in use all the time"
    assert cache.get(names[1].key, NOW) is None
    assert cache.get(names[-1].key, NOW) is not None


def test_one_record_cannot_drive_out_all_others(world: World) -> None:
    cache = RecordCache(Limits({"record_cache_octets": 65_536}))
    cache.put_negative(Identifier.parse("88.118/OTHER"), "88.118", NOW)
    cache.put(held(world, Value(1, "A", bytes(50_000))))
    assert len(cache) == 1


@pytest.mark.parametrize("shape", ["record", "many values", "references", "negative", "outage", "meant", "short meant"])
def test_what_is_counted_is_what_is_taken(world: World, shape: str) -> None:
    """The bound is one of memory: what is counted is no less than what is taken, and not wildly more."""
    values = {
        "record": (Value(1, "URL", bytes(70)), Value(2, "NAME", bytes(30)), Value(3, "DESC", bytes(40))),
        "many values": tuple(Value(n, "URL", b"") for n in range(1, 60)),
        "references": (Value(1, "HS_VLIST", b"", references=tuple(Reference("8/x", n) for n in range(300))),),
    }.get(shape, ())
    cache = RecordCache()
    encoded, jws = encode_values(values), bytes(650)
    number = 100 if shape in ("many values", "references") else 500
    tracemalloc.start()
    try:
        for n in range(number):
            name = Identifier.decode(b"88.101.5/%013d" % n)
            if shape == "negative":
                cache.put_negative(name, f"88.101.{n}", NOW + n)
            elif shape == "outage":
                cache.put_outage(f"127.0.0.{n} udp 2641 tcp 2641", NOW + n)
            elif shape.endswith("meant"):
                suffix = b"%061d" % n if shape == "short meant" else "长".encode() * 240 + b"%03d" % n
                asked = HashedName("88.101.5", sha256(suffix).digest())
                long = Identifier.decode(b"88.101.5/" + suffix)
                assert asked.is_answered_by(long)
                cache.put_meant(asked, long)
            else:
                read = decode_values(encoded)
                signature = Value(402, "HS_SIGNATURE.ED25519", bytes(bytearray(jws)), timestamp=NOW + n)
                cache.put(hold(trust.Trusted(name, read, signature, f"302:0.NA/88.{n}", NOW + n, NOW + n, 2 * NOW), read, NOW + n))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(cache) == number
    assert taken <= cache.octets <= 2.5 * taken
