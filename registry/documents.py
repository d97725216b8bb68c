"""The documents of the registry's API, read and written. Their schemas are in `schemas/`.

A record:   {"identifier": "88.118.8/ABC", "serial": 17, "issued": "2026-11-20T04:48:46Z", "expires": "2028-11-19T04:48:46Z",
             "values": [...], "signature": "eyJhbGciOiJFZERTQSJ9...", and where the RS256 envelope is on "envelope": "eyJ..."}
A gone one: {"identifier": "88.118.8/ABC", "serial": 18, "issued": "...", "gone": true}
A change:   {"identifier": "88.118.8/ABC", "values": [...]}, in a line of a bulk request also
            "action" ("register" unless it says "replace", "patch" or "delete"), "remove" and "if_match"

Values have the deployed shape of `resolver.core.wire.json`. A timestamp in a value that comes in is read and dropped: the
service stamps what is new or changed, so that what was read can be sent back as it is. An unknown field is refused, for
it is a misspelt one.
"""

import json
from typing import Any

from registry.service import Delegation, HistoryEntry, Token, Write
from resolver.core import limits, trust
from resolver.core.errors import FormatError, IdentifierError, LimitError
from resolver.core.identifier import Identifier, check_prefix, fold_prefix
from resolver.core.record import TYPE_ENVELOPE, Record, Value
from resolver.core.wire.json import document_from_octets, iso_time, value_to_json, values_from_json
from resolver.core.wire.site import PROTOCOL_HTTP, PROTOCOL_TCP, PROTOCOL_UDP, SERVICE_QUERY, Interface, Server, Site, encode_site
from resolver.core.wire.values import encode_values

ACTIONS = ("register", "replace", "patch", "delete")
SERIAL_MOST = 2**63 - 1

_LINE_FIELDS = frozenset(("identifier", "values", "action", "remove", "if_match"))
_PLAIN_LINE = frozenset(("identifier", "values"))
_SERVER_FIELDS = frozenset(("address", "handle_port", "http_port"))


class JsonError(FormatError):
    """Octets that are no JSON document at all."""


def parsed(octets: bytes, place: str) -> Any:
    """The JSON document that `octets` are. Raises JsonError, or LimitError for one that is nested too deep."""
    try:
        return document_from_octets(octets, place)
    except LimitError:
        raise
    except FormatError as error:
        raise JsonError(str(error)) from None


