"""Handle values as people read them: a word for the type, the data in a line or two, a link where it leads somewhere."""

import re
from typing import NamedTuple

from resolver.core.errors import FormatError
from resolver.core.identifier import Identifier
from resolver.core.record import TYPE_SITE, Value
from resolver.core.wire.admin import decode_admin
from resolver.core.wire.framing import Reader as OctetReader
from resolver.core.wire.json import document_from_octets, printable
from resolver.core.wire.site import PROTOCOL_HTTP, PROTOCOL_HTTPS, PROTOCOL_TCP, PROTOCOL_UDP, decode_site
from resolver.core.wire.values import read_references
from resolver.doors.pages.words import type_word, word

_TECHNICAL = ("HS_", "JWK")
_PROTOCOLS = {PROTOCOL_UDP: "UDP", PROTOCOL_TCP: "TCP", PROTOCOL_HTTP: "HTTP", PROTOCOL_HTTPS: "HTTPS"}
_LINK = re.compile(r"https?://[^\s/\\]+\S*", re.IGNORECASE)
_LONG = 280  # characters from which a text is folded


class Shown(NamedTuple):
    index: int  # type: ignore[assignment]  # the field's word in RFC 3651
    type: str
    label: str
    text: str
    link: str | None = None  # an http(s) address to go to
    identifiers: tuple[str, ...] = ()  # identifiers it names, to look up here
    folded: str | None = None  # the whole text, where `text` is only its beginning

    @property
    def technical(self) -> bool:
        """Whether it is there for machines: administration, routing, keys and signatures."""
        return self.type.upper().startswith(_TECHNICAL)


def shown(value: Value, language: str) -> Shown:
    """Never raises: what a type promises and the data does not keep is shown as text, or as the octets it is."""
    label = type_word(language, value.type)
    try:
        text, identifiers = _described(value, language)
    except (FormatError, UnicodeDecodeError):
        text, identifiers = None, ()
    if not text:  # also an empty list of references, or of servers: its octets say so
        text = printable(value.data)
    if text is None:
        return Shown(value.index, value.type, label, word(language, "octets", count=len(value.data)), folded=value.data.hex(" "))
    link = text if _LINK.fullmatch(text) else None
    if len(text) > _LONG:
        return Shown(value.index, value.type, label, text[:120] + "…", link, identifiers, folded=text)
    return Shown(value.index, value.type, label, text, link, identifiers)


def _described(value: Value, language: str) -> tuple[str | None, tuple[str, ...]]:
    match value.type.upper().partition(".")[0]:
        case "HS_ADMIN":
            admin = decode_admin(value.data)
            key = f"{admin.index}:{admin.identifier}" if admin.index else f"{admin.identifier} ({word(language, 'any-key')})"
            return key, _identifiers(admin.identifier)
        case "HS_VLIST":
            references = read_references(OctetReader(value.data, "HS_VLIST"))
            return "\n".join(f"{r.index}:{r.identifier}" for r in references), _identifiers(*(r.identifier for r in references))
        case "HS_ALIAS" | "HS_SERV":
            return None, _identifiers(value.data.decode())
        case family if family == TYPE_SITE:
            site = decode_site(value.data)
            ways = [
                f"{server.address}  " + "  ".join(f"{_PROTOCOLS.get(i.protocol, i.protocol)} {i.port}" for i in server.interfaces)
                for server in site.servers
            ]
            return "\n".join(ways), ()
        case "JWK":
            key = document_from_octets(value.data, "JWK")
            return (f"{key['crv']}  {key['x']}", ()) if isinstance(key, dict) and {"crv", "x"} <= key.keys() else (None, ())
    return None, ()


def _identifiers(*names: str) -> tuple[str, ...]:
    """Those of `names` that are valid identifiers."""
    found = []
    for name in names:
        try:
            found.append(str(Identifier.parse(name)))
        except FormatError:
            continue
    return tuple(found)
