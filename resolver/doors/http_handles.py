"""`GET /api/handles/{identifier}` and `GET /api/site`: the JSON that deployed clients of the Handle HTTP API read.

    {"responseCode":1,"handle":"88.118.8/ABC","values":[{"index":1,"type":"URL","data":{...},"ttl":86400,"timestamp":"..."}]}

Parameters: `type` and `index`, repeatable and or-ed; `pretty`; `auth` for an answer from no cache. Only public values are shown,
the record's signature (402) among them, so that the asker can verify what it got. Response codes are those of the Handle protocol,
HTTP statuses the deployed ones, of which one surprises: a record without a value of the asked type is 200, with code 200.

The usual question (a whole record that is in the table) does not leave octets: target -> key -> stored record -> JSON text.
"""

import json
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from resolver.core import limits
from resolver.core.cache import AnswerCache
from resolver.core.errors import CorruptError, FormatError, LimitError, StoreError, WaymarkError
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, Failed, NotFound, Outcome, Query, Referral, Refused
from resolver.core.wire.json import iso_time
from resolver.core.wire.json_site import site_to_json
from resolver.core.wire.json_text import public_values_text, quoted, signature_text
from resolver.core.wire.selection import Selection
from resolver.core.wire.site import encode_site
from resolver.core.wire.stored import GONE, read_stored
from resolver.desk import Desk
from resolver.doors.http_elsewhere import http_doors
from resolver.doors.http_reply import STALE, HttpAnswer, HttpReply, json_reply, json_text_reply
from resolver.doors.http_target import read_target, stored_key
from resolver.metrics import OUTCOMES, cell

HANDLES = b"/api/handles/"

_FOUND, _FORMAT, _NOT_FOUND, _NO_VALUES, _NOT_HERE, _REFERRAL = 1, 4, 100, 200, 301, 303
_STATUS = {1: 200, 200: 200, 303: 300, 100: 404, 102: 400, 4: 400, 301: 400, 3: 503, 7: 503, 5: 501}
_COUNT = {outcome: cell("query", "http", outcome) for outcome in OUTCOMES}
_HIT, _MISS = cell("cache", "http", "hit"), cell("cache", "http", "miss")
_ANSWER = _COUNT["answer"]


class Question(NamedTuple):
    """A query, and how its asker spelled it and wants it answered."""

    octets: bytes  # the raw target, under which a ready answer is kept
    name: str
    query: Query
    pretty: bool


