"""One commit's changes, planned in order: from orders and the state they meet to the lines of the log.

Plans are made one after another over an overlay of those before them, so that two changes of one identifier in one commit meet each
other as if each had its own. Nothing here reads or writes anything: `committer` brings the state, has the requests signed, and
appends the entries.
"""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from registry.assignment import name_taken, names_shared
from registry.database.truth import Entry, Reply, Version
from registry.registration import Actor, Plan, Rejected, State, Write, Written, delegation_key, plan, plan_trusted
from registry.signing import Request
from resolver.core import envelope, limits, trust
from resolver.core.identifier import scope
from resolver.core.limits import Limits
from resolver.core.record import Record, Value
from resolver.core.wire.stored import decode_stored, pack_stored
from resolver.core.wire.values import encode_values
from resolver.table import Homed

_DAY_SECONDS = 86_400
_TIME_MAX = 0xFFFFFFFF
_NO_SIGNATURE = bytes(64)


class Once(NamedTuple):
    """An Idempotency-Key, and the SHA-256 of the request that came with it."""

    key: str
    request: bytes


class Order(NamedTuple):
    """A change in the queue. `homes`: the same commit homes this prefix here first. `trusted`: the service itself asks for it."""

    actor: Actor
    write: Write | None
    once: Once | None = None
    homes: Homed | None = None
    trusted: bool = False


class Zone(NamedTuple):
    """How the records of a homed prefix are signed."""

    homed: Homed
    key_index: int
    key: str  # its name in the key directory
    issuer: str  # `iss` of its signatures
    rsa_key: str | None  # where the envelope is on


class Replay(NamedTuple):
    """The outcome of an earlier request with the same Idempotency-Key: a version of a record."""

    status: str
    key: bytes
    serial: int


class _Draft(NamedTuple):
    """A record that waits for its signatures."""

    order: Order
    status: str
    record: Record
    previous: int | None
    encoded: bytes
    signatures: int  # how many it waits for: 0 when gone, 2 with the envelope
    envelope_input: bytes
    outcome: int  # its place among the outcomes


