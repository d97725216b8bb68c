"""The Handle door: resolution and site info over UDP and TCP, for deployed clients of both dialects and for our own.

Three ways to an answer, the cheap ones first:
  1. the question was answered before: the ready answer gets the new ids, and the new digest where one is asked for
  2. the name is the canonical spelling of a record in the table: the answer is written from stored octets, no object per value
  3. everything else: decode, ask the desk, encode; on a recursive node that may mean to wait for other servers

What is said where the protocol leaves a choice:
  * Only public values are answered, whether "public only" was asked for or not, and the response says "public only". Nobody can
    authenticate over Handle yet, so a private value is as good as absent. Administration, sessions and logins get "not supported".
  * A session number in a resolution or site info is repeated and otherwise ignored: one deployed client makes up its own. But a
    message that is encrypted or signed within a session is answered "session unknown", since there is none.
  * Values are answered with the TTL that was signed, from a recursive node too: the TTL is under the signature. How long an answer
    may be kept there is bounded by the node's own cache, not told on the wire.
  * An answer that is older than its TTL, since every server is down, carries a flag of ours (`handle.STALE`).
  * A hashed name (`owner.HashedName`), as a recursive node asks for, is answered with the identifier that it stands for. Any other
    name is repeated as it was asked for.
  * A response is never answered, so that two servers cannot be set upon each other.
  * Who asks for a name that is delegated away gets a referral; who would fail on one (`follows_referrals`) gets "not responsible",
    with the servers named in the text. Neither kind of node that answers from a table asks others.
  * "Certified" and "encrypt" are repeated but not done: this server has no key of its own. Records carry their own signatures.
"""

from collections.abc import Coroutine
from struct import Struct
from typing import Any, NamedTuple

from resolver.core import limits
from resolver.core.cache import AnswerCache
from resolver.core.errors import CorruptError, FormatError, WaymarkError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier
from resolver.core.message import Answer, Failed, NotFound, Outcome, Query, Referral, Refused
from resolver.core.owner import HashedName, decode_name
from resolver.core.wire import bodies
from resolver.core.wire.fragments import PIECE_OCTETS, Reassembler
from resolver.core.wire.framing import pack_data
from resolver.core.wire.handle import (
    AUTHORITATIVE,
    BODY_AT,
    COMPRESSED,
    ENCRYPTED,
    ENVELOPE_OCTETS,
    RECURSIVE,
    TRUNCATED,
    Code,
    Message,
    Op,
    decode_envelope,
    decode_message,
    follows_referrals,
)
from resolver.core.wire.reply import MESSAGE_OCTETS, Finished, addressed, finish, repeated
from resolver.core.wire.selection import Selection
from resolver.core.wire.site import encode_site
from resolver.core.wire.stored import GONE
from resolver.desk import Desk
from resolver.doors import Ready, Reply
from resolver.doors.handle_body import (
    EVERYTHING,
    NO_LISTS,
    NO_SESSION,
    not_found,
    not_supported,
    resolved,
    resolved_from_stored,
    served_elsewhere,
)
from resolver.metrics import OUTCOMES, cell
from resolver.table import Table

# Envelope (version bits, session, request, sequence, length), header, and the length of the name that a resolution begins with.
_REQUEST = Struct(">4sIIIIIIIHBBIII")
_NAME_AT = _REQUEST.size
_NO_CREDENTIAL = bytes(4)
_KEPT_OCTETS = 256  # of a kept reply, apart from its body: headers, and the objects
_KEY_OCTETS = 500  # the longest key that the table takes as it is
_RESOLUTION, _SUCCESS = int(Op.RESOLUTION), int(Code.SUCCESS)  # an enum's member costs the short way more than it is worth
_HANDED_ON_MAX = limits.handle_recursion_count.default
_NOT_PLAIN = COMPRESSED | ENCRYPTED | TRUNCATED