class HandlesApi:
    def __init__(self, desk: Desk, cache: AnswerCache[bytes, HttpReply]) -> None:
        self._desk = desk
        self._cache = cache
        self._cache_seconds = desk.config.limits[limits.answer_cache_seconds]
        self._filter_items = desk.config.limits[limits.handle_filter_items]

    def answer(self, octets: bytes, now: float) -> HttpAnswer:
        """The answer to a GET of `octets`, a target that starts with `HANDLES`."""
        cells = self._desk.metrics.cells
        ready = self._cache.get(octets, now)
        if ready is not None:
            cells[_HIT] += 1
            cells[_ANSWER] += 1
            return ready
        cells[_MISS] += 1
        return self._from_table(octets, now) or self._from_anywhere(octets, now)

    def site(self, pretty: bool) -> HttpReply:
        """`GET /api/site`: how this node describes itself."""
        return json_reply(200, {"responseCode": _FOUND, "site": site_to_json(encode_site(self._desk.site))}, pretty=pretty)

    def _from_table(self, octets: bytes, now: float) -> HttpReply | None:
        """The straight way: no parameters, and the record is in the table. None for everything else."""
        table, path = self._desk.table, octets[len(HANDLES) :]
        key = stored_key(path)
        found = table.get(key) if table is not None and key is not None else None
        if key is None or found is None or found[1] & GONE:
            return None
        try:
            stored = read_stored(key, found)
            texts = public_values_text(stored.encoded)
        except (CorruptError, FormatError):
            return None  # the long way tells what is wrong
        texts.append(signature_text(stored.jws.decode(), stored.issued))
        self._desk.metrics.cells[_ANSWER] += 1
        name = (unquote_to_bytes(path) if b"%" in path else path).decode()
        return self._keep(octets, _values_reply(_FOUND, name, texts), key, now + self._cache_seconds)

    def _from_anywhere(self, octets: bytes, now: float) -> HttpAnswer:
        try:
            question = self._question(octets)
        except FormatError as error:
            self._desk.metrics.cells[_COUNT["malformed"]] += 1
            return _code_reply(error.handle_code, None, str(error), status=400)
        try:
            outcome = self._desk.known(question.query)
        except StoreError as error:
            outcome = Failed(error)
        return self._wait(question) if outcome is None else self._encoded(question, outcome, now)

    async def _wait(self, question: Question) -> HttpReply:
        try:
            outcome = await self._desk.resolve(question.query)
        except WaymarkError as error:
            outcome = Failed(error)
        return self._encoded(question, outcome, self._desk.clock())

    def _question(self, octets: bytes) -> Question:
        """Raises FormatError."""
        target = read_target(octets)
        indexes, types = target.all("index"), target.all("type")
        if len(indexes) + len(types) > self._filter_items:
            raise LimitError(f"{len(indexes) + len(types)} indexes and types; at most {self._filter_items} are allowed")
        for index in indexes:
            if not (index.isascii() and index.isdigit() and len(index) <= 10):
                raise FormatError(f"the parameter index must be a whole number, not {index[:40]!r}")
        name = target.path[len(HANDLES) :]
        identifier = Identifier.parse_or_prefix(name)
        query = Query(identifier, tuple(map(int, indexes)), types, authoritative=target.switch("auth"))
        return Question(octets, name, query, target.switch("pretty"))

    # ---- outcomes

    def _encoded(self, question: Question, outcome: Outcome, now: float) -> HttpReply:
        try:
            return self._encode(question, outcome, now)
        except FormatError as error:
            broken = CorruptError(f"the stored record of {question.name} cannot be read: {error}")
            return self._encode(question, Failed(broken), now)

    def _encode(self, question: Question, outcome: Outcome, now: float) -> HttpReply:
        _, name, query, pretty = question
        match outcome:
            case Answer(record, stale=stale, ttl_limit=ttl_limit):
                selection = Selection(query.indexes, map(str.encode, query.types))
                texts = public_values_text(record.encoded + record.signature_octets, selection)
                self._count("answer" if texts else "no-data")
                answer = _values_reply(_FOUND if texts else _NO_VALUES, name, texts, pretty=pretty)
                if stale:
                    return answer.with_header("Warning", STALE)
                if not texts or query.authoritative:  # who asks for an answer from no cache is to get the next one so too
                    return answer
                seconds = self._cache_seconds if ttl_limit is None else min(self._cache_seconds, ttl_limit)
                return self._keep(question.octets, answer, record.key, now + seconds)
            case Referral(prefix, delegation):
                self._count("referral")
                doors = http_doors(delegation, query.identifier)
                message = f"{prefix} is answered for by other servers, those of the HS_SITE values"
                message += f"; over HTTP ask {' or '.join(doors)}" if doors else ""
                texts = public_values_text(delegation.encoded + delegation.signature_octets)
                return _values_reply(_REFERRAL, name, texts, message, pretty)
            case NotFound(_, gone_since):
                self._count("not-found")
                gone = f"deleted at {iso_time(gone_since)}; it is never given to anything else" if gone_since else None
                return _code_reply(_NOT_FOUND, name, gone, pretty)
            case Refused(reason):
                self._count("refused")
                return _code_reply(_NOT_HERE, name, f"{reason}; ask a recursive node, or the root", pretty)
            case Failed(error):
                self._count("failed")
                return _code_reply(error.handle_code, name, str(error), pretty, error.http_status)

    def _keep(self, octets: bytes, answer: HttpReply, key: bytes, expires: float) -> HttpReply:
        self._cache.put(octets, answer, key, len(octets) + len(answer.head) + len(answer.body), expires)
        return answer

    def _count(self, outcome: str) -> None:
        self._desk.metrics.cells[_COUNT[outcome]] += 1


def unknown_endpoint(method: bytes, path: str) -> HttpReply:
    text = f"Unknown HTTP API endpoint {method.decode('ascii', 'replace')} {path}"
    return json_reply(404, {"responseCode": _FORMAT, "message": text})


def _values_reply(code: int, name: str, texts: list[str], message: str | None = None, pretty: bool = False) -> HttpReply:
    said = "" if message is None else f'"message":{quoted(message)},'
    text = f'{{"responseCode":{code},{said}"handle":{quoted(name)},"values":[{",".join(texts)}]}}'
    return json_reply(_STATUS[code], json.loads(text), pretty=True) if pretty else json_text_reply(_STATUS[code], text)


def _code_reply(code: int, name: str | None, message: str | None, pretty: bool = False, status: int = 500) -> HttpReply:
    document = {"responseCode": code, "message": message, "handle": name}
    given = {field: content for field, content in document.items() if content is not None}
    return json_reply(_STATUS.get(code, status), given, pretty=pretty)