def to_octets(document: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


# ---- changes coming in


def write_from_line(octets: bytes) -> Write:
    """The change that one line of a bulk request asks for. Raises FormatError naming the place."""
    document = parsed(octets, "line")
    if type(document) is not dict or document.keys() != _PLAIN_LINE:
        return _write_from_any(_object(document, "line", _LINE_FIELDS))
    return Write("register", _identifier(document), _values(document))


def write_from_json(document: object, action: str, identifier: Identifier | None = None, if_match: int | None = None) -> Write:
    """The change that a request's body asks for. `identifier` is that of the address, which the body may repeat but not change."""
    known = ("identifier", "values", "remove") if action == "patch" else ("identifier", "values")
    found = _object(document, "body", frozenset(known))
    if identifier is None or "identifier" in found:
        named = _identifier(found)
        if identifier is not None and named != identifier:
            raise FormatError(f"identifier: the address names {identifier}, the body {named}; leave it out of the body")
        identifier = named
    values = () if action == "patch" and "values" not in found else _values(found)
    return Write(action, identifier, values, _indexes(found), if_match)


def _write_from_any(document: dict[str, Any]) -> Write:
    action = document.get("action", "register")
    if action not in ACTIONS:
        raise FormatError(f"action: must be one of {', '.join(ACTIONS)}, not {_shown(action)}")
    if "remove" in document and action != "patch":
        raise FormatError(f"remove: only a patch removes values, this is to {action}")
    if "values" in document and action == "delete":
        raise FormatError("values: a deletion takes none")
    if_match = document.get("if_match")
    if if_match is not None and (type(if_match) is not int or not 1 <= if_match <= SERIAL_MOST):
        raise FormatError(f"if_match: must be the serial of a record, not {_shown(if_match)}")
    values = () if action == "delete" or (action == "patch" and "values" not in document) else _values(document)
    return Write(action, _identifier(document), values, _indexes(document), if_match)


def _identifier(document: dict[str, Any]) -> Identifier:
    text = document.get("identifier")
    if type(text) is not str:
        raise FormatError(f"identifier: must be a text such as 88.118.8/ABC, not {_shown(text)}")
    return Identifier.parse(text)


def _values(document: dict[str, Any]) -> tuple[Value, ...]:
    if "values" not in document:
        raise FormatError("values: missing; a list of values is needed")
    values = values_from_json(document["values"], "values")
    return tuple([v._replace(timestamp=0) if v.timestamp else v for v in values])


def _indexes(document: dict[str, Any]) -> tuple[int, ...]:
    indexes = document.get("remove", [])
    if type(indexes) is not list or not all(type(index) is int and 0 < index < 2**31 for index in indexes):
        raise FormatError(f"remove: must be a list of the indexes to take away, not {_shown(indexes)}")
    if len(indexes) > limits.record_values.most:
        raise FormatError(f"remove: {len(indexes)} indexes; at most {limits.record_values.most} are allowed")
    return tuple(indexes)


# ---- records going out


def record_to_json(record: Record) -> dict[str, Any]:
    """A record with its signature, which `waymark verify` can check."""
    head: dict[str, Any] = {"identifier": str(record.identifier), "serial": record.serial, "issued": iso_time(record.issued)}
    if record.gone:
        return head | {"gone": True}
    document = head | {
        "expires": iso_time(record.expires), "values": _values_to_json(record), "signature": _signature(record),
    }  # fmt: skip
    for value in record.values:
        if value.type == TYPE_ENVELOPE:
            document["envelope"] = value.data.decode()
    return document


def _signature(record: Record) -> str:
    """The compact JWS over `record`."""
    identifier = record.identifier
    signed = trust.signing_input(
        identifier.canonical, trust.issuer(identifier, record.key_index), record.issued, record.not_before, record.expires,
        record.serial, trust.value_digests(encode_values(record.values)),
    )  # fmt: skip
    return trust.token(signed, record.signature).decode()


def history_to_json(entry: HistoryEntry) -> dict[str, Any]:
    """One version: who made it, when, by which action, and what the record was then."""
    document: dict[str, Any] = {
        "serial": entry.serial, "time": iso_time(entry.time), "actor": entry.actor, "action": entry.action,
    }  # fmt: skip
    if entry.record.gone:
        return document | {"gone": True}
    return document | {"values": _values_to_json(entry.record)}


def _values_to_json(record: Record) -> list[dict[str, Any]]:
    """The values without the envelope's signature, which is the registry's own: what is read so can be put again."""
    return [value_to_json(value) for value in record.values if value.type != TYPE_ENVELOPE]


def token_to_json(token: Token) -> dict[str, Any]:
    return {"name": token.name, "role": token.role, "prefixes": list(token.prefixes), "created": iso_time(token.created)}


def prefix_to_json(prefix: str, keys: dict[int, bytes] | None, record: Record | None) -> dict[str, Any]:
    """A prefix: whether it is homed here and with which keys, and its prefix record if this registry keeps that."""
    document: dict[str, Any] = {"prefix": prefix, "homed": keys is not None}
    if keys is not None:
        document["keys"] = [{"index": index, "jwk": trust.jwk(public)} for index, public in sorted(keys.items())]
    if record is not None:
        document["record"] = record_to_json(record)
    return document


# ---- delegations and tokens coming in


def delegation_from_json(document: object) -> Delegation:
    """Hosted: {"prefix"}. Served by the child's own node: {"prefix", "servers", "proof"}. Raises FormatError naming the place."""
    found = _object(document, "body", frozenset(("prefix", "servers", "proof", "delegates")))
    prefix = _prefix(found.get("prefix"), "prefix")
    proof, servers, delegates = found.get("proof"), found.get("servers"), found.get("delegates", True)
    if (proof is None) != (servers is None):
        missing = "servers" if servers is None else "proof"
        raise FormatError(f"{missing}: missing; a child's own node needs servers and proof, a hosted prefix neither")
    if proof is not None and (type(proof) is not str or not proof.isascii()):
        raise FormatError(f"proof: must be a compact JWS made by the child's key, not {_shown(proof)}")
    if type(delegates) is not bool:
        raise FormatError(f"delegates: must be true or false, not {_shown(delegates)}")
    return Delegation(prefix, None if servers is None else _site(servers), proof, delegates)


def token_from_json(document: object) -> tuple[str, str, tuple[str, ...]]:
    """Name, role and prefixes of a token to be made."""
    found = _object(document, "body", frozenset(("name", "role", "prefixes")))
    name, role, prefixes = found.get("name"), found.get("role"), found.get("prefixes", [])
    if type(name) is not str or not 0 < len(name) <= 100 or not name.isprintable() or "/" in name:
        raise FormatError(f"name: must be 1 to 100 printable characters without a slash, not {_shown(name)}")
    if role not in ("operator", "registrant"):
        raise FormatError(f"role: must be operator or registrant, not {_shown(role)}")
    if type(prefixes) is not list or len(prefixes) > limits.token_prefixes.default:
        raise FormatError(f"prefixes: must be a list of at most {limits.token_prefixes.default} prefixes, not {_shown(prefixes)}")
    if bool(prefixes) != (role == "registrant"):
        raise FormatError("prefixes: a registrant needs at least one, an operator may write everywhere and takes none")
    return name, role, tuple(_prefix(prefix, f"prefixes[{place}]") for place, prefix in enumerate(prefixes))


def _site(servers: object) -> Site:
    if type(servers) is not list or not 0 < len(servers) <= limits.delegation_servers.default:
        raise FormatError(f"servers: must be a list of 1 to {limits.delegation_servers.default} servers, not {_shown(servers)}")
    return Site(tuple(_server(server, f"servers[{place}]", place + 1) for place, server in enumerate(servers)))


def _server(document: object, place: str, server_id: int) -> Server:
    found = _object(document, place, _SERVER_FIELDS)
    address = found.get("address")
    if type(address) is not str:
        raise FormatError(f"{place}.address: must be an IPv4 or IPv6 address, not {_shown(address)}")
    handle_port = _port(found, place, "handle_port")
    ways = [(PROTOCOL_UDP, handle_port), (PROTOCOL_TCP, handle_port)]
    if "http_port" in found:
        ways.append((PROTOCOL_HTTP, _port(found, place, "http_port")))
    server = Server(server_id, address, b"", tuple(Interface(SERVICE_QUERY, way, port) for way, port in ways))
    try:
        encode_site(Site((server,)))
    except FormatError as error:
        raise FormatError(f"{place}.address: {error}") from None
    return server


def _port(server: dict[str, Any], place: str, name: str) -> int:
    port = server.get(name)
    if type(port) is not int or not 0 < port < 65_536:
        raise FormatError(f"{place}.{name}: must be a whole number from 1 to 65535, not {_shown(port)}")
    return port


# ---- rules that several documents share


def _object(document: object, place: str, known: frozenset[str]) -> dict[str, Any]:
    if type(document) is not dict:
        raise FormatError(f"{place}: must be an object, not {_shown(document)}")
    unknown = document.keys() - known
    if unknown:
        raise FormatError(f"{place}: there is no field {_shown(min(unknown))} here; known are {', '.join(sorted(known))}")
    return document


def _prefix(text: object, place: str) -> str:
    if type(text) is not str:
        raise FormatError(f"{place}: must be a prefix such as 88.118.8, not {_shown(text)}")
    try:
        check_prefix(text)
    except IdentifierError as error:
        raise FormatError(f"{place}: {error}") from None
    return fold_prefix(text)


def _shown(document: object) -> str:
    """What came, for an error: short, and safe to print."""
    match document:
        case None:
            return "null or nothing"
        case dict():
            return "an object"
        case list():
            return "a list" if len(document) <= 10 else f"a list of {len(document)}"
        case int() if document.bit_length() > 64:
            return "a number of more than 64 bits"
        case _:
            shown = json.dumps(document)
            return shown if len(shown) <= 60 else shown[:57] + "..."
