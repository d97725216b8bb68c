"""What a recursive node remembers: verified records, negative answers, and servers that were silent. Bounded in octets.

Nothing enters that was not verified: `Held` wraps a `trust.Trusted`, which only verification makes. Three times bound its use.
Until its `deadline` (the least TTL of its values) it is *fresh*. From then on, for `limits.stale_seconds`, it may be served only if
no server answers, marked as *stale* (RFC 8767). When its signature, or one above it, expires, it is over, whatever its TTL says.

Who has seen a version of a record is not to be talked back to an older one: the serial of what is held is the least that will be
verified, and a negative answer that takes a record's place inherits it. Which identifier a hashed name stands for never changes, so
that is remembered without an end. When space runs out, what was used longest ago goes first.
Time is an argument everywhere, in seconds since 1970.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from resolver.core import limits
from resolver.core.identifier import Identifier
from resolver.core.limits import Limits
from resolver.core.record import DEFAULT_TTL_SECONDS, TYPE_ENVELOPE, Value, remaining_ttl
from resolver.core.trust import Trusted, signature_value
from resolver.core.wire.stored import ALL_PUBLIC
from resolver.core.wire.values import encode_value, encode_values

# What an entry takes in memory beyond its text: measured with tracemalloc (a test in tests/unit/test_held.py does it again).
_HELD_OCTETS, _VALUE_OCTETS, _REFERENCE_OCTETS = 1250, 230, 200
_NEGATIVE_OCTETS = 360
_OUTAGE_OCTETS = 260
_MEANT_OCTETS, _LETTER_OCTETS = 700, 8


class Held(NamedTuple):
    """A verified record in a cache, ready to be answered from (`message.AnsweringRecord`)."""

    trusted: Trusted
    encoded: bytes  # the covered values in wire form as received, and the deployed envelope if there is one
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    flags: int
    deadline: float  # fresh until then

    @property
    def key(self) -> bytes:
        return self.trusted.identifier.key

    @property
    def serial(self) -> int:
        return self.trusted.serial

    @property
    def expires(self) -> int:
        return self.trusted.expires

    @property
    def signature_octets(self) -> bytes:
        """The value 402 with the JWS as received. Made anew around it, since no signature covers that value's own fields."""
        return encode_value(signature_value(self.trusted.signature.data, self.trusted.issued, DEFAULT_TTL_SECONDS))

    @property
    def octets(self) -> int:
        """Memory that this entry takes: its text, which `trusted` holds a second time, and the objects around it."""
        text = len(self.key) + 2 * len(self.encoded) + len(self.trusted.signature.data)
        references = sum(len(value.references) for value in self.trusted.values)
        return text + _HELD_OCTETS + _VALUE_OCTETS * self.count + _REFERENCE_OCTETS * references


class Negative(NamedTuple):
    """There was no such identifier, said a server of the prefix `zone`. `serial` is the newest ever seen of it, 0 if none."""

    zone: str
    deadline: float
    serial: int = 0
    gone_since: int | None = None

    @property
    def octets(self) -> int:
        return _NEGATIVE_OCTETS


class Outage(NamedTuple):
    """A server, or all servers of a prefix, did not answer."""

    deadline: float

    @property
    def octets(self) -> int:
        return _OUTAGE_OCTETS


class Meant(NamedTuple):
    """The identifier that a hashed name (`owner.HashedName`) stands for. Its hash proves it, whoever said it."""

    identifier: Identifier

    @property
    def octets(self) -> int:
        return _MEANT_OCTETS + _LETTER_OCTETS * len(self.identifier.suffix)


