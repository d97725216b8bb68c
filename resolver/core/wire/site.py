"""HS_SITE: who serves a prefix, and at which addresses (RFC 3651, 3.2.2; deployed layout: format 1, IPv4 as 12 zero octets + 4).

A *site* is a set of servers that hold the same identifiers; a server has *interfaces*, one for each protocol and port. Delegations
of ours name one server a site, as deployed clients of the second dialect take the first server's first TCP interface and no other.
"""

import ipaddress
from hashlib import md5
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError
from resolver.core.identifier import Identifier, fold_prefix
from resolver.core.wire.framing import U16, U32, Reader, pack_data, pack_text

SERVICE_ADMIN, SERVICE_QUERY = 1, 2
PROTOCOL_UDP, PROTOCOL_TCP, PROTOCOL_HTTP, PROTOCOL_HTTPS = 0, 1, 2, 3
PRIMARY, MULTI_PRIMARY = 0x80, 0x40
HASH_PREFIX, HASH_SUFFIX, HASH_ALL = 0, 1, 2

_ATTRIBUTES_MAX = 64
_SERVERS_MAX = 256
_INTERFACES_MAX = 32


class Interface(NamedTuple):
    """One way to reach a server. `service` is a set of SERVICE_ bits, 0 when out of service."""

    service: int
    protocol: int
    port: int


class Server(NamedTuple):
    """`address` is an IPv4 or IPv6 address as text; `public_key` is an encoded key, or empty."""

    server_id: int
    address: str
    public_key: bytes
    interfaces: tuple[Interface, ...]


class Site(NamedTuple):
    servers: tuple[Server, ...]
    serial: int = 1
    mask: int = PRIMARY
    hash_option: int = HASH_ALL
    attributes: tuple[tuple[str, str], ...] = ()
    protocol: tuple[int, int] = (2, 11)
    hash_filter: bytes = b""
    format: int = 1


def encode_site(site: Site) -> bytes:
    parts = [
        U16.pack(site.format),
        bytes(site.protocol),
        U16.pack(site.serial),
        bytes((site.mask, site.hash_option)),
        pack_data(site.hash_filter),
        U32.pack(len(site.attributes)),
    ]
    for name, text in site.attributes:
        parts += (pack_text(name), pack_text(text))
    parts.append(U32.pack(len(site.servers)))
    for server in site.servers:
        parts += (U32.pack(server.server_id), _pack_address(server.address), pack_data(server.public_key))
        parts.append(U32.pack(len(server.interfaces)))
        parts += [bytes((i.service, i.protocol)) + U32.pack(i.port) for i in server.interfaces]
    return b"".join(parts)


def decode_site(octets: bytes, place: str = "HS_SITE") -> Site:
    """Raises FormatError for anything but one whole site record."""
    reader = Reader(octets, place)
    format_ = reader.u16("format")
    protocol = (reader.u8("major version"), reader.u8("minor version"))
    serial = reader.u16("serial")
    mask, hash_option = reader.u8("mask"), reader.u8("hash option")
    hash_filter = reader.data("hash filter")
    attributes = tuple(
        (reader.text("attribute name"), reader.text("attribute value"))
        for _ in range(reader.count("attributes", _ATTRIBUTES_MAX, 8))
    )
    servers = tuple(_read_server(reader) for _ in range(reader.count("servers", _SERVERS_MAX, 28)))
    reader.done()
    return Site(servers, serial, mask, hash_option, attributes, protocol, hash_filter, format_)


def server_of(site: Site, identifier: Identifier) -> Server:
    """The server of `site` that holds `identifier`, as deployed clients choose it. Raises FormatError for a site without servers.

    The last four octets of the MD5 of prefix, suffix or whole, in ASCII upper case, as a signed number without its sign.
    """
    if not site.servers:
        raise FormatError("HS_SITE names no server")
    parts = {HASH_PREFIX: identifier.prefix, HASH_SUFFIX: identifier.suffix}
    hashed = fold_prefix(parts.get(site.hash_option, str(identifier)))
    number = int.from_bytes(md5(hashed.encode(), usedforsecurity=False).digest()[-4:], "big", signed=True)
    return site.servers[0 if number == -(2**31) else abs(number) % len(site.servers)]  # that number has no positive in 32 bits


def one_server_site(host: str, handle_port: int, http_port: int, attributes: tuple[tuple[str, str], ...] = ()) -> Site:
    """The site of a node with one server that answers questions: Handle over UDP and TCP on one port, and HTTP."""
    ways = ((PROTOCOL_UDP, handle_port), (PROTOCOL_TCP, handle_port), (PROTOCOL_HTTP, http_port))
    interfaces = tuple(Interface(SERVICE_QUERY, protocol, port) for protocol, port in ways)
    return Site((Server(1, host, b"", interfaces),), attributes=attributes)


def addresses(site: Site, protocol: int, service: int = SERVICE_QUERY) -> list[tuple[str, int]]:
    """Host and port of every server of `site` that offers `service` over `protocol`, in the site's order."""
    return [
        (server.address, interface.port)
        for server in site.servers[: limits.delegation_servers.default]
        for interface in server.interfaces
        if interface.protocol == protocol and interface.service & service and 0 < interface.port < 65_536
    ]


def _read_server(reader: Reader) -> Server:
    server_id = reader.u32("server id")
    packed = reader.take(16, "server address")
    address = ipaddress.IPv4Address(packed[12:]) if packed[:12] == bytes(12) else ipaddress.IPv6Address(packed)
    public_key = reader.data("server public key")
    interfaces = tuple(
        Interface(reader.u8("service type"), reader.u8("protocol"), reader.u32("port"))
        for _ in range(reader.count("interfaces", _INTERFACES_MAX, 6))
    )
    return Server(server_id, str(address), public_key, interfaces)


def _pack_address(text: str) -> bytes:
    try:
        packed = ipaddress.ip_address(text).packed
    except ValueError:
        raise FormatError(f"server address {text!r} is neither IPv4 nor IPv6") from None
    if len(packed) == 16 and packed[:12] == bytes(12):
        raise FormatError(f"server address {text!r} cannot be told from an IPv4 address in HS_SITE; use another one")
    return packed.rjust(16, b"\0")
