"""The DNS door: records as TXT and URI, prefixes as zones (owner names: `core.owner`; what a name is: `doors.zone`).

A packet's way:

    ready answer? -> patch the id, and the question as it was asked
       | no
    header check -> decode -> refuse what is not ours -> below a known zone? -> table.get -> its values as TXT, from their octets
                                                            | no                  | nothing: the zone's SOA, kept ready
                                                         zone.place -> encode

Every answer is four counts and the octets behind the question (`Body`), in which names point back into the question. A ready answer
is kept without the question's own octets, so that the asker's spelling is echoed to it, whoever asked first.

TTLs are a record's own, and never beyond what is left of its signature, or of its time in a recursive node's cache. An answer that
is kept ready for some seconds says what will be left when those have passed.

Refused, with an extended error that says why: names outside the apex or not kept here, classes other than IN, zone transfers. On a
recursive node also the prefix records whose label is a hash, as only their whole name tells which node keeps them.
"""

from collections.abc import Coroutine, Generator
from typing import Any, NamedTuple

from resolver.core import limits
from resolver.core.cache import AnswerCache
from resolver.core.errors import FormatError, WaymarkError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, fold_prefix
from resolver.core.message import Failed, Outcome, Query
from resolver.core.owner import HASHED, NAME_SERVER_LABEL, suffix_of, zone_prefix
from resolver.core.wire import dns
from resolver.core.wire.dns import Question
from resolver.core.wire.framing import U16
from resolver.core.wire.stored import ALL_PUBLIC, EXPIRES_AT, GONE, HEAD_OCTETS
from resolver.core.wire.txt import shown
from resolver.desk import Desk
from resolver.doors import Ready, Reply
from resolver.doors.dns_body import Bodies, Body, failure, refusal
from resolver.doors.zone import ROOT_BRANCHES, Cut, Place, Zone, Zones
from resolver.metrics import OUTCOMES, cell
from resolver.table import Table

_META_TYPES = frozenset((dns.OPT, *range(128, 255)))  # RFC 6895, 3.1; ANY is answered
_READY_OCTETS = 132  # of memory: the pair of octets, and the header in it


class _Way:
    """How answers leave, and the counters of that way. `mark` keeps the ready answers of one way from the other's."""

    def __init__(self, door: str, octets_max: int, is_stream: bool) -> None:
        self.octets_max = octets_max
        self.is_stream = is_stream
        self.mark = b"\0" if is_stream else b""
        self.outcomes = {outcome: cell("query", door, outcome) for outcome in OUTCOMES}
        self.answer, self.not_found = self.outcomes["answer"], self.outcomes["not-found"]
        self.hit, self.miss = cell("cache", door, "hit"), cell("cache", door, "miss")

    def longest(self, edns: dns.Edns | None) -> int:
        """Octets of the longest answer to an asker who says this of itself; 512 are taken by everyone (RFC 6891, 6.2.3)."""
        if self.is_stream:
            return self.octets_max
        return dns.UDP_OCTETS_LEAST if edns is None else min(self.octets_max, edns.payload_octets)


class _Branch(NamedTuple):
    """A homed prefix whose zone has been asked for: what its keys begin with, and whether a label may be a child's."""

    zone: Zone
    key_start: bytes
    has_children: bool


