"""What a DNS name is, in the tree of zones below the apex.

Every homed prefix is a zone: `88.118` is `118.88.<apex>`. The root's zone is the apex itself, with `0.0` and `0.NA` as branches. A
prefix is kept by the prefix directly above it, so a child of a zone is one label further down: homed here too (a hosted prefix: a
zone of its own), or delegated away (a cut).

    88.118.8/ABC            _41_42_43.8.118.88.<apex>          an owner; its signatures are at _sig.<owner>
    the prefix 88.118       118.88.<apex>                      an apex, or a cut; its name server is _ns.118.88.<apex>
    0.NA/88.118             88_2e118.na.0.<apex>               an owner, at the node that keeps it

The last kind fits no single zone: `na.0` belongs to the root's zone, but each parent keeps the records of its own children. A node
answers those that it keeps with authority, as if `na.0.<apex>` were a zone that the parents hold together. For those kept elsewhere
DNS has no referral to give, as one may only lead downward: the node refuses, and says whom to ask.

`place` reads a node's own table. `seek` is for a recursive node, which has none: a generator that yields the identifier of which it
must know, takes the outcome, and returns the place; whoever drives it may wait in between.
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple

from resolver.core import limits
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, parent_prefix, prefix_record, scope
from resolver.core.message import Answer, Failed, NotFound, Outcome, Referral, Refused
from resolver.core.owner import NAME_SERVER_LABEL, SIGNATURE_LABEL, digest_of, identifier_of, name_of, zone_labels, zone_prefix
from resolver.core.wire.dns import ERROR_NOT_AUTHORITATIVE, ERROR_NOT_SUPPORTED, encode_name, labels_of
from resolver.core.wire.stored import GONE, read_stored
from resolver.table import Table, record_key

_ROOT_PREFIXES = (PREFIX_AUTHORITY, "0.0")
_PREFIX_RECORDS = [b"na", b"0"]
ROOT_BRANCHES = ([b"0"], [b"0", b"0"], _PREFIX_RECORDS)


class Zone(NamedTuple):
    """`prefix` is folded; `name` in wire form, lower case."""

    prefix: str
    name: bytes


class Owner(NamedTuple):
    """A record's name, or with `signature` the name of what signs it."""

    answer: Answer
    zone: Zone
    signature: bool


class Apex(NamedTuple):
    """A zone's own name. `above` is the zone that holds it as a child, if it is served here too. `delegation`: see `Zones.seek`."""

    zone: Zone
    above: Zone | None = None
    delegation: Answer | None = None


class NameServer(NamedTuple):
    """The name of a zone's server."""

    zone: Zone
    delegation: Answer | None = None


class Cut(NamedTuple):
    """A name at or below `zone`, which `above` delegates away."""

    zone: Zone
    above: Zone
    at_zone: bool
    delegation: Answer


class Empty(NamedTuple):
    """A name that holds nothing itself, but has names below it (RFC 8020 forbids to deny it)."""

    zone: Zone


class Absent(NamedTuple):
    """No such name in `zone`."""

    zone: Zone


class Elsewhere(NamedTuple):
    """A name that this node can tell nothing of. `code` is an extended DNS error."""

    why: str
    code: int = ERROR_NOT_AUTHORITATIVE


Place = Owner | Apex | NameServer | Cut | Empty | Absent | Elsewhere | Failed