class _Way:
    """How answers leave: in datagrams, or whole when `datagrams` is 0. And the counters of that way."""

    def __init__(self, door: str, datagrams: int) -> None:
        self.whole = not datagrams
        self.mark = b"" if datagrams else b"stream"  # ends the question of a kept reply, so that the ways do not mix
        self.octets_max = min(datagrams * PIECE_OCTETS or MESSAGE_OCTETS, MESSAGE_OCTETS)
        self.outcomes = {outcome: cell("query", door, outcome) for outcome in OUTCOMES}
        self.answer = self.outcomes["answer"]
        self.hit, self.miss = cell("cache", door, "hit"), cell("cache", door, "miss")


class _Asked(NamedTuple):
    """A resolution, read: what is needed to finish its answer, now or after others were asked."""

    octets: bytes
    message: Message
    name: bytes | None  # to be repeated; None for one that is answered with the record's own
    selection: Selection
    way: _Way


class HandleDoor:
    """Answers Handle messages. `cache` holds ready answers: question without ids and expiration -> finished response."""

    def __init__(self, desk: Desk) -> None:
        bounds = desk.config.limits
        self.desk = desk
        self.cache: AnswerCache[bytes, Finished] = AnswerCache(desk.answers)
        self._cache_seconds = bounds[limits.answer_cache_seconds]
        self._filter_items = bounds[limits.handle_filter_items]
        self._udp = _Way("handle-udp", bounds[limits.handle_datagrams])
        self._tcp = _Way("handle-tcp", 0)
        self._pieces = Reassembler(
            bounds[limits.handle_fragment_sets], bounds[limits.handle_fragment_seconds], limits.handle_request_octets.default
        )

    def answer_datagram(self, packet: bytes, source: tuple[Any, ...], now: float) -> Reply:
        """The reply to one datagram from `source`; None while the rest of its request is to come, and for what is no request."""
        reply = self._at_once(packet, self._udp, now)
        if reply is not None:
            return reply
        try:
            whole = self._pieces.add(source, packet, now)
        except FormatError as error:
            if len(packet) < ENVELOPE_OCTETS:
                self._drop(self._udp)
                return None
            return self._error(packet, Code.PROTOCOL_ERROR, str(error), "malformed", self._udp, now)
        return None if whole is None else self._answer(whole, self._udp, now)

    def answer_stream(self, message: bytes, source: tuple[Any, ...], now: float) -> Reply:  # noqa: ARG002
        """The reply to one whole message, or to octets that can be none; None for a response."""
        return self._at_once(message, self._tcp, now) or self._answer(message, self._tcp, now)

    def message_octets(self, buffer: bytes) -> int:
        """Octets of the first message in `buffer`, 0 while unknown. Raises FormatError if it can never be one."""
        if len(buffer) >= ENVELOPE_OCTETS:
            return ENVELOPE_OCTETS + decode_envelope(buffer).length
        if buffer and buffer[0] not in (2, 5):
            raise FormatError(f"a Handle message begins with its version, 2; octet {buffer[0]:#04x} came")
        return 0

    def forget(self, keys: list[bytes] | None) -> None:
        """The table changed: answers from these records are no longer ready."""
        self.cache.forget(keys)

    # ---- the short ways

    def _at_once(self, packet: bytes, way: _Way, now: float) -> Ready:
        """The answer if it is ready or can be written from the table without more ado, else None."""
        question = packet[:4] + packet[12:36] + packet[40:] + way.mark
        finished = self.cache.get(question, now)
        if finished is None:
            return self._from_table(packet, question, way, now)
        cells = self.desk.metrics.cells
        cells[way.hit] += 1
        cells[way.answer] += 1
        return repeated(finished, packet)

    def _from_table(self, packet: bytes, question: bytes, way: _Way, now: float) -> Ready:
        """The answer from the table, if `packet` is a plain resolution of a record under its canonical spelling, else None."""
        table = self.desk.table
        if table is None or len(packet) < _NAME_AT + len(NO_LISTS):
            return None
        head, _, _, sequence, length, op, code, _, _, recursion, _, _, body_octets, name_octets = _REQUEST.unpack_from(packet)
        name_end = _NAME_AT + name_octets
        body_end = BODY_AT + body_octets
        if (
            op != _RESOLUTION
            or code
            or sequence
            or length != len(packet) - ENVELOPE_OCTETS
            or not 0 < name_octets <= _KEY_OCTETS
            or name_end + len(NO_LISTS) > body_end
            or recursion > _HANDED_ON_MAX
            or head[0] != 2
            or head[2] & _NOT_PLAIN
            or (body_end != len(packet) and packet[body_end:] != _NO_CREDENTIAL)
        ):
            return None
        name = packet[_NAME_AT:name_end]
        octets = table.get(name)
        if octets is None:
            return self._absent(packet, name, table, way, now)
        if octets[1] & GONE or b"\0" in name:
            return None
        name_field, lists = packet[BODY_AT:name_end], packet[name_end:body_end]
        try:
            body = resolved_from_stored(name_field, lists, self._filter_items, name, octets)
        except WaymarkError:
            return None
        if body is None:
            return None  # here and above: the long way says what is wrong
        finished = finish(packet, _SUCCESS, body, self.desk.site.serial, int(now), True, way.octets_max, way.whole)
        self.cache.put(question, finished, name, len(question) + len(body) + _KEPT_OCTETS, now + self._cache_seconds)
        cells = self.desk.metrics.cells
        cells[way.miss] += 1
        cells[way.answer] += 1
        return addressed(finished, packet)

    def _absent(self, packet: bytes, name: bytes, table: Table, way: _Way, now: float) -> Ready:
        """That there is no such identifier, if that is plain: a name of ASCII below a homed prefix, with no other spelling."""
        prefix, _, suffix = name.decode("latin-1").partition("/")
        if (
            not (prefix and suffix)
            or len(name) > limits.identifier_characters.default
            or not (suffix.isascii() and suffix.isprintable())
            or prefix == PREFIX_AUTHORITY
            or not table.is_homed(prefix)
        ):
            return None
        self.desk.metrics.cells[way.miss] += 1
        return self._error(packet, Code.NOT_FOUND, not_found(prefix), "not-found", way, now, authoritative=True)

    # ---- the long way

    def _answer(self, octets: bytes, way: _Way, now: float) -> Reply:
        """The reply to one whole message, whatever it is."""
        self.desk.metrics.cells[way.miss] += 1
        try:
            if decode_envelope(octets).flags & ENCRYPTED:
                return self._error(octets, Code.SESSION_UNKNOWN, NO_SESSION, "refused", way, now)
            message = decode_message(octets)
        except FormatError as error:
            return self._error(octets, Code.PROTOCOL_ERROR, str(error), "malformed", way, now)
        if message.code:
            self._drop(way)
            return None
        if message.recursion > _HANDED_ON_MAX:
            text = f"handed on by {message.recursion} servers; at most {_HANDED_ON_MAX} are allowed"
            return self._error(octets, Code.RECURSION_TOO_HIGH, text, "refused", way, now)
        if not message.op:
            return self._error(octets, Code.PROTOCOL_ERROR, "operation 0 is none", "malformed", way, now)
        if message.op not in (Op.RESOLUTION, Op.SITE_INFO):
            return self._error(octets, Code.NOT_SUPPORTED, not_supported(message.op), "refused", way, now)
        if message.session_id and message.credential:
            return self._error(octets, Code.SESSION_UNKNOWN, NO_SESSION, "refused", way, now)
        try:
            if message.op == Op.SITE_INFO:
                bodies.decode_site_info_request(message.body)
                return self._say(octets, Code.SUCCESS, encode_site(self.desk.site), "answer", way, now)
            request = bodies.decode_resolution_request(message.body, self._filter_items)
            query = _query(request, message)
        except FormatError as error:
            return self._error(octets, error.handle_code, str(error), "malformed", way, now)
        name = None if isinstance(query.identifier, HashedName) else request.name
        asked = _Asked(octets, message, name, Selection(request.indexes, request.types), way)
        try:
            outcome = self.desk.known(query)
        except WaymarkError as error:
            outcome = Failed(error)
        return self._wait(asked, query) if outcome is None else self._tell(outcome, asked, now)

    def _wait(self, asked: _Asked, query: Query) -> Coroutine[Any, Any, Ready]:
        async def answer() -> Ready:
            try:
                outcome = await self.desk.resolve(query)
            except WaymarkError as error:
                outcome = Failed(error)
            return self._tell(outcome, asked, self.desk.clock())

        return answer()

    def _tell(self, outcome: Outcome, asked: _Asked, now: float) -> Ready:
        """The reply that says `outcome`."""
        octets, way = asked.octets, asked.way
        body: bytes | None = None
        try:
            if isinstance(outcome, Answer):
                body = resolved(pack_data(asked.name or outcome.record.key), outcome.record, asked.selection)
            elif isinstance(outcome, Referral):
                body = resolved(pack_data(outcome.delegation.key), outcome.delegation, EVERYTHING)
        except CorruptError as corrupt:
            outcome = Failed(corrupt)
        match outcome:
            case Answer(record, authoritative, stale, ttl_limit):
                if body is None:
                    return self._error(octets, Code.VALUES_NOT_FOUND, "no public value is what was asked for", "no-data", way, now)
                serial = self.desk.site.serial
                finished = finish(octets, _SUCCESS, body, serial, int(now), authoritative, way.octets_max, way.whole, stale)
                seconds = self._cache_seconds if ttl_limit is None else min(self._cache_seconds, ttl_limit)
                if not stale and (authoritative or not asked.message.flags & AUTHORITATIVE):
                    question = octets[:4] + octets[12:36] + octets[40:] + way.mark
                    self.cache.put(question, finished, record.key, len(question) + len(body) + _KEPT_OCTETS, now + seconds)
                self.desk.metrics.cells[way.answer] += 1
                return addressed(finished, octets)
            case Referral() if follows_referrals(asked.message):
                assert body is not None, "everything includes at least the signature"
                return self._say(octets, Code.PREFIX_REFERRAL, body, "referral", way, now)
            case Referral(prefix, delegation):
                return self._error(octets, Code.NOT_RESPONSIBLE, served_elsewhere(prefix, delegation), "referral", way, now)
            case NotFound(zone, gone_since, authoritative):
                return self._error(octets, Code.NOT_FOUND, not_found(zone, gone_since), "not-found", way, now, authoritative)
            case Refused(reason):
                return self._error(octets, Code.NOT_RESPONSIBLE, reason, "refused", way, now)
            case Failed(error):
                return self._error(octets, error.handle_code, str(error), "failed", way, now)

    # ---- finishing

    def _error(
        self, request: bytes, code: int, text: str, outcome: str, way: _Way, now: float, authoritative: bool | None = None
    ) -> Ready:
        return self._say(request, code, bodies.encode_error(text), outcome, way, now, authoritative)

    def _say(
        self, request: bytes, code: int, body: bytes, outcome: str, way: _Way, now: float, authoritative: bool | None = None
    ) -> Ready:
        """A reply that is not kept. `request` may be any octets; what it lacks counts as zero."""
        self.desk.metrics.cells[way.outcomes[outcome]] += 1
        request = request.ljust(BODY_AT, b"\0")
        is_primary = self.desk.table is not None if authoritative is None else authoritative
        return addressed(
            finish(request, code, body, self.desk.site.serial, int(now), is_primary, way.octets_max, way.whole), request
        )

    def _drop(self, way: _Way) -> None:
        self.desk.metrics.cells[way.outcomes["dropped"]] += 1


def _query(request: bodies.ResolutionRequest, message: Message) -> Query:
    """Raises IdentifierError. A name without a slash is a prefix, and means its record, as deployed clients ask for it."""
    name = request.name
    if b"/" in name or len(name) > limits.identifier_octets.default or not name.isascii():
        identifier = decode_name(name)
    else:
        identifier = Identifier.parse_or_prefix(name.decode())
    types = tuple(type_.decode(errors="replace") for type_ in request.types)
    return Query(identifier, request.indexes, types, authoritative=bool(message.flags & AUTHORITATIVE),
                 recursive=bool(message.flags & RECURSIVE))  # fmt: skip