def hold(trusted: Trusted, received: Iterable[Value], now: float, ttl_most: int = limits.record_ttl_seconds.default) -> Held:
    """`trusted` as a cache keeps it. `received` are the values that it was made from.

    Kept are the values that the signature covers, and the envelope that deployed verifiers check for themselves. Anything else
    that stood in the answer (private values, signatures of unknown kinds) is vouched for by nobody, and goes no further.
    """
    covered = {value.index for value in trusted.values}
    kept = [v for v in received if v.index in covered or (v.type == TYPE_ENVELOPE and v.is_public)]
    ttl = min((remaining_ttl(value, int(now)) for value in trusted.values), default=DEFAULT_TTL_SECONDS)
    deadline = min(now + min(ttl, ttl_most), trusted.expires)
    return Held(trusted, encode_values(kept), len(kept), ALL_PUBLIC if len(kept) == len(covered) else 0, deadline)


class RecordCache:
    """Records, delegations among them, negative answers, outages, and what hashed names stand for, all under one bound.

    Keys are canonical identifiers in UTF-8; outages are filed under names without a slash, which no identifier has.
    """

    def __init__(self, bounds: Limits | None = None) -> None:
        bounds = bounds or Limits()
        self.octets = 0
        self.octets_max = bounds[limits.record_cache_octets]
        self._negative_ttl = bounds[limits.negative_ttl_seconds]
        self._stale = bounds[limits.stale_seconds]
        self._outage = bounds[limits.outage_seconds]
        self._entries: OrderedDict[bytes, Held | Negative | Outage | Meant] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Held | Negative | None:
        """What is known of an identifier and fresh."""
        entry = self._entries.get(key)
        if not isinstance(entry, Held | Negative) or now >= entry.deadline:
            return None
        self._entries.move_to_end(key)
        return entry

    def kept(self, key: bytes, now: float) -> Held | None:
        """The record, fresh or stale, but never past its signature."""
        entry = self._entries.get(key)
        if not isinstance(entry, Held) or now >= entry.expires or now >= entry.deadline + self._stale:
            return None
        self._entries.move_to_end(key)
        return entry

    def serial(self, key: bytes) -> int:
        """The newest serial seen of an identifier, as long as that is remembered; else 0."""
        entry = self._entries.get(key)
        return entry.serial if isinstance(entry, Held | Negative) else 0

    def put(self, held: Held) -> None:
        """Keeps a record, unless a newer version of it is known."""
        if held.serial >= self.serial(held.key):
            self._keep(held.key, held)

    def put_negative(self, identifier: Identifier, zone: str, now: float, gone_since: int | None = None) -> None:
        """Remembers that a server of the prefix `zone` knows no such identifier."""
        self._keep(identifier.key, Negative(zone, now + self._negative_ttl, self.serial(identifier.key), gone_since))

    def put_outage(self, name: str, now: float) -> None:
        """Remembers that `name`, a server or a prefix with all its servers, did not answer."""
        self._keep(name.encode(), Outage(now + self._outage))

    def end_outage(self, name: str) -> None:
        """Forgets an outage: there was an answer."""
        self._drop(name.encode())

    def in_outage(self, name: str, now: float) -> bool:
        entry = self._entries.get(name.encode())
        return isinstance(entry, Outage) and now < entry.deadline

    def put_meant(self, asked: Identifier, identifier: Identifier) -> None:
        """Remembers that the hashed name `asked` stands for `identifier`, which the caller has compared with the hash."""
        self._keep(asked.key, Meant(identifier))

    def meant(self, asked: Identifier) -> Identifier:
        """The identifier that `asked` stands for, if it is a hashed name of which that is known; else `asked` itself."""
        entry = self._entries.get(asked.key)
        return entry.identifier if isinstance(entry, Meant) else asked

    def _keep(self, key: bytes, entry: Held | Negative | Outage | Meant) -> None:
        self._drop(key)
        if entry.octets > self.octets_max // 4:
            return
        self._entries[key] = entry
        self.octets += entry.octets
        while self.octets > self.octets_max:
            self.octets -= self._entries.popitem(last=False)[1].octets

    def _drop(self, key: bytes) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self.octets -= old.octets
