"""HS_SITE and HS_PUBKEY as JSON, as deployed HTTP clients read and write them.

    {"version": 1, "protocolVersion": "2.11", "serialNumber": 1, "primarySite": true, "multiPrimary": false, "hashOption": 0,
     "attributes": [{"name": "desc", "value": "..."}],
     "servers": [{"serverId": 1, "address": "127.0.0.1", "publicKey": {"format": "key", "value": {a JWK}},
                  "interfaces": [{"query": true, "admin": false, "protocol": "TCP", "port": 2641}]}]}

`hashOption` is left out when it is 2, the hash of the whole identifier. A key that is no RSA or DSA key stands as
{"format": "base64", "value": "..."}; a server without a key has no `publicKey`.
"""

from base64 import b64decode, b64encode
from typing import Any

from resolver.core.errors import FormatError
from resolver.core.wire.keys import decode_public_key, encode_public_key, jwk_to_key, key_to_jwk
from resolver.core.wire.site import (
    HASH_ALL,
    MULTI_PRIMARY,
    PRIMARY,
    PROTOCOL_HTTP,
    PROTOCOL_HTTPS,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    SERVICE_ADMIN,
    SERVICE_QUERY,
    Interface,
    Server,
    Site,
    decode_site,
    encode_site,
)

_PROTOCOLS = {PROTOCOL_UDP: "UDP", PROTOCOL_TCP: "TCP", PROTOCOL_HTTP: "HTTP", PROTOCOL_HTTPS: "HTTPS"}
_PROTOCOL_NUMBERS = {name: number for number, name in _PROTOCOLS.items()}
_ITEMS_MAX = 256  # attributes, servers or interfaces: what `decode_site` reads at most


def site_to_json(data: bytes) -> dict[str, Any]:
    """The document of an HS_SITE value's data. Raises FormatError for what is no site, or has no form in JSON."""
    site = decode_site(data)
    if site.hash_filter or site.mask & ~(PRIMARY | MULTI_PRIMARY):
        raise FormatError("HS_SITE: a hash filter or an unknown mask bit has no form in JSON")
    document: dict[str, Any] = {
        "version": site.format,
        "protocolVersion": f"{site.protocol[0]}.{site.protocol[1]}",
        "serialNumber": site.serial,
        "primarySite": bool(site.mask & PRIMARY),
        "multiPrimary": bool(site.mask & MULTI_PRIMARY),
    }
    if site.hash_option != HASH_ALL:
        document["hashOption"] = site.hash_option
    document["attributes"] = [{"name": name, "value": text} for name, text in site.attributes]
    document["servers"] = [_server_to_json(server) for server in site.servers]
    return document


def site_from_json(document: object, place: str) -> bytes:
    """HS_SITE data. Raises FormatError."""
    top = _object(document, place)
    version = str(top.get("protocolVersion", "2.11")).split(".")
    if len(version) != 2 or not all(part.isascii() and part.isdigit() and int(part[:4]) < 256 for part in version):
        raise _wrong(f"{place}.protocolVersion", 'must be two numbers such as "2.11"')
    mask = (PRIMARY if _flag(top, "primarySite", place) else 0) | (MULTI_PRIMARY if _flag(top, "multiPrimary", place) else 0)
    attributes = [
        (_text(a, "name", p), _text(a, "value", p)) for a, p in _objects(top.get("attributes", []), f"{place}.attributes")
    ]
    site = Site(
        servers=tuple(_server_from_json(server, p) for server, p in _objects(top.get("servers"), f"{place}.servers")),
        serial=_number(top, "serialNumber", place, 0xFFFF, 1),
        mask=mask,
        hash_option=_number(top, "hashOption", place, 0xFF, HASH_ALL),
        attributes=tuple(attributes),
        protocol=(int(version[0]), int(version[1])),
        format=_number(top, "version", place, 0xFFFF, 1),
    )
    try:
        return encode_site(site)
    except FormatError as error:
        raise FormatError(f"{place}: {error}") from None


def key_to_json(data: bytes) -> dict[str, str]:
    """The JWK of an HS_PUBKEY value's data. Raises FormatError for a key that has none."""
    document = key_to_jwk(decode_public_key(data))
    if document is None:
        raise FormatError("HS_PUBKEY: this kind of key has no JWK that deployed clients read")
    return document