class Batch:
    """The changes of one commit, planned in order. No input or output happens here."""

    def __init__(self, bounds: Limits, zones: dict[str, Zone], head: int, now: int, zone: Callable[[Homed], Zone]) -> None:
        self.zones = zones
        self.head = head
        self.found: dict[bytes, Version] = {}
        self.replies: dict[tuple[str, str], Reply] = {}
        self.new_replies: list[Reply] = []
        self.requests: list[Request] = []
        self.outcomes: list[Written | Replay] = []
        self._bounds = bounds
        self._now = now
        self._expires = min(now + bounds[limits.signature_days] * _DAY_SECONDS, _TIME_MAX)
        self._zone = zone
        self._overlay: dict[bytes, Record] = {}
        self._lines: list[_Draft | Entry] = []
        self._unsigned: list[tuple[int, int]] = []  # outcomes that show a record of this very commit: their places, its serial

    def keys(self, orders: Sequence[Order]) -> list[bytes]:
        """The keys whose state decides about these orders."""
        keys = set()
        for order in orders:
            if order.homes is not None:
                keys.add(order.homes.prefix.encode())
            if order.write is None:
                continue
            identifier = order.write.identifier
            keys.add(identifier.key)
            if order.write.action == "delegate":
                keys.update(name.key for name in names_shared(identifier.suffix))
            elif (delegation := delegation_key(identifier)) is not None:
                keys.add(delegation)
        return list(keys)

    def take_requests(self) -> list[Request]:
        """What is to be signed of the orders added since the last call."""
        requests, self.requests = self.requests, []
        return requests

    def add(self, order: Order) -> None:
        """Plans one order, after all that were added before."""
        if order.once is not None and self._replayed(order, order.once):
            return
        if order.write is None:
            self.outcomes.append(Written("created", None))
        elif not self._write(order, order.write):
            return
        if order.homes is not None:
            self._home(order, order.homes)

    def sealed(self, signatures: list[bytes]) -> list[Entry]:
        """The entries of the log, with `signatures` over `requests`. Fills in the outcomes."""
        entries, position = [], 0
        signed: dict[int, Record] = {}
        for line in self._lines:
            if isinstance(line, Entry):
                entries.append(line)
                continue
            order, status, draft, previous, encoded, count, envelope_input, outcome = line
            record = draft
            if count:
                values = draft.values
                if count == 2:
                    jws = envelope.token(envelope_input, signatures[position + 1])
                    values = _with(values, envelope.signature_value(jws, self._now))
                    encoded = encode_values(values)
                record = draft._replace(values=values, signature=signatures[position])
                position += count
            assert order.write is not None
            octets = pack_stored(record, encoded)
            key = record.identifier.key
            entries.append(Entry(record.serial, key, self._now, order.actor.name, order.write.action, previous, octets))
            self.outcomes[outcome] = Written(status, record)
            signed[record.serial] = record
        for place, serial in self._unsigned:
            self.outcomes[place] = Written("unchanged", signed[serial])
        return entries

    # ---- steps of planning

    def _write(self, order: Order, write: Write) -> bool:
        """Plans a change of a record. False if it was rejected."""
        identifier = write.identifier
        current = self._current(identifier.key)
        zone = self.zones.get(scope(identifier))
        enveloped = zone is not None and zone.rsa_key is not None
        if order.trusted:
            taken = self._taken(write) if current is None else None
            planned = taken or plan_trusted(write, State(current, enveloped=enveloped), self._now, self._bounds)
        else:
            delegation = delegation_key(identifier) if current is None else None
            delegated = delegation is not None and (delegation in self.found or delegation in self._overlay)
            planned = plan(write, order.actor, zone is not None, State(current, delegated, enveloped), self._now, self._bounds)
        if isinstance(planned, Rejected):
            self._conclude(order, Written("rejected", None, planned))
            return False
        if planned.status == "unchanged":
            if current is not None and identifier.key in self._overlay:
                self._unsigned.append((len(self.outcomes), current.serial))
            self._conclude(order, Written("unchanged", current))
        else:
            assert zone is not None, f"{identifier}: written by the service, but not homed"
            self._draft(order, planned, current, zone)
        return True

    def _home(self, order: Order, homed: Homed) -> None:
        key, octets = homed.prefix.encode(), homed.encode()
        old = self.found.get(key)
        if old is not None and old.record == octets:
            return
        self.head += 1
        self._lines.append(Entry(self.head, key, self._now, order.actor.name, "home", old.serial if old else None, octets))
        self.zones = self.zones | {homed.prefix: self._zone(homed)}

    def _taken(self, write: Write) -> Rejected | None:
        """Why a new delegation cannot be: an identifier has its DNS name."""
        for name in names_shared(write.identifier.suffix) if write.action == "delegate" else ():
            if name.key in self.found or name.key in self._overlay:
                return name_taken(write.identifier.suffix, name)
        return None

    def _current(self, key: bytes) -> Record | None:
        planned = self._overlay.get(key)
        if planned is not None:
            return planned
        version = self.found.get(key)
        return None if version is None else decode_stored(key, version.record)

    def _draft(self, order: Order, planned: Plan, current: Record | None, zone: Zone) -> None:
        assert order.write is not None
        identifier, now = order.write.identifier, self._now
        self.head = serial = self.head + 1
        gone = planned.status == "deleted"
        expires = now if gone else self._expires
        record = Record(identifier, planned.values, serial, now, now, expires, _NO_SIGNATURE, zone.key_index, gone)
        signatures, envelope_input = 0, b""
        if not gone:
            digests = trust.value_digests(planned.encoded)
            signed = trust.signing_input(identifier.canonical, zone.issuer, now, now, expires, serial, digests)
            self.requests.append((zone.key, signed))
            signatures = 1
            if zone.rsa_key is not None:
                envelope_input = envelope.record_input(identifier, now, expires, serial, digests)
                self.requests.append((zone.rsa_key, envelope_input))
                signatures = 2
        self._overlay[identifier.key] = record
        previous = current.serial if current is not None else None
        place = len(self.outcomes)
        self._lines.append(_Draft(order, planned.status, record, previous, planned.encoded, signatures, envelope_input, place))
        self._conclude(order, Written(planned.status, record))

    # ---- Idempotency-Key

    def _replayed(self, order: Order, once: Once) -> bool:
        reply = self.replies.get((order.actor.name, once.key))
        if reply is None:
            return False
        if reply.request != once.request:
            text = "this Idempotency-Key came with another request before; use a new one for each request"
            self.outcomes.append(Written("rejected", None, Rejected("idempotency-key-reused", text, 422, "Idempotency-Key")))
            return True
        status, serial, problem = json.loads(reply.document)
        if problem is not None:
            self.outcomes.append(Written(status, None, Rejected(*problem)))
        else:
            assert order.write is not None
            self.outcomes.append(Replay(status, order.write.identifier.key, serial))
        return True

    def _conclude(self, order: Order, written: Written) -> None:
        self.outcomes.append(written)
        if order.once is not None:
            document = json.dumps([written.status, written.record.serial if written.record else 0, written.problem]).encode()
            expires = self._now + self._bounds[limits.idempotency_seconds]
            reply = Reply(order.actor.name, order.once.key, order.once.request, document, expires)
            self.replies[reply.actor, reply.key] = reply
            self.new_replies.append(reply)


def _with(values: tuple[Value, ...], value: Value) -> tuple[Value, ...]:
    return tuple(sorted((*values, value), key=lambda each: each.index))
