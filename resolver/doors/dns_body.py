"""What the DNS door says of a place: the sections of its answer, without header and question.

All names in a body point back into the question, so that a body fits every question that has the same name at the same offset. What
is said of a zone (its SOA, the referral to it) is therefore kept ready by zone and offset, for one serial of the table.

A prefix's zone has one name server, `_ns` below it, with the addresses of the servers that its delegation names; on the node itself
an operator may name another. An answer to ANY is one small HINFO (RFC 8482, 4.2).
"""

from typing import NamedTuple

from resolver.config import NodeConfig
from resolver.core import limits
from resolver.core.errors import ConfigError, FormatError, WaymarkError
from resolver.core.message import Answer, Failed
from resolver.core.owner import NAME_SERVER_LABEL
from resolver.core.record import TYPE_SITE
from resolver.core.wire import dns
from resolver.core.wire.dns import Question
from resolver.core.wire.site import decode_site
from resolver.core.wire.txt import Shown, shown, txt_rrs, uri_rrs, urls
from resolver.doors.zone import Absent, Apex, Cut, Elsewhere, Empty, NameServer, Owner, Place, Zone, Zones

# A zone's own records change with its operator, not with its content: what their askers may keep, and what secondaries would do.
_ZONE_SECONDS = 3600
_REFRESH_SECONDS, _RETRY_SECONDS, _EXPIRE_SECONDS = 3600, 600, 604_800
_ANY_ANSWER = dns.string(b"RFC8482") + dns.string(b"")
_STALE = (dns.ERROR_STALE, "no server of this prefix answers; this was true not long ago")
_KEPT_PART = 64  # an answer is kept ready for this part of what is left of its TTL
_SITE = TYPE_SITE.encode()
_NAME_SERVER = bytes((len(NAME_SERVER_LABEL),)) + NAME_SERVER_LABEL
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104  # where a node may listen, but nobody can ask it


class Body(NamedTuple):
    """An answer without its header and question. `keep_seconds` is how long it may be used again, for the record at `key`."""

    outcome: str  # a word of `metrics.OUTCOMES`
    rcode: int
    flags: int
    answers: int = 0
    authorities: int = 0
    additionals: int = 0
    octets: bytes = b""
    error: tuple[int, str] | None = None
    key: bytes = b""
    keep_seconds: int = 0