class Zones:
    """The names below one apex. `labels` are always those below the apex, lower case, the lowest first; names are lower case."""

    def __init__(self, apex: Sequence[bytes]) -> None:
        self._apex_labels = list(apex)
        self.root = Zone(PREFIX_AUTHORITY, encode_name(apex))
        self._prefix_records = Zone(PREFIX_AUTHORITY, encode_name([*_PREFIX_RECORDS, *apex]))

    def zone(self, prefix: str) -> Zone:
        if prefix in _ROOT_PREFIXES:
            return self.root
        return Zone(prefix, encode_name(zone_labels(prefix) + self._apex_labels))

    def below(self, name: bytes) -> list[bytes] | None:
        """The labels of a name in wire form that lie below the apex; None if it is not below it."""
        labels = labels_of(name)
        cut = len(labels) - len(self._apex_labels)
        return labels[:cut] if cut >= 0 and labels[cut:] == self._apex_labels else None

    # ---- from a table

    def place(self, table: Table, labels: list[bytes]) -> Place:
        first, rest = (labels[0], labels[1:]) if labels else (b"", [])
        if first == NAME_SERVER_LABEL:
            prefix = _zone_at(rest)
            if prefix is not None and table.is_homed(prefix):
                return NameServer(self.zone(prefix))
        signature = first == SIGNATURE_LABEL
        identifier = _identifier(table, rest if signature else labels)
        if identifier is not None:
            answer = _record(table, identifier)
            if answer is not None:
                return Owner(answer, self._holding(scope(identifier), labels), signature)
            if identifier.is_prefix_record:
                return self._unkept(table, identifier, labels)
        return self._unowned(table, labels)

    def _unkept(self, table: Table, identifier: Identifier, labels: list[bytes]) -> Place:
        """The place of a prefix record that is not in the table: one that does not exist, or that others keep."""
        match table.find(identifier):
            case NotFound(prefix):
                return Absent(self._holding(prefix, labels))
            case Referral(prefix):
                why = f"the servers of {prefix} lead to it"
            case _:
                why = "it is not below a prefix homed here"
        return Elsewhere(f"{identifier} is kept by its parent prefix: {why}; DNS cannot refer there, Handle can")

    def _unowned(self, table: Table, labels: list[bytes]) -> Place:
        """The place of a name that is no owner's: the nearest prefix, from the name itself upward, that is homed or delegated."""
        itself = _zone_at(labels)
        match table.find_absent(_nearest_prefix(labels[1:]) if itself is None else itself):
            case NotFound(prefix) if prefix == itself:
                return Apex(self.zone(prefix), self._above(table, prefix))
            case NotFound(prefix):
                zone = self._holding(prefix, labels)
                below = zone_prefix(labels)
                is_empty = labels in ROOT_BRANCHES or (below is not None and table.has_prefixes_below(below))
                return Empty(zone) if is_empty else Absent(zone)
            case Referral(prefix, delegation):
                return Cut(self.zone(prefix), self.zone(parent_prefix(prefix)), prefix == itself, Answer(delegation))
            case _:
                return Elsewhere(Refused().reason)

    def _above(self, table: Table, prefix: str) -> Zone | None:
        if prefix == PREFIX_AUTHORITY:
            return None
        outcome = table.find_absent(parent_prefix(prefix))
        return self.zone(outcome.zone) if isinstance(outcome, NotFound) else None

    def _holding(self, prefix: str, labels: list[bytes]) -> Zone:
        """The zone that a name lies in: that of `prefix`, but for a prefix record, which lies outside of it."""
        above = zone_labels(prefix)
        if prefix not in _ROOT_PREFIXES and labels[-len(above) :] == above:
            return self.zone(prefix)
        return self._prefix_records if prefix not in _ROOT_PREFIXES and labels[-2:] == _PREFIX_RECORDS else self.root

    # ---- from afar

    def seek(self, labels: list[bytes]) -> Generator[Identifier, Outcome, Place]:
        """As `place`, for a node that asks others. Of a zone it gives the delegation that names its servers."""
        first, rest = (labels[0], labels[1:]) if labels else (b"", [])
        signature, server = first == SIGNATURE_LABEL, first == NAME_SERVER_LABEL
        owner = rest if signature else labels
        if owner[1:] == _PREFIX_RECORDS and digest_of(owner[0]) is not None:
            return Elsewhere("a prefix record whose label is a hash; ask for the zone of the prefix", ERROR_NOT_SUPPORTED)
        zone = self.root
        identifier = None if server or not owner else name_of(owner)
        if identifier is not None:
            outcome = yield identifier
            if isinstance(outcome, Answer):
                return Owner(outcome, self._holding(scope(identifier), labels), signature)
            if not isinstance(outcome, NotFound):
                return _not_told(outcome)
            zone = self._holding(outcome.zone, labels)
        if labels in ROOT_BRANCHES:
            return Empty(self.root)
        prefix = None if signature else _zone_at(rest if server else labels)
        if prefix is not None:
            outcome = yield prefix_record(prefix)
            if isinstance(outcome, Answer):
                return NameServer(self.zone(prefix), outcome) if server else Apex(self.zone(prefix), None, outcome)
            if not isinstance(outcome, NotFound):
                return _not_told(outcome)
            zone = self._holding(outcome.zone, labels)
        return Absent(zone)


# ---- names and prefixes


def _identifier(table: Table, labels: list[bytes]) -> Identifier | None:
    """The identifier that has this owner name; None if there is none, or its label is a hash that the table does not know."""
    digest = digest_of(labels[0]) if labels else None
    if digest is None:
        return identifier_of(labels) if labels else None
    prefix = zone_prefix(labels[1:])
    return None if prefix is None else table.unhashed(prefix, digest)


def _record(table: Table, identifier: Identifier) -> Answer | None:
    octets = table.get(record_key(identifier.key))
    return None if octets is None or octets[1] & GONE else Answer(read_stored(identifier.key, octets))


def _zone_at(labels: list[bytes]) -> str | None:
    """The prefix whose zone would begin at this name: `0.NA` for the apex, none for the branches of the root's zone."""
    if not labels:
        return PREFIX_AUTHORITY
    prefix = zone_prefix(labels) if labels not in ROOT_BRANCHES else None
    return prefix if prefix is not None and len(prefix) <= limits.prefix_octets.default else None


def _nearest_prefix(labels: list[bytes]) -> str:
    """The longest prefix that ends this name: `88.118` for `x_y.118.88`."""
    for start in range(max(0, len(labels) - limits.prefix_labels.default), len(labels)):
        prefix = zone_prefix(labels[start:])
        if prefix is not None:
            return prefix
    return PREFIX_AUTHORITY


def _not_told(outcome: Outcome) -> Place:
    """An outcome that says nothing about the name."""
    if isinstance(outcome, Failed):
        return outcome
    return Elsewhere(outcome.reason if isinstance(outcome, Refused) else Refused().reason)
