"""`GET /{identifier}`: a redirect to where the record points, the record as a page, or record and verdict as JSON.

There is a redirect only for a record that was verified, and only to http or https. `?noredirect` shows the page instead; so does a
record without such a URL, and one that fails to verify: then the page says so loudly, with status 502.
"""

from email.utils import formatdate
from html import escape
from typing import Any
from urllib.parse import quote

from resolver.core.errors import IdentifierError
from resolver.core.identifier import Identifier
from resolver.core.message import Answer, Failed, NotFound, Referral, Refused
from resolver.core.record import Value, remaining_ttl
from resolver.core.wire.json import iso_time, value_to_json
from resolver.desk import Desk
from resolver.doors.http_elsewhere import http_doors
from resolver.doors.http_reply import HTML, STALE, Headers, HttpAnswer, HttpReply, json_reply, problem, reply
from resolver.doors.http_target import Target, quoted_path
from resolver.doors.http_view import View, Viewer
from resolver.doors.pages import VARY, Reader, reader_of, weight_of
from resolver.doors.pages.notice import bad_identifier_page, notice_page
from resolver.doors.pages.record import record_page
from resolver.metrics import OUTCOMES, cell

_COUNT = {outcome: cell("query", "http", outcome) for outcome in OUTCOMES}
_SCHEMES = ("hdl:", "doi:", "id:")  # what scanners and people put in front


class RecordDoor:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._viewer = Viewer(desk)

    def answer(self, target: Target, headers: Headers) -> HttpAnswer:
        """The answer to a GET of a path that is none of the node's own."""
        switches = "&noredirect" if target.switch("noredirect") else ""
        languages = headers.get(b"accept-language", b"").decode("latin-1")
        reader = reader_of(languages, target.first("lang"), quoted_path(target.path[1:]), switches)
        as_json = prefers_json(headers.get(b"accept", b"").decode("latin-1"))
        name = target.path[1:]
        for scheme in _SCHEMES:
            name = name[len(scheme) :] if name.lower().startswith(scheme) else name
        try:
            identifier = Identifier.parse_or_prefix(name)
        except IdentifierError as error:
            self._desk.metrics.cells[_COUNT["malformed"]] += 1
            if as_json:
                return problem(400, str(error), VARY, responseCode=error.handle_code, suggestion=error.suggestion)
            return bad_identifier_page(error, reader, self._desk)
        return self._answer(identifier, reader, as_json, redirect=not as_json and not switches)

    async def _answer(self, identifier: Identifier, reader: Reader, as_json: bool, redirect: bool) -> HttpReply:
        view = await self._viewer.see(identifier, in_full=not redirect)
        url = view.url if redirect and view.verdict.verified else None
        if url is None and redirect and view.verdict.verified:
            view = await self._viewer.see(identifier, in_full=True)  # a page after all
        self._desk.metrics.cells[_COUNT[_counted(view)]] += 1
        if url is not None:
            answer = _redirect(url, self._desk.clock())
        elif as_json:
            answer = _document(view)
        elif isinstance(view.outcome, Answer):
            answer = record_page(_status(view), view, reader, self._desk)
        else:
            answer = notice_page(_status(view), view, reader, self._desk)
        return answer.with_header("Warning", STALE) if view.stale else answer


def prefers_json(accept: str) -> bool:
    """Whether JSON is asked for by name and wanted more than HTML (RFC 9110, 12.5.1)."""
    weights = {"application/json": 0.0, "text/html": 0.0}
    for part in accept.split(",")[:64]:
        media, _, parameters = part.partition(";")
        kind = "application/json" if (media := media.strip().lower()) == "application/problem+json" else media
        if kind in weights:
            weights[kind] = max(weights[kind], weight_of(parameters.rpartition(";")[2]))
    return weights["application/json"] > weights["text/html"]


def _redirect(value: Value, now: float) -> HttpReply:
    location = quote(value.data.decode(), safe="!#$%&'()*+,/:;=?@[]~-._")
    body = f'<!doctype html><title>302</title><a href="{escape(location)}">{escape(location)}</a>\n'
    expires = formatdate(int(now) + remaining_ttl(value, int(now)), usegmt=True)
    return reply(302, body.encode(), HTML, ("Location", location), ("Expires", expires), VARY)


def _status(view: View) -> int:
    match view.outcome:
        case Answer():
            return 200 if view.verdict.verified else 504 if view.verdict.reason == "unreachable" else 502
        case NotFound(gone_since=gone_since):
            return 404 if gone_since is None else 410
        case Referral():
            return 300
        case Refused():
            return 400
        case Failed(error):
            return error.http_status


def _counted(view: View) -> str:
    match view.outcome:
        case Answer():
            return "answer" if view.verdict.verified else "failed"
        case NotFound():
            return "not-found"
        case Referral():
            return "referral"
        case Refused():
            return "refused"
        case Failed():
            return "failed"


# ---- JSON


def _document(view: View) -> HttpReply:
    """Record and verdict; a problem document (RFC 9457) where there is no record."""
    identifier = str(view.identifier)
    common: dict[str, Any] = {
        "verdict": view.verdict._asdict(),
        "chain": [
            {"identifier": str(link.identifier), "issuer": link.issuer, "serial": link.serial, "expires": iso_time(link.expires)}
            for link in view.chain
        ],
        "steps": [
            {"server": step.server, "asked": step.asked, "said": step.said, "milliseconds": round(step.milliseconds, 3)}
            for step in view.steps
        ],
    }
    match view.outcome:
        case Answer(record, stale=stale):
            found = {
                "identifier": identifier,
                "values": [value_to_json(value) for value in view.values],
                "serial": record.serial,
                "issued": iso_time(view.issued),
                "expires": iso_time(record.expires),
                "stale": stale,
            }
            return json_reply(_status(view), found | common, VARY)
        case NotFound(zone, gone_since):
            gone = {"goneSince": iso_time(gone_since)} if gone_since else {}
            said = "this identifier was deleted, and is never given to anything else" if gone else f"{zone} has no such identifier"
            return problem(_status(view), said, VARY, identifier=identifier, **common, **gone, responseCode=100)
        case Referral(prefix, delegation):
            ask = http_doors(delegation, view.identifier)
            said = f"{prefix} is delegated to other servers; see ask" if ask else f"{prefix} is delegated to other servers"
            return problem(_status(view), said, VARY, identifier=identifier, **common, ask=ask, responseCode=303)
        case Refused(reason):
            return problem(
                _status(view),
                f"{reason}; ask a recursive node, or the root",
                VARY,
                identifier=identifier,
                **common,
                responseCode=301,
            )
        case Failed(error):
            return problem(_status(view), str(error), VARY, identifier=identifier, **common, responseCode=error.handle_code)