class Bodies:
    """Writes the bodies of one node's answers. `authoritative`: it answers from its own table."""

    def __init__(self, config: NodeConfig, zones: Zones, authoritative: bool) -> None:
        """Raises ConfigError if the configured name server or mailbox is no DNS name."""
        self._root = zones.root
        self._flags = dns.AA if authoritative else 0
        self._serial = 0
        self._ready: dict[tuple[bytes, int, str], tuple[Body, float]] = {}
        self._cache_seconds = config.limits[limits.answer_cache_seconds]
        self._negative_seconds = config.limits[limits.negative_ttl_seconds]
        self._hosts_here = [] if config.public_address in _UNSPECIFIED else [config.public_address]
        self._mailbox = _configured_name(config.hostmaster, "dns.hostmaster")
        self._name_server = None
        if config.name_server is not None and authoritative:
            self._name_server = _configured_name(config.name_server, "dns.name_server")

    def renew(self, serial: int) -> None:
        """The table has this serial now: nothing that was said before is ready any longer."""
        self._serial = serial
        self._ready.clear()

    def encoded(self, place: Place, question: Question, now: float) -> Body:
        """What is said of the place that the question's name is. What cannot be said is a failure, never an exception."""
        try:
            match place:
                case Owner(answer, zone, signature):
                    return self._owner(answer, zone, signature, question, now)
                case Apex(zone, above, delegation):
                    return self._apex(zone, above, delegation, question, now)
                case NameServer(zone, delegation):
                    return self._addresses(zone, delegation, question, now)
                case Cut(_, above, at_zone) if at_zone and question.type == dns.DS:
                    return self.negative(question, above, dns.NOERROR)
                case Cut():
                    return self.referral(place, question, now)
                case Empty(zone):
                    return self.negative(question, zone, dns.NOERROR)
                case Absent(zone):
                    return self.negative(question, zone, dns.NXDOMAIN)
                case Elsewhere(why, code):
                    return refusal(why, code)
                case Failed(error):
                    return failure(error)
        except WaymarkError as error:
            return failure(error)

    def _owner(self, answer: Answer, zone: Zone, signature: bool, question: Question, now: float) -> Body:
        record = answer.record
        octets = record.encoded + record.signature_octets if signature else record.encoded
        left = record.expires - int(now)
        if answer.ttl_limit is not None:
            left = min(left, answer.ttl_limit)
        if answer.stale:
            left = min(left, limits.stale_ttl_seconds.default)
        chosen = shown(octets, 0, int(now), signature)
        return self.values(question, chosen, zone, record.key, left, answer.stale)

    def values(self, question: Question, chosen: Shown, zone: Zone, key: bytes, left: int, stale: bool = False) -> Body:
        """Values of the record at `key`, as the type that is asked for. `left`: the seconds for which they may be told at all."""
        ttl, keep = self._lifetime(chosen, left, may_keep=not stale)
        if question.type == dns.TXT:
            count, rrs = len(chosen.items), txt_rrs(chosen.items, ttl)
        elif question.type == dns.URI:
            targets = urls(chosen.items)
            count, rrs = len(targets), uri_rrs(targets, ttl)
        elif question.type == dns.ANY:
            count, rrs = 1, dns.rr(dns.POINTER_TO_QUESTION, dns.HINFO, ttl, _ANY_ANSWER)
        else:
            count, rrs = 0, b""
        if not count:
            return self.negative(question, zone, dns.NOERROR)
        return Body("answer", dns.NOERROR, self._flags, count, 0, 0, rrs, _STALE if stale else None, key, keep)

    def _apex(self, zone: Zone, above: Zone | None, delegation: Answer | None, question: Question, now: float) -> Body:
        if question.type == dns.NS:
            hosts, ttl, _ = self._hosts(delegation, now)
            server = self._server(zone, question, delegation)
            if not server.startswith(_NAME_SERVER):
                hosts = []  # the operator's own name server is not ours to give addresses of
            glue = b"".join([dns.address_rr(server, host, ttl) for host in hosts])
            answer = dns.rr(dns.POINTER_TO_QUESTION, dns.NS, ttl, server)
            return Body("answer", dns.NOERROR, self._flags, 1, 0, len(hosts), answer + glue)
        if question.type == dns.SOA:
            return Body("answer", dns.NOERROR, self._flags, 1, 0, 0, self._soa(zone, question, _ZONE_SECONDS))
        if question.type == dns.ANY:
            return self._any()
        return self.negative(question, above if above is not None and question.type == dns.DS else zone, dns.NOERROR)

    def _addresses(self, zone: Zone, delegation: Answer | None, question: Question, now: float) -> Body:
        """A zone's name server, asked for by its name."""
        hosts, ttl, _ = self._hosts(delegation, now)
        if question.type == dns.ANY:
            return self._any()
        rrs = [dns.address_rr(dns.POINTER_TO_QUESTION, host, ttl) for host in hosts if dns.address_type(host) == question.type]
        if not rrs:
            return self.negative(question, zone, dns.NOERROR)
        return Body("answer", dns.NOERROR, self._flags, len(rrs), 0, 0, b"".join(rrs))

    def _any(self) -> Body:
        """RFC 8482, 4.2: one small record in place of all there are."""
        return Body(
            "answer", dns.NOERROR, self._flags, 1, 0, 0, dns.rr(dns.POINTER_TO_QUESTION, dns.HINFO, _ZONE_SECONDS, _ANY_ANSWER)
        )

    def referral(self, cut: Cut, question: Question, now: float) -> Body:
        """Who serves the zone that was asked for, with their addresses."""
        offset = _offset(question, cut.zone)
        ready, until = self._ready.get((cut.zone.name, offset, "referral"), (None, 0.0))
        if ready is not None and now < until:
            return ready
        hosts, ttl, keep = self._hosts(cut.delegation, now)
        at_zone = dns.pointer(offset)
        server = _NAME_SERVER + at_zone
        glue = b"".join([dns.address_rr(server, host, ttl) for host in hosts])
        body = Body("referral", dns.NOERROR, 0, 0, 1, len(hosts), dns.rr(at_zone, dns.NS, ttl, server) + glue)
        self._keep_body(cut.zone, offset, body, now + keep)
        return body

    def negative(self, question: Question, zone: Zone, rcode: int) -> Body:
        """No such name, or with NOERROR nothing of this type; the zone's SOA says for how long (RFC 2308)."""
        outcome = "not-found" if rcode else "no-data"
        offset = _offset(question, zone)
        ready, _ = self._ready.get((zone.name, offset, outcome), (None, 0.0))
        if ready is not None:
            return ready
        body = Body(outcome, rcode, self._flags, 0, 1, 0, self._soa(zone, question, self._negative_seconds))
        self._keep_body(zone, offset, body, float("inf"))
        return body

    def _keep_body(self, zone: Zone, offset: int, body: Body, until: float) -> None:
        if len(self._ready) >= limits.dns_zones_ready.default:
            self._ready.clear()
        self._ready[zone.name, offset, body.outcome] = body, until

    def _soa(self, zone: Zone, question: Question, ttl: int) -> bytes:
        """The SOA record of a zone that the question's name lies in. Its serial is the table's; a recursive node knows none."""
        mailbox = dns.compressed(self._mailbox, self._root.name, _offset(question, self._root))
        times = (_REFRESH_SECONDS, _RETRY_SECONDS, _EXPIRE_SECONDS, self._negative_seconds)
        rdata = dns.soa_rdata(self._server(zone, question), mailbox, self._serial, *times)
        return dns.rr(dns.pointer(_offset(question, zone)), dns.SOA, ttl, rdata)

    def _server(self, zone: Zone, question: Question, delegation: Answer | None = None) -> bytes:
        """The name of the server of a zone that the question's name lies in."""
        if self._name_server is not None and delegation is None:
            return dns.compressed(self._name_server, self._root.name, _offset(question, self._root))
        return _NAME_SERVER + dns.pointer(_offset(question, zone))

    def _lifetime(self, chosen: Shown, left: int, may_keep: bool = True) -> tuple[int, int]:
        """TTL of values that may be told for `left` more seconds, and how long the answer may be used again."""
        if chosen.ends and chosen.ttl < left:
            left = chosen.ttl
        if left <= 0:
            return 0, 0
        keep = min(left // _KEPT_PART or 1, self._cache_seconds) if may_keep else 0
        return min(chosen.ttl, left - keep), keep

    def _hosts(self, delegation: Answer | None, now: float) -> tuple[list[str], int, int]:
        """Addresses of a zone's servers, their TTL and how long they may be used again: our own, or what the delegation says."""
        if delegation is None:
            return self._hosts_here, _ZONE_SECONDS, 0
        record = delegation.record
        left = record.expires - int(now) if delegation.ttl_limit is None else min(record.expires - int(now), delegation.ttl_limit)
        chosen = shown(record.encoded, 0, int(now))
        found: dict[str, None] = {}
        for index, type_, data in chosen.items:
            if type_ == _SITE:
                found |= dict.fromkeys(server.address for server in decode_site(data, f"HS_SITE at index {index}").servers)
        return list(found)[: limits.delegation_servers.default], *self._lifetime(chosen, left)


def _offset(question: Question, zone: Zone) -> int:
    """Where the name of `zone`, which ends the question's name, stands in the message."""
    return dns.HEADER_OCTETS + len(question.name) - len(zone.name)


# ---- answers that need no zone


def refusal(why: str, code: int = dns.ERROR_NOT_AUTHORITATIVE) -> Body:
    return Body("refused", dns.REFUSED, 0, error=(code, why))


def failure(error: WaymarkError) -> Body:
    return Body("failed", dns.SERVFAIL, 0, error=(error.dns_error, str(error)))


def _configured_name(text: str, setting: str) -> bytes:
    """A configured host name or mailbox (`hostmaster@example.org` or with a dot for the at sign) in wire form."""
    local, at, domain = text.partition("@")
    labels = [local, *domain.split(".")] if at else text.rstrip(".").split(".")
    try:
        return dns.encode_name([label.lower().encode("ascii") for label in labels])
    except (FormatError, UnicodeEncodeError):
        raise ConfigError(f"{setting} {text!r} is no DNS name") from None
