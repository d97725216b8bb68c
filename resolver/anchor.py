"""The trust anchor file: the one thing a resolver is configured with. The root's keys, and where the root's servers are.

{"identifier": "0.0/0.0",
 "keys": {"302": {"kty": "OKP", "crv": "Ed25519", "x": "..."}},
 "servers": [{"address": "127.0.0.1", "udp": 2641, "tcp": 2641, "http": 8000}]}
"""

import ipaddress
import json
from pathlib import Path
from typing import NamedTuple

from resolver.core import trust
from resolver.core.errors import ConfigError, FormatError
from resolver.core.identifier import ANCHOR
from resolver.core.wire.site import (
    PROTOCOL_HTTP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    SERVICE_QUERY,
    Interface,
    Server,
    Site,
)

_FOREVER = 2**62  # the anchor does not expire: it is replaced
_PROTOCOLS = {"udp": PROTOCOL_UDP, "tcp": PROTOCOL_TCP, "http": PROTOCOL_HTTP}


class Anchor(NamedTuple):
    """`keys` verify `0.0/0.0`; `site` is where the root's servers are asked first."""

    keys: trust.Keys
    site: Site


def read_anchor(path: Path) -> Anchor:
    """Raises ConfigError naming the file and what is wrong in it."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["identifier"] != ANCHOR:
            raise FormatError(f"identifier must be {ANCHOR}")
        keys = {int(index): trust.read_jwk(key, f"key {index}") for index, key in document["keys"].items()}
        servers = tuple(_server(number, entry) for number, entry in enumerate(document["servers"], 1))
    except OSError as error:
        raise ConfigError(f"trust anchor {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, FormatError) as error:
        raise ConfigError(
            f"trust anchor {path}: {error!s} ({type(error).__name__}); expected identifier, keys and servers"
        ) from None
    if not keys:
        raise ConfigError(f"trust anchor {path} has no key")
    return Anchor(trust.Keys(ANCHOR, keys, _FOREVER), Site(servers))


def anchor_document(keys: dict[int, bytes], site: Site) -> str:
    """The text of an anchor file. `keys` are 32-octet public keys by index."""
    names = {number: name for name, number in _PROTOCOLS.items()}
    servers = [
        {"address": server.address} | {names[i.protocol]: i.port for i in server.interfaces if i.protocol in names}
        for server in site.servers
    ]
    document = {"identifier": ANCHOR, "keys": {str(index): trust.jwk(key) for index, key in keys.items()}, "servers": servers}
    return json.dumps(document, indent=2) + "\n"


def _server(number: int, entry: dict[str, object]) -> Server:
    interfaces = []
    for name, protocol in _PROTOCOLS.items():
        port = entry.get(name)
        if port is not None:
            if type(port) is not int or not 0 < port < 65_536:
                raise FormatError(f"servers[{number - 1}].{name} must be a port from 1 to 65535, not {port!r}")
            interfaces.append(Interface(SERVICE_QUERY, protocol, port))
    if not interfaces:
        raise FormatError(f"servers[{number - 1}] names no port: give udp, tcp or http")
    return Server(number, str(ipaddress.ip_address(str(entry["address"]))), b"", tuple(interfaces))
