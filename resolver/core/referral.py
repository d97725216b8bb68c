"""Referrals: the way down the tree to an identifier, and which servers stand along it.

The names alone fix the way. The record that holds an identifier's key is `identifier.signer`, and the same record names the servers
that know the identifier. So from any identifier one chain of records leads up to `0.0/0.0`, known before anything is asked:

    0.0/0.0   0.NA/88   0.NA/88.118   0.NA/88.118.8   88.118.8/ABC

Each record is asked of the servers that the one before it names (the first two of the anchor's), and is signed by the key that the
one before it holds. Each server is asked for the next record of the way and not for the identifier in the end, so that it learns no
more than it needs to (as in DNS, RFC 9156). A referral can therefore only repeat what is known: it is taken if it carries exactly
the record that is next, and is otherwise sideways, upward, in a circle or too deep.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError, ReferralError, SignatureError
from resolver.core.identifier import ANCHOR, Identifier, signer
from resolver.core.record import TYPE_SITE, TYPE_SITE_PREFIX, Value
from resolver.core.trust import Reason
from resolver.core.wire.site import PROTOCOL_TCP, PROTOCOL_UDP, SERVICE_QUERY, Interface, Site, decode_site

_SITES = (TYPE_SITE, TYPE_SITE + ".6")  # deployed delegations may name their IPv6 site apart
_SITES_PREFIX = (TYPE_SITE_PREFIX,)


class Contact(NamedTuple):
    """Where one server takes Handle questions. `udp` and `tcp` are ports; at least one of them is given."""

    address: str
    udp: int | None
    tcp: int | None

    def __str__(self) -> str:
        return f"{self.address} udp {self.udp} tcp {self.tcp}"


def way(identifier: Identifier) -> tuple[Identifier, ...]:
    """The records from `0.0/0.0` down to `identifier`, both included.

    Raises SignatureError (chain-too-long) if they are more than a chain of signatures may have.
    """
    upward = [identifier]
    while upward[-1].canonical != ANCHOR:
        if len(upward) == limits.chain_records.default:
            raise SignatureError(
                Reason.CHAIN_TOO_LONG,
                f"{identifier}: more than {limits.chain_records.default} records lead from {ANCHOR} to it",
            )
        upward.append(signer(upward[-1]))
    return tuple(reversed(upward))


def check_referral(path: Sequence[Identifier], asked: int, referred: Identifier) -> None:
    """Judges a referral to the delegation `referred`, given when the record `path[asked]` was asked. `path` is from `way`.

    Raises ReferralError unless `referred` is that very record.
    """
    name = path[asked].canonical
    if referred == path[asked]:
        return
    if asked and referred == path[asked - 1]:
        raise ReferralError(f"asked for {name}, a server of {referred} refers to {referred}: in a circle")
    if referred in path[:asked]:
        raise ReferralError(f"asked for {name}, a server refers upward, to {referred}")
    if referred in path[asked:]:
        raise ReferralError(f"asked for {name}, a server refers too deep, to {referred}: what lies between would go unverified")
    raise ReferralError(f"asked for {name}, a server refers sideways, to {referred}")


def contacts(delegation: Iterable[Value], asked: Identifier) -> tuple[Contact, ...]:
    """The servers that a delegation's values name for `asked`: those of HS_SITE.PREFIX for a prefix record, else of HS_SITE.

    A delegation without HS_SITE.PREFIX keeps prefix records where it keeps identifiers. In the order of the values, each server
    once, `limits.delegation_servers` at most. A site that cannot be read names nobody: others may stand beside it.
    """
    values = list(delegation)
    types = _SITES_PREFIX if asked.is_prefix_record and any(v.type in _SITES_PREFIX for v in values) else _SITES
    found: dict[Contact, None] = {}
    for value in values:
        if value.type in types:
            try:
                found.update(dict.fromkeys(site_contacts(decode_site(value.data))))
            except FormatError:
                continue
    return tuple(found)[: limits.delegation_servers.default]


def site_contacts(site: Site) -> list[Contact]:
    """The servers of one site that answer questions over UDP or TCP at an address that can be one server's."""
    found = []
    for server in site.servers[: limits.delegation_servers.default]:
        address = ipaddress.ip_address(server.address)
        contact = Contact(server.address, _port(server.interfaces, PROTOCOL_UDP), _port(server.interfaces, PROTOCOL_TCP))
        if not (address.is_multicast or address.is_unspecified) and (contact.udp or contact.tcp):
            found.append(contact)
    return found


def _port(interfaces: Iterable[Interface], protocol: int) -> int | None:
    """The first port that takes questions over `protocol`."""
    for interface in interfaces:
        if interface.protocol == protocol and interface.service & SERVICE_QUERY and 0 < interface.port < 65_536:
            return interface.port
    return None
