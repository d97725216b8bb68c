"""Assignment: handing a prefix down. Pure decisions about the prefix record that makes a delegation.

The record `0.NA/P` is kept and signed by the prefix above P. It names who serves the identifiers under P and the prefix records
below it, who administers P, and the keys of P: two while a key rolls, at 302 and 303. A key keeps its index as long as anything it
signed is left, since every signature names it. So the new key takes the other index; the old one stays until the next roll takes
its place.
"""

import json
from typing import NamedTuple

from registry.registration import OPERATOR, TYPE_PUBKEY, Actor, Rejected
from resolver.core import trust
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, parent_prefix, prefix_record
from resolver.core.record import (
    INDEX_ADMIN,
    INDEX_KEY,
    INDEX_NEXT_KEY,
    INDEX_PUBKEY,
    INDEX_SITE,
    INDEX_SITE_PREFIX,
    TYPE_KEY,
    TYPE_SITE,
    TYPE_SITE_PREFIX,
    Record,
    Value,
)
from resolver.core.wire.admin import Admin, encode_admin
from resolver.core.wire.keys import RsaPublicKey, encode_rsa_public
from resolver.core.wire.site import Site, encode_site

TYPE_ADMIN = "HS_ADMIN"
_EVERYTHING = 0x0FFF


class Holding(NamedTuple):
    """What a prefix record says: who serves the prefix, its Ed25519 keys (32 octets) by index, its RSA key, its certificate."""

    site: Site
    keys: dict[int, bytes]
    rsa: RsaPublicKey | None = None
    certificate: Value | None = None


def refused(prefix: str, actor: Actor, parent_homed: bool) -> Rejected | None:
    """Why `actor` may not delegate the folded `prefix`, None if it may. `parent_homed`: the prefix above is homed here."""
    parent = parent_prefix(prefix)
    if actor.role != OPERATOR:
        return Rejected("forbidden", f"{actor.name} is not an operator; only an operator delegates prefixes", 403)
    if prefix in (PREFIX_AUTHORITY, "0.0", "0"):
        return Rejected("forbidden", f"{prefix} belongs to the root and is not delegated", 403, "prefix")
    if not parent_homed:
        return Rejected("not-homed", f"{prefix} is delegated by the registry of {parent}, which is not this one", 422, "prefix")
    return None


def name_taken(prefix: str, identifier: Identifier) -> Rejected:
    return Rejected("name-taken", f"{identifier} is registered, and {prefix} would have the same DNS name", 409, "prefix")


def names_shared(prefix: str) -> list[Identifier]:
    """The identifiers of the prefix above that would share the DNS name of the folded `prefix`, in any usual case."""
    parent, label = parent_prefix(prefix), prefix.rpartition(".")[2]
    if parent == PREFIX_AUTHORITY:
        return []
    return [Identifier(parent, spelling) for spelling in {label, label.lower(), label.capitalize()}]


def rolled(current: Record | None, keys: dict[int, bytes]) -> dict[int, bytes]:
    """The keys that the record is to hold: `keys` at their indexes, and what stood at the other index as long as it differs."""
    old = trust.public_keys(current.values, current.identifier.canonical) if current is not None else {}
    return keys | {index: key for index, key in old.items() if index not in keys and key not in keys.values()}


def record_values(prefix: str, holding: Holding) -> tuple[Value, ...]:
    """The values of the prefix record of the folded `prefix`."""
    holder, site = prefix_record(prefix).canonical, encode_site(holding.site)
    values = [
        Value(INDEX_SITE, TYPE_SITE, site),
        Value(INDEX_SITE_PREFIX, TYPE_SITE_PREFIX, site),
        Value(INDEX_ADMIN, TYPE_ADMIN, encode_admin(Admin(holder, min(holding.keys), _EVERYTHING))),
    ]
    return (*values, *key_values(holding))


def key_values(holding: Holding) -> tuple[Value, ...]:
    """The values that carry the keys: JWK, and where the envelope is on HS_PUBKEY and HS_CERT."""
    values = [
        Value(index, TYPE_KEY, json.dumps(trust.jwk(key)).encode())
        for index, key in holding.keys.items()
        if index in (INDEX_KEY, INDEX_NEXT_KEY)
    ]
    if holding.rsa is not None:
        values.append(Value(INDEX_PUBKEY, TYPE_PUBKEY, encode_rsa_public(holding.rsa.n, holding.rsa.e)))
    if holding.certificate is not None:
        values.append(holding.certificate)
    return tuple(sorted(values, key=lambda value: value.index))
