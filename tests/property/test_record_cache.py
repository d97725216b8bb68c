"""The record cache against a model that forgets nothing, and the way down against the rule that it follows."""

from hashlib import sha256
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resolver.core.errors import ReferralError
from resolver.core.held import Held, Negative, RecordCache, hold
from resolver.core.identifier import Identifier, parent_prefix, prefix_record, scope, signer
from resolver.core.limits import Limits
from resolver.core.owner import HashedName
from resolver.core.record import Value
from resolver.core.referral import check_referral, way
from resolver.core.trust import Trusted

NAMES = [Identifier.parse(f"88.118/{number}") for number in range(12)]
NOW = 1_800_000_000
names = st.sampled_from(NAMES)


def held(name: Identifier, serial: int, ttl: int, lasts: int, data_octets: int, now: float) -> Held:
    values = (Value(1, "URL", bytes(data_octets), ttl=ttl),)
    signature = Value(402, "HS_SIGNATURE.ED25519", b"x" * 600)
    return hold(Trusted(name, values, signature, "302:0.NA/88.118", serial, NOW, int(now) + lasts), values, now)


class CacheAgainstModel(RuleBasedStateMachine):
    """The cache may forget (its bound is small); what it does tell must be what the model says, and must still hold."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = RecordCache(Limits({"record_cache_octets": 65_536, "stale_seconds": 100, "negative_ttl_seconds": 30}))
        self.now = float(NOW)
        self.model: dict[bytes, Held | Negative] = {}
        self.newest: dict[bytes, int] = {}

    @rule(name=names, serial=st.integers(1, 9), ttl=st.integers(0, 200), lasts=st.integers(0, 300), octets=st.integers(0, 12_000))
    def put(self, name: Identifier, serial: int, ttl: int, lasts: int, octets: int) -> None:
        entry = held(name, serial, ttl, lasts, octets, self.now)
        if serial >= self.cache.serial(name.key):
            self.model[name.key] = entry
        self.cache.put(entry)

    @rule(name=names)
    def put_negative(self, name: Identifier) -> None:
        self.model[name.key] = Negative("88.118", self.now + 30, self.cache.serial(name.key))
        self.cache.put_negative(name, "88.118", self.now)

    @rule(name=names)
    def put_outage(self, name: Identifier) -> None:
        self.cache.put_outage(name.suffix, self.now)
        assert self.cache.in_outage(name.suffix, self.now)

    @rule(name=names)
    def put_meant(self, name: Identifier) -> None:
        asked = HashedName(name.prefix, sha256(name.suffix.encode()).digest())
        assert self.cache.meant(asked) in (asked, name)
        self.cache.put_meant(asked, name)
        assert self.cache.meant(asked) == name
        assert self.cache.get(asked.key, self.now) is None, "what it stands for is to be looked up"
        assert self.cache.kept(asked.key, self.now) is None
        assert self.cache.meant(name) == name

    @rule(seconds=st.integers(1, 80))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(name=names)
    def look(self, name: Identifier) -> None:
        entry = self.cache.get(name.key, self.now)
        if entry is not None:
            assert entry == self.model[name.key]
            assert self.now < entry.deadline
            assert isinstance(entry, Negative) or self.now < entry.expires
        kept = self.cache.kept(name.key, self.now)
        if kept is not None:
            assert kept == self.model[name.key]
            assert self.now < kept.expires
            assert self.now < kept.deadline + 100
        if isinstance(entry, Held):
            assert kept == entry, "what is fresh is kept"

    @invariant()
    def it_stays_within_its_bound(self) -> None:
        entries = self.cache._entries.values()
        assert self.cache.octets == sum(entry.octets for entry in entries) <= self.cache.octets_max


TestCacheAgainstModel = CacheAgainstModel.TestCase
TestCacheAgainstModel.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)

labels = st.lists(st.sampled_from(["88", "118", "8", "a", "NA", "0"]), min_size=1, max_size=6)
prefixes = labels.map(".".join).filter(lambda prefix: prefix not in ("0", "NA"))
hashed_names = prefixes.filter(lambda prefix: prefix.upper() != "0.NA").map(lambda prefix: HashedName(prefix, bytes(32)))
identifiers = st.one_of(prefixes.map(prefix_record), prefixes.map(lambda prefix: Identifier(prefix, "x")), hashed_names)


@settings(max_examples=300, deadline=None)
@given(identifiers)
def test_each_record_of_the_way_is_signed_by_the_one_above_and_known_to_its_servers(identifier: Identifier) -> None:
    path = way(identifier)
    assert path[-1] == identifier
    assert path[0].canonical == "0.0/0.0"
    for above, below in pairwise(path):
        assert signer(below) == above
        if above.canonical != "0.0/0.0":
            assert above == prefix_record(scope(below)), "the record with the key is the one that names the servers"


@settings(max_examples=500, deadline=None)
@given(identifiers, st.integers(0, 7), st.one_of(st.integers(0, 7), identifiers))
def test_a_referral_is_taken_only_straight_down(identifier: Identifier, asked: int, to: int | Identifier) -> None:
    """Model: the delegation must be of a prefix at or above the one asked for, one label below the zone of who refers."""
    path = way(identifier)
    asked = min(asked, len(path) - 1)
    referred = path[min(to, len(path) - 1)] if isinstance(to, int) else to
    name = path[asked]
    straight = referred == name or (
        referred.is_prefix_record
        and name.is_prefix_record
        and referred.suffix.upper() == name.suffix.upper()
        and parent_prefix(referred.suffix) == scope(name)
    )
    try:
        check_referral(path, asked, referred)
        taken = True
    except ReferralError:
        taken = False
    assert taken == straight
