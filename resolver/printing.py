"""Outcomes, records and chains as lines for a terminal, and as one JSON document for programs."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from resolver.core.errors import FormatError, SignatureError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, Identifier, fold_prefix
from resolver.core.message import Answer, AnsweringRecord, Failed, NotFound, Outcome, Referral, Refused
from resolver.core.record import TTL_ABSOLUTE, TYPE_SITE, TYPE_SITE_PREFIX, Value, selected
from resolver.core.trust import Trusted
from resolver.core.walk import Resolution
from resolver.core.wire.json import iso_time, value_to_json
from resolver.core.wire.site import PROTOCOL_HTTP, PROTOCOL_HTTPS, PROTOCOL_TCP, PROTOCOL_UDP, Server, decode_site
from resolver.core.wire.values import decode_values

_DATA_CHARACTERS = 100


def outcome_lines(asked: Identifier, outcome: Outcome) -> Iterator[str]:
    """What a node says of `asked`, before anybody verified it."""
    match outcome:
        case Answer(record):
            yield f"{record.key.decode()}: {record.count} value(s), serial {record.serial}, signature ends {day(record.expires)}"
            yield from value_lines(record_values(record))
        case Referral(prefix, delegation):
            yield f"referral: {prefix} is delegated; the prefix record names its servers"
            yield from value_lines(record_values(delegation))
        case NotFound(zone, gone_since):
            yield "no such identifier: " + _absence(asked, zone, gone_since)
        case Refused(reason):
            yield f"refused: {reason}"
        case Failed(error):
            yield f"not resolved: {error}"


def resolution_lines(
    asked: Identifier, found: Resolution, indexes: tuple[int, ...], types: tuple[str, ...], trace: bool
) -> Iterator[str]:
    """What was found, and whether it may be believed; with `trace`, how it was found."""
    if trace:
        for step in found.steps:
            yield f"  {step.server:28} {step.milliseconds:7.2f} ms  {step.asked}  ->  {step.said}"
    outcome = found.outcome
    if isinstance(outcome, Answer) and found.verdict.verified:
        yield f"{asked}" + ("  (stale: no server answers; past its TTL, within its signature)" if outcome.stale else "")
        yield from value_lines(selected(found.chain[0].values, indexes, types)) or ("  no value of this type or index",)
    elif isinstance(outcome, Answer) or (isinstance(outcome, Failed) and isinstance(outcome.error, SignatureError)):
        yield f"{asked}: REFUSED ({found.verdict.reason}): {found.verdict.text.removeprefix(f'{asked}: ')}"
    else:
        first, *more = outcome_lines(asked, outcome)
        yield from (f"{asked}: {first}", *more)
    if trace:
        yield from chain_lines(found.chain)
    if found.verdict.verified and found.chain and isinstance(outcome, Answer):
        yield f"verified: {signed_by(found.chain[0])}"


def _absence(asked: Identifier, zone: str, gone_since: int | None) -> str:
    if gone_since:
        return f"it was deleted {moment(gone_since)} and is not given away again"
    prefix = fold_prefix(asked.prefix)
    if prefix == PREFIX_AUTHORITY:  # the record of a prefix
        return f"there is no prefix {asked.suffix}, says {zone}"
    return f"{prefix} has no such name" if prefix == zone else f"there is no prefix {prefix}, says {zone}"


def value_lines(values: Iterable[Value]) -> list[str]:
    """One line a value: index, type, data."""
    return [f"  {value.index:>5}  {value.type:24}  {shown_data(value)}" for value in values]


def chain_lines(chain: Sequence[Trusted]) -> Iterator[str]:
    """The chain of signatures as a small tree, from the record up to the anchor."""
    if chain:
        yield "chain of signatures:"
    for depth, link in enumerate(chain):
        arrow = "" if depth == 0 else "   " * (depth - 1) + "└─ "
        own = "  = the trust anchor" if link.identifier.canonical == ANCHOR else ""
        yield f"  {arrow}{link.identifier}  signed by {link.issuer}, serial {link.serial}, until {day(link.expires)}{own}"


def signed_by(link: Trusted) -> str:
    return f"signed by {link.issuer} on {moment(link.issued)}, serial {link.serial}, valid until {day(link.expires)}"


def shown_data(value: Value) -> str:
    """A value's data for people: text as it is, a site as addresses, other octets as hex."""
    if value.type in (TYPE_SITE, TYPE_SITE_PREFIX):
        with suppress(FormatError):  # what is no site is shown as octets
            return "  ".join(f"{server.address} {_ways(server)}" for server in decode_site(value.data).servers)
    text = value.text
    shown = _cut(value.data.hex()) if text is None or not text.isprintable() else _cut(text)
    return shown + (f"  (until {moment(value.ttl)})" if value.ttl_type == TTL_ABSOLUTE else "")


def _ways(server: Server) -> str:
    names = {PROTOCOL_UDP: "udp", PROTOCOL_TCP: "tcp", PROTOCOL_HTTP: "http", PROTOCOL_HTTPS: "https"}
    return " ".join(f"{names.get(way.protocol, way.protocol)}:{way.port}" for way in server.interfaces)


def resolution_document(asked: Identifier, found: Resolution, indexes: tuple[int, ...], types: tuple[str, ...]) -> dict[str, Any]:
    """The same as a document for programs."""
    outcome = found.outcome
    document: dict[str, Any] = {
        "identifier": str(asked),
        "outcome": type(outcome).__name__,
        "verdict": found.verdict._asdict(),
    }
    if isinstance(outcome, Answer):
        document["values"] = [value_to_json(value) for value in selected(record_values(outcome.record), indexes, types)]
        document["serial"], document["expires"] = outcome.record.serial, iso_time(outcome.record.expires)
        document["stale"] = outcome.stale
    if isinstance(outcome, NotFound) and outcome.gone_since:
        document["gone_since"] = iso_time(outcome.gone_since)
    document["chain"] = [
        {"identifier": str(link.identifier), "issuer": link.issuer, "serial": link.serial, "expires": iso_time(link.expires)}
        for link in found.chain
    ]
    document["steps"] = [
        {"server": step.server, "asked": step.asked, "said": step.said, "milliseconds": round(step.milliseconds, 3)}
        for step in found.steps
    ]
    return document


def record_values(record: AnsweringRecord) -> tuple[Value, ...]:
    """All values of a record that is ready to be answered, without its Ed25519 signature value."""
    return decode_values(record.encoded)


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _cut(text: str) -> str:
    return text if len(text) <= _DATA_CHARACTERS else text[: _DATA_CHARACTERS - 3] + "..."