class DnsDoor:
    """Answers DNS messages. `cache` holds ready answers: query without id, spelling and EDNS options -> header and body."""

    def __init__(self, desk: Desk) -> None:
        """Raises ConfigError if the configured name server or mailbox is no DNS name."""
        config = desk.config
        bounds = config.limits
        self.desk = desk
        self._cells = desk.metrics.cells
        self.cache: AnswerCache[bytes, tuple[bytes, bytes]] = AnswerCache(desk.answers)
        self._query_octets = bounds[limits.dns_query_octets]
        self._udp_octets = bounds[limits.dns_udp_octets]
        self._udp = _Way("dns-udp", self._udp_octets, is_stream=False)
        self._tcp = _Way("dns-tcp", dns.MESSAGE_OCTETS_MAX, is_stream=True)
        self._zones = Zones(config.apex)
        self._bodies = Bodies(config, self._zones, authoritative=desk.table is not None)
        self._available = dns.RA if desk.table is None else 0
        self._edns = {wanted: dns.encode_edns(dns.Edns(0, 0, wanted), self._udp_octets) for wanted in (False, True)}
        # Where names lie, kept ready for one serial of the table:
        self._serial = -1
        self._branches: dict[bytes, _Branch] = {}
        self._cuts: dict[bytes, Cut] = {}
        self._absences: dict[bytes, tuple[bytes, bytes, bytes]] = {}  # how "no such name" is said, by zone and shape of the query

    def answer_datagram(self, packet: bytes, source: tuple[Any, ...], now: float) -> Reply:  # noqa: ARG002
        """The reply to one datagram; None for what is no query."""
        name_end = packet.find(b"\0", dns.HEADER_OCTETS) + 1
        ready = self.cache.get(packet[2:12] + packet[12:name_end].lower() + packet[name_end:], now)
        if ready is not None:
            way = self._udp
            self._cells[way.hit] += 1
            self._cells[way.answer] += 1
            return packet[:2] + ready[0] + packet[12 : name_end + 4] + ready[1]
        return self._absent(packet, name_end) or self._answer(packet, self._udp, now)

    def answer_stream(self, message: bytes, source: tuple[Any, ...], now: float) -> Reply:  # noqa: ARG002
        """The reply to one message behind its two octets of length, framed likewise; None for what is no query."""
        packet = message[2:]
        if len(packet) != int.from_bytes(message[:2], "big"):
            return _framed(self._unread(packet, self._tcp))
        reply = self._answer(packet, self._tcp, now)
        return _framed_later(reply) if isinstance(reply, Coroutine) else _framed(reply)

    def message_octets(self, buffer: bytes) -> int:
        """Octets of the first message in `buffer` with its length, 0 while unknown. Raises FormatError if it can never be one."""
        if len(buffer) < 2:
            return 0
        octets = int.from_bytes(buffer[:2], "big")
        if not dns.HEADER_OCTETS <= octets <= self._query_octets:
            raise FormatError(f"DNS message of {octets} octets; it must have {dns.HEADER_OCTETS} to {self._query_octets}")
        return 2 + octets

    def forget(self, keys: list[bytes] | None) -> None:
        """The table changed: answers from these records are no longer ready."""
        self.cache.forget(keys)

    # ---- a flood of names that do not exist

    def _absent(self, packet: bytes, name_end: int) -> bytes | None:
        """The reply to a query for a name that is not there, if one of the same shape in the same zone was answered before.

        Such answers differ in nothing but id and question. That the table has no such name is looked up each time.
        """
        table = self.desk.table
        if table is None or table.serial != self._serial or name_end < dns.HEADER_OCTETS + 2:
            return None
        label_end = dns.HEADER_OCTETS + 1 + packet[12]
        ready = self._absences.get(packet[2:13] + packet[label_end:name_end].lower() + packet[name_end:])
        if ready is None:
            return None
        key_start, head, octets = ready
        suffix = suffix_of(packet[13:label_end].lower())
        if suffix is None or table.get(key_start + suffix) is not None:
            return None
        self._cells[self._udp.miss] += 1
        self._cells[self._udp.not_found] += 1
        return packet[:2] + head + packet[12 : name_end + 4] + octets

    def _keep_absence(self, packet: bytes, question: Question, reply: bytes) -> None:
        """Keeps the answer that a name is not there, where only the table decides about others beside it."""
        name, edns = question.name, question.edns
        branch = self._branches.get(name[1 + name[0] :])
        if branch is None or branch.has_children or suffix_of(name[1 : 1 + name[0]]) is None:
            return
        if edns is not None and edns.options_octets:
            return  # a cookie: this shape will not come again
        if len(self._absences) >= limits.dns_zones_ready.default:
            self._absences.clear()
        shape = packet[2:13] + name[1 + name[0] :] + packet[dns.HEADER_OCTETS + len(name) :]
        self._absences[shape] = branch.key_start, reply[2:12], reply[question.end :]

    # ---- the way of one query

    def _answer(self, packet: bytes, way: _Way, now: float) -> Reply:
        """The reply to a packet for whose very octets no answer is ready."""
        try:
            question = dns.decode_query(packet, self._query_octets)
        except FormatError:
            return self._unread(packet, way)
        if way.is_stream or (question.edns is not None and question.edns.options_octets):
            ready = self.cache.get(_cache_key(packet, question, way), now)
            if ready is not None:
                self._cells[way.hit] += 1
                self._cells[way.answer] += 1
                return packet[:2] + ready[0] + packet[12 : question.end] + ready[1]
        self._cells[way.miss] += 1
        body = _refused(question)
        if body is None:
            if self.desk.table is None:
                return self._from_afar(packet, question, way, now)
            body = self._from_table(self.desk.table, question, now)
        reply = self._finished(packet, question, body, way, now)
        if body.rcode == dns.NXDOMAIN and way is self._udp and self.desk.table is not None:
            self._keep_absence(packet, question, reply)
        return reply

    def _unread(self, packet: bytes, way: _Way) -> Ready:
        """The reply to what is no query that can be read."""
        if not dns.is_answerable(packet):
            self._cells[way.outcomes["dropped"]] += 1
            return None
        if dns.opcode(packet):
            self._cells[way.outcomes["refused"]] += 1
            return dns.error_reply(packet, dns.NOTIMP)
        self._cells[way.outcomes["malformed"]] += 1
        return dns.error_reply(packet, dns.FORMERR)

    # ---- from the table

    def _from_table(self, table: Table, question: Question, now: float) -> Body:
        if table.serial != self._serial:
            self._renew(table.serial)
        label_end = 1 + question.name[0]
        above = question.name[label_end:]
        branch = self._branches.get(above)
        try:
            if branch is None:
                cut = self._cuts.get(above)
                return self._placed(table, question, now) if cut is None else self._bodies.referral(cut, question, now)
            label = question.name[1:label_end]
            suffix = suffix_of(label)
            if suffix is None:
                if label == NAME_SERVER_LABEL or label.startswith(HASHED):
                    return self._placed(table, question, now)
                return self._bodies.negative(question, branch.zone, dns.NXDOMAIN)
            key = branch.key_start + suffix
            octets = table.get(key)
            if octets is not None and not octets[1] & GONE:
                second = int(now)
                left = int.from_bytes(octets[EXPIRES_AT], "big") - second
                chosen = shown(octets, HEAD_OCTETS, second, all_public=bool(octets[1] & ALL_PUBLIC))
                return self._bodies.values(question, chosen, branch.zone, key, left)
            if branch.has_children and _may_be_child(table, branch.zone.prefix, label):
                return self._placed(table, question, now)
            return self._bodies.negative(question, branch.zone, dns.NXDOMAIN)
        except WaymarkError as error:
            return failure(error)

    def _placed(self, table: Table, question: Question, now: float) -> Body:
        """The answer to a name whose zone is not kept ready, or that is not an owner's."""
        labels = self._zones.below(question.name)
        if labels is None:
            return refusal("this name is outside of the apex served here")
        if len(self._branches) + len(self._cuts) >= limits.dns_zones_ready.default:
            self._renew(table.serial)
        place = self._zones.place(table, labels)
        above = question.name[1 + question.name[0] :]
        prefix = zone_prefix(labels[1:])
        if prefix is not None and labels[1:] not in ROOT_BRANCHES and table.is_homed(prefix):
            self._branches[above] = _Branch(self._zones.zone(prefix), prefix.encode() + b"/", table.has_prefixes_below(prefix))
        elif isinstance(place, Cut) and not place.at_zone and not table.has_prefixes_below(place.zone.prefix):
            self._cuts[above] = place
        return self._bodies.encoded(place, question, now)

    def _renew(self, serial: int) -> None:
        """The table has this serial now: nobody knows any longer where names lie."""
        self._serial = serial
        self._branches.clear()
        self._cuts.clear()
        self._absences.clear()
        self._bodies.renew(serial)

    # ---- on a recursive node

    def _from_afar(self, packet: bytes, question: Question, way: _Way, now: float) -> Reply:
        """The reply, at once if all is known that it takes, else a coroutine that asks for the rest."""
        labels = self._zones.below(question.name)
        if labels is None:
            return self._finished(packet, question, refusal("this name is outside of the apex served here"), way, now)
        seeking = self._zones.seek(labels)
        wanted = _advance(seeking, None)
        while isinstance(wanted, Identifier):
            outcome = self._known(Query(wanted, recursive=bool(packet[2] & 1)))
            if outcome is None:
                return self._wait(packet, question, way, seeking, wanted)
            wanted = _advance(seeking, outcome)
        return self._finished(packet, question, self._bodies.encoded(wanted, question, now), way, now)

    async def _wait(
        self,
        packet: bytes,
        question: Question,
        way: _Way,
        seeking: Generator[Identifier, Outcome, Place],
        wanted: Identifier | Place,
    ) -> Ready:
        while isinstance(wanted, Identifier):
            try:
                outcome = await self.desk.resolve(Query(wanted))
            except WaymarkError as error:
                outcome = Failed(error)
            wanted = _advance(seeking, outcome)
        now = self.desk.clock()
        return self._finished(packet, question, self._bodies.encoded(wanted, question, now), way, now)

    def _known(self, query: Query) -> Outcome | None:
        try:
            return self.desk.known(query)
        except WaymarkError as error:
            return Failed(error)

    # ---- finishing

    def _finished(self, packet: bytes, question: Question, body: Body, way: _Way, now: float) -> bytes:
        """The whole reply: shortened if it is too long for the asker, and kept ready if it may be."""
        octets, additionals, edns = body.octets, body.additionals, question.edns
        if edns is not None:
            additionals += 1
            if body.error is None and body.rcode <= 0x0F:
                octets += self._edns[edns.dnssec_ok]
            else:
                octets += dns.encode_edns(edns, self._udp_octets, body.rcode, body.error)
        length = question.end + len(octets)
        if length > dns.UDP_OCTETS_LEAST and length > way.longest(edns):
            return self._finished(packet, question, _shortened(body, way), way, now)
        self._cells[way.outcomes[body.outcome]] += 1
        head = dns.reply_head(packet, body.rcode, body.flags | self._available, body.answers, body.authorities, additionals)
        if body.keep_seconds and self.desk.answers.octets_max:
            key = _cache_key(packet, question, way)
            size = len(key) + len(octets) + _READY_OCTETS
            self.cache.put(key, (head, octets), body.key, size, now + body.keep_seconds)
        return packet[:2] + head + packet[12 : question.end] + octets


