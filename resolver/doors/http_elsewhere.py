"""Where else to ask: the HTTP doors that a delegation names, for people and programs that came to the wrong node."""

from contextlib import suppress

from resolver.core.errors import FormatError
from resolver.core.identifier import Identifier, fold_prefix
from resolver.core.message import AnsweringRecord
from resolver.core.record import TYPE_SITE, TYPE_SITE_PREFIX
from resolver.core.wire.site import PROTOCOL_HTTP, PROTOCOL_HTTPS, addresses, decode_site
from resolver.core.wire.values import decode_values

_SCHEMES = ((PROTOCOL_HTTPS, "https"), (PROTOCOL_HTTP, "http"))


def http_doors(delegation: AnsweringRecord, identifier: Identifier) -> list[str]:
    """`http://host:port` of each HTTP door of the servers that come next on the way to `identifier`.

    Those are the servers of the delegated prefix itself, or for what lies deeper those of the prefix records below it.
    """
    own = delegation.key == b"0.NA/" + fold_prefix(identifier.prefix).encode()
    wanted = TYPE_SITE if own else TYPE_SITE_PREFIX
    found = []
    with suppress(FormatError):  # a site that cannot be read is none that could be asked
        for value in decode_values(delegation.encoded, "delegation"):
            if value.type == wanted and value.is_public:
                site = decode_site(value.data)
                for protocol, scheme in _SCHEMES:
                    found += [f"{scheme}://{_host(host)}:{port}" for host, port in addresses(site, protocol)]
    return found


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
