"""Registration: may this actor write this, and what becomes of the record.

Decisions are pure: a `Write`, who asks for it and the `State` that it meets go in; a `Plan` or a `Rejected` comes out. The rules:

* An operator writes under every prefix homed here, a registrant under its own prefixes and below. Prefix records are written by
  delegation and by nothing else.
* An identifier that was deleted is gone: it keeps its history and is never given away again.
* 88/118 and the prefix 88.118 would share one DNS name, so where the one exists the other is refused.
* Keys, certificates and signatures are made by the service: their indexes and types are not for clients.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import error as struct_error
from typing import NamedTuple

from resolver.core import limits
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, fold_prefix, scope
from resolver.core.limits import Limits
from resolver.core.record import (
    INDEX_CERTIFICATE,
    INDEX_ENVELOPE,
    INDEX_KEY,
    INDEX_NEXT_KEY,
    INDEX_PUBKEY,
    INDEX_SIGNATURE,
    TTL_ABSOLUTE,
    TTL_RELATIVE,
    TYPE_CERTIFICATE,
    TYPE_ENVELOPE,
    TYPE_KEY,
    Record,
    Value,
)
from resolver.core.wire.values import encode_value

OPERATOR, REGISTRANT = "operator", "registrant"
CLIENT_ACTIONS = frozenset(("register", "replace", "patch", "delete"))
RESERVED_INDEXES = frozenset((INDEX_PUBKEY, 301, INDEX_KEY, INDEX_NEXT_KEY, INDEX_ENVELOPE, INDEX_CERTIFICATE, INDEX_SIGNATURE))
TYPE_PUBKEY = "HS_PUBKEY"
_TYPE_CHARACTERS_MAX = 255
_INDEX_MAX = 0x7FFFFFFF
_SIGNATURE_OCTETS, _DIGEST_OCTETS = 4096, 104  # of a signature value in an answer, with its message, and each digest in it
_LABEL_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")


class Actor(NamedTuple):
    """Who writes. An operator may write everywhere, a registrant only at or below its prefixes (folded)."""

    name: str
    role: str  # OPERATOR or REGISTRANT
    prefixes: tuple[str, ...] = ()


class Write(NamedTuple):
    """One change that is asked for. Values come without timestamps; the service stamps what is new or changed.

    register  makes the record; an identical one (timestamps apart) is "unchanged", a different one is rejected as "exists"
    replace   puts these values in place of all values, and makes the record if there is none
    patch     puts each value in place of the one with its index, or adds it; takes the indexes in `remove` away
    delete    marks the identifier as gone, for good
    """

    action: str
    identifier: Identifier
    values: tuple[Value, ...] = ()
    remove: tuple[int, ...] = ()
    if_match: int | None = None  # the serial that the record must have now


class State(NamedTuple):
    """What a write meets."""

    current: Record | None  # the newest version of its identifier
    delegated: bool = False  # its suffix is the label of a delegated prefix
    enveloped: bool = False  # its records carry the RS256 envelope


class Plan(NamedTuple):
    """What becomes of the record. `values` ascend by index and leave the envelope's signature out; `encoded` is their wire form."""

    status: str  # "created", "replaced", "unchanged" or "deleted"
    values: tuple[Value, ...] = ()
    encoded: bytes = b""


class Rejected(NamedTuple):
    """Why a change was not made: a word for programs, a sentence for people, the HTTP status, and the place of the fault."""

    code: str
    text: str
    http_status: int
    place: str = ""


class Written(NamedTuple):
    """What became of one change. `record` is the record as it now stands, or None where it was rejected."""

    status: str  # "created", "replaced", "unchanged", "deleted" or "rejected"
    record: Record | None
    problem: Rejected | None = None


UNCHANGED, DELETED = Plan("unchanged"), Plan("deleted")


def plan(write: Write, actor: Actor, homed: bool, state: State, now: int, bounds: Limits) -> Plan | Rejected:
    """What becomes of `write`. `homed`: its prefix is homed here; `now` stamps what changes, in seconds since 1970."""
    return _refused(write, actor, homed) or plan_trusted(write, state, now, bounds, _value_fault(write))


def plan_trusted(write: Write, state: State, now: int, bounds: Limits, fault: Rejected | None = None) -> Plan | Rejected:
    """As `plan`, of a write that the service itself asks for, by whichever action."""
    current, name = state.current, write.identifier
    if current is not None and current.gone:
        return Rejected("gone", f"{name} was deleted with serial {current.serial} and is not given away again", 410)
    if write.if_match is not None and (current.serial if current else 0) != write.if_match:
        found = f"has serial {current.serial}" if current else "does not exist"
        return Rejected("stale", f"{name} {found}; the change was meant for serial {write.if_match}", 412)
    if current is None and write.action in ("patch", "delete"):
        return Rejected("not-found", f"there is no {name}", 404)
    if fault is not None:
        return fault
    if write.action == "delete":
        return DELETED
    if current is None and state.delegated:
        return Rejected(
            "name-taken",
            f"the prefix {name.prefix}.{name.suffix} is delegated, and {name} would have the same DNS name",
            409,
        )
    return _plan_values(write, state, now, bounds)


def delegation_key(identifier: Identifier) -> bytes | None:
    """The key of the prefix record that would share the DNS name of `identifier`, None if none can."""
    suffix = identifier.suffix
    if len(suffix) > limits.prefix_label_octets.default or not _LABEL_CHARACTERS.issuperset(suffix):
        return None
    return f"{PREFIX_AUTHORITY}/{fold_prefix(identifier.prefix)}.{suffix.upper()}".encode()


def covers(actor: Actor, prefix: str) -> bool:
    """Whether `actor` may write under the folded `prefix`."""
    return actor.role == OPERATOR or any(prefix == own or prefix.startswith(own + ".") for own in actor.prefixes)