def key_from_json(document: object, place: str) -> bytes:
    """HS_PUBKEY data. Raises FormatError."""
    return encode_public_key(jwk_to_key(document, place))


def _server_to_json(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = {"serverId": server.server_id, "address": server.address}
    if server.public_key:
        document["publicKey"] = _public_key_to_json(server.public_key)
    document["interfaces"] = [_interface_to_json(interface) for interface in server.interfaces]
    return document


def _public_key_to_json(key: bytes) -> dict[str, Any]:
    try:
        document = key_to_json(key)
        if key_from_json(document, "publicKey") == key:
            return {"format": "key", "value": document}
    except FormatError:
        pass  # a key of another kind: its octets
    return {"format": "base64", "value": b64encode(key).decode()}


def _interface_to_json(interface: Interface) -> dict[str, Any]:
    if interface.protocol not in _PROTOCOLS or interface.service > SERVICE_ADMIN | SERVICE_QUERY:
        raise FormatError(f"HS_SITE: protocol {interface.protocol} or service {interface.service} has no form in JSON")
    return {
        "query": bool(interface.service & SERVICE_QUERY),
        "admin": bool(interface.service & SERVICE_ADMIN),
        "protocol": _PROTOCOLS[interface.protocol],
        "port": interface.port,
    }


def _server_from_json(document: dict[str, Any], place: str) -> Server:
    key = document.get("publicKey")
    return Server(
        _number(document, "serverId", place, 0xFFFFFFFF),
        _text(document, "address", place),
        b"" if key is None else _public_key_from_json(key, f"{place}.publicKey"),
        tuple(_interface_from_json(i, p) for i, p in _objects(document.get("interfaces"), f"{place}.interfaces")),
    )


def _public_key_from_json(document: object, place: str) -> bytes:
    content = _object(document, place).get("value")
    match _object(document, place).get("format"):
        case "key":
            return key_from_json(content, f"{place}.value")
        case "base64" if isinstance(content, str):
            try:
                return b64decode(content, validate=True)
            except ValueError as error:
                raise _wrong(f"{place}.value", f"must be base64: {error}") from None
        case _:
            raise _wrong(place, 'must have the format "key" with a JWK, or "base64" with a text')


def _interface_from_json(document: dict[str, Any], place: str) -> Interface:
    protocol = _PROTOCOL_NUMBERS.get(_text(document, "protocol", place).upper())
    if protocol is None:
        raise _wrong(f"{place}.protocol", f"must be one of {', '.join(_PROTOCOL_NUMBERS)}")
    query, admin = _flag(document, "query", place), _flag(document, "admin", place)
    service = (SERVICE_QUERY if query else 0) | (SERVICE_ADMIN if admin else 0)
    return Interface(service, protocol, _number(document, "port", place, 65_535))


# ---- one field at a time


def _object(document: object, place: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _wrong(place, "must be an object")
    return document


def _objects(document: object, place: str) -> list[tuple[dict[str, Any], str]]:
    if not isinstance(document, list) or len(document) > _ITEMS_MAX:
        raise _wrong(place, f"must be a list of at most {_ITEMS_MAX} objects")
    return [(_object(item, f"{place}[{number}]"), f"{place}[{number}]") for number, item in enumerate(document)]


def _text(document: dict[str, Any], name: str, place: str) -> str:
    text = document.get(name)
    if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
        raise _wrong(f"{place}.{name}", "must be a text")
    return text


def _flag(document: dict[str, Any], name: str, place: str) -> bool:
    flag = document.get(name, False)
    if not isinstance(flag, bool):
        raise _wrong(f"{place}.{name}", "must be true or false")
    return flag


def _number(document: dict[str, Any], name: str, place: str, most: int, default: int | None = None) -> int:
    number = document.get(name, default)
    if type(number) is not int or not 0 <= number <= most:
        raise _wrong(f"{place}.{name}", f"must be a whole number from 0 to {most}")
    return number


def _wrong(place: str, rule: str) -> FormatError:
    return FormatError(f"{place}: {rule}")