# ---- answers that need nothing


def _refused(question: Question) -> Body | None:
    """The answer to what is never answered, whatever the name holds."""
    if question.edns is not None and question.edns.version:
        return Body("refused", dns.BADVERS, 0)
    if question.type in _META_TYPES:
        if question.type in (dns.AXFR, dns.IXFR):
            return refusal("zones are not transferred", dns.ERROR_NOT_SUPPORTED)
        return Body("refused", dns.NOTIMP, 0)
    if question.class_ != dns.CLASS_IN:
        return refusal("only class IN is served", dns.ERROR_NOT_SUPPORTED)
    return None


def _shortened(body: Body, way: _Way) -> Body:
    """What is said in place of an answer that does not fit: over UDP to ask over TCP, there that it cannot be had over DNS."""
    if not way.is_stream:
        return body._replace(flags=body.flags | dns.TC, answers=0, authorities=0, additionals=0, octets=b"")
    return Body(
        "failed", dns.SERVFAIL, 0, error=(dns.ERROR_OTHER, f"an answer of {len(body.octets)} octets; ask over Handle or HTTP")
    )


# ---- details


def _cache_key(packet: bytes, question: Question, way: _Way) -> bytes:
    """The key of a ready answer: the query, its name in lower case, without its id and EDNS options."""
    rest = packet[question.end - 4 : question.end + dns.OPT_OCTETS]
    if question.edns is not None and question.edns.options_octets:
        rest = rest[:-2] + b"\0\0"
    return way.mark + packet[2:12] + question.name + rest


def _may_be_child(table: Table, prefix: str, label: bytes) -> bool:
    """Whether a label below the zone of `prefix` is that of a child prefix, or leads to one."""
    if zone_prefix((label,)) is None:
        return False
    child = f"{prefix}.{fold_prefix(label.decode())}"
    return table.get(f"{PREFIX_AUTHORITY}/{child}".encode()) is not None or table.is_homed(child) or table.has_prefixes_below(child)


def _advance(seeking: Generator[Identifier, Outcome, Place], outcome: Outcome | None) -> Identifier | Place:
    """The next identifier that a search must know of, or the place that it found. `outcome` is None at its beginning."""
    try:
        return next(seeking) if outcome is None else seeking.send(outcome)
    except StopIteration as found:
        place: Place = found.value
        return place


def _framed(reply: Ready) -> Ready:
    return U16.pack(len(reply)) + reply if isinstance(reply, bytes) else None


async def _framed_later(reply: Coroutine[Any, Any, Ready]) -> Ready:
    return _framed(await reply)