def without_envelope(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """`values` without the envelope's signature, which the service makes anew with every version."""
    return (
        tuple(value for value in values if value.type != TYPE_ENVELOPE) if values and values[-1].index >= INDEX_ENVELOPE else values
    )


def is_made_here(type_: str) -> bool:
    """Whether values of this type are keys, certificates or signatures, which no client may write."""
    type_ = type_.upper()
    return type_ == TYPE_KEY or (type_.startswith("HS_") and type_.startswith((TYPE_CERTIFICATE, TYPE_PUBKEY, TYPE_ENVELOPE)))


# ---- the rules, one after another


def _refused(write: Write, actor: Actor, homed: bool) -> Rejected | None:
    prefix = fold_prefix(write.identifier.prefix)
    if not covers(actor, prefix):
        return Rejected(
            "forbidden", f"{actor.name} may write under {', '.join(actor.prefixes) or 'no prefix'} only, not {prefix}", 403
        )
    if prefix == PREFIX_AUTHORITY or (prefix == "0.0" and write.identifier.suffix == "0.0"):
        return Rejected("forbidden", f"{write.identifier} is a prefix record: it is written by delegating the prefix", 403)
    if not homed:
        return Rejected("not-homed", f"{scope(write.identifier)} is not homed at this registry", 422)
    return None


def _value_fault(write: Write) -> Rejected | None:
    """The first value that a client may not ask for."""
    seen = set()
    for number, value in enumerate(write.values):
        index, type_ = value.index, value.type
        if not 1 <= index <= _INDEX_MAX:
            return _fault(number, "index", f"an index is from 1 to {_INDEX_MAX}, not {index}")
        if index in RESERVED_INDEXES:
            return _fault(number, "index", f"index {index} is kept for keys, certificates and signatures, which the registry makes")
        if index in seen:
            return _fault(number, "index", f"index {index} stands twice")
        seen.add(index)
        if (wrong := _type_fault(type_)) is not None:
            return _fault(number, "type", wrong)
        if not 0 <= value.ttl <= 0xFFFFFFFF or value.ttl_type not in (TTL_RELATIVE, TTL_ABSOLUTE):
            return _fault(number, "ttl", "a TTL is a number of seconds from 0 to 4294967295")
        if not 0 <= value.permissions <= 0x0F:
            return _fault(number, "permissions", "there are four permissions")
    for number, index in enumerate(write.remove):
        if index in RESERVED_INDEXES or index in seen:
            why = "is kept for the registry's own values" if index in RESERVED_INDEXES else "is also among the values"
            return Rejected("invalid-value", f"index {index} {why}", 422, f"remove[{number}]")
    return None


@lru_cache(maxsize=1024)
def _type_fault(type_: str) -> str | None:
    if not 0 < len(type_) <= _TYPE_CHARACTERS_MAX or not type_.isprintable():
        return f"a type is 1 to {_TYPE_CHARACTERS_MAX} printable characters"
    return f"values of type {type_} are made by the registry" if is_made_here(type_) else None


def _fault(number: int, field: str, text: str) -> Rejected:
    return Rejected("invalid-value", text, 422, f"values[{number}].{field}")


def _plan_values(write: Write, state: State, now: int, bounds: Limits) -> Plan | Rejected:
    current = state.current
    if current is None:
        values: Sequence[Value] = sorted([_stamped(value, now) for value in write.values], key=_index)
    else:
        kept = {value.index: value for value in without_envelope(current.values)}
        values = _merged(write, kept, now)
        if values == list(kept.values()) and write.action != "resign":
            return UNCHANGED
        if write.action == "register":
            return Rejected("exists", f"{write.identifier} exists with other values (serial {current.serial})", 409)
    if not values:
        return Rejected("invalid-value", "a record needs at least one value", 422, "values")
    if len(values) > bounds[limits.record_values]:
        most = bounds[limits.record_values]
        return Rejected("too-large", f"{len(values)} values; a record has at most {most} (record_values)", 413, "values")
    try:
        encoded = b"".join([encode_value(value) for value in values])
    except (UnicodeEncodeError, struct_error) as error:
        return Rejected("invalid-value", f"a value cannot be encoded: {error}", 422, "values")
    if len(encoded) > bounds[limits.record_octets]:
        most = bounds[limits.record_octets]
        return Rejected("too-large", f"{len(encoded)} octets; a record has at most {most} (record_octets)", 413, "values")
    answer = len(encoded) + (_SIGNATURE_OCTETS + _DIGEST_OCTETS * len(values)) * (2 if state.enveloped else 1)
    if answer > limits.handle_message_octets.default:
        most = limits.handle_message_octets.default
        return Rejected("too-large", f"with its signature {answer} octets; an answer has at most {most}", 413, "values")
    return Plan("created" if current is None else "replaced", tuple(values), encoded)


def _merged(write: Write, kept: dict[int, Value], now: int) -> list[Value]:
    """The values after `write`: what does not change keeps its timestamp."""
    merged = dict(kept) if write.action in ("patch", "resign") else {}
    for index in write.remove:
        merged.pop(index, None)
    for value in write.values:
        old = kept.get(value.index)
        merged[value.index] = old if old is not None and _same(old, value) else _stamped(value, now)
    return sorted(merged.values(), key=_index)


def _same(one: Value, other: Value) -> bool:
    """Whether two values are equal but for their timestamps."""
    return one[:5] == other[:5] and one[6:] == other[6:]


def _stamped(value: Value, now: int) -> Value:
    index, type_, data, ttl, ttl_type, _, permissions, references = value
    return Value(index, type_, data, ttl, ttl_type, now, permissions, references)


def _index(value: Value) -> int:
    return value.index
