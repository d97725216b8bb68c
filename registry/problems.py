"""What goes wrong at the registry's API, as problem documents (RFC 9457).

A problem has a *kind*: a short word that programs compare, with a fixed HTTP status, a title, and what to do next.
`KINDS` is the whole list; the API shows each at `/v1/problems/<kind>`, which is also the `type` of the documents. What is
particular about one occurrence is its `detail` (a sentence: what was expected, what came) and its `place` (where in the
request: `values[3].data.value`).

    {"type": "/v1/problems/stale", "title": "The record has changed since", "status": 412, "detail": "…", "place": "If-Match",
     "next": "Read the record again, …", "request_id": "…"}
"""

import re
from typing import Any, NamedTuple
from urllib.parse import quote

from registry.documents import JsonError
from registry.registration import Rejected
from resolver.core.errors import FormatError, IdentifierError, LimitError, OverloadError, WaymarkError


class Kind(NamedTuple):
    """What all problems of one kind have in common."""

    status: int
    title: str
    next: str


KINDS: dict[str, Kind] = {
    # ---- the request as such
    "bad-request": Kind(400, "The request is not HTTP as this server reads it", "Check the request line, headers and framing."),
    "bad-json": Kind(400, "The body is not JSON", "Send one JSON document in UTF-8; the detail says where reading stopped."),
    "bad-document": Kind(400, "The document does not have the expected shape", "Compare it with the schema in /v1/openapi.json."),
    "bad-identifier": Kind(400, "This is no identifier", "Write it as prefix/suffix; the detail names the rule that it breaks."),
    "bad-parameter": Kind(400, "A query parameter cannot be used", "Compare it with /v1/openapi.json."),
    "bad-header": Kind(400, "A header cannot be used", "Compare it with /v1/openapi.json."),
    "bad-encoding": Kind(400, "The compressed body cannot be unpacked", "Send the body again, or send it uncompressed."),
    "no-token": Kind(
        401, "A token is needed", "Send 'Authorization: Bearer <token>'; an operator makes tokens with POST /v1/tokens."
    ),
    "bad-token": Kind(
        401, "This token is not valid", "Check that it was copied whole; if it was revoked, ask an operator for another."
    ),
    "forbidden": Kind(403, "This token does not allow it", "Use a token of the prefix's own registrant, or ask an operator."),
    "no-such-page": Kind(404, "There is nothing at this address", "GET /v1/openapi.json lists what there is."),
    "bad-method": Kind(405, "This address does not take this method", "The header Allow lists those that it takes."),
    "slow-body": Kind(408, "The body did not arrive in time", "Send the request again on a better line, or send less at a time."),
    "too-large": Kind(413, "This is larger than allowed", "Send less at a time; `waymark limits` lists the bounds."),
    "bad-media-type": Kind(415, "The body is of a type that is not read here", "Set the Content-Type that the detail names."),
    "bad-expectation": Kind(417, "This expectation cannot be met", "Send 'Expect: 100-continue' or no such header."),
    # ---- what the service decides
    "not-found": Kind(404, "There is no such identifier", "Register it first with POST /v1/identifiers."),
    "no-such-prefix": Kind(404, "There is no such prefix here", "GET /v1/prefixes lists those that this registry knows."),
    "no-such-token": Kind(404, "There is no such token", "GET /v1/tokens lists those that exist."),
    "exists": Kind(
        409,
        "The identifier exists with other values",
        "PUT (--replace on the command line) replaces the record; GET shows what it holds now.",
    ),
    "name-taken": Kind(409, "The name is taken by another", "Choose another name; the detail says which one holds it."),
    "gone": Kind(
        410, "The identifier was deleted and is not given away again", "Register another one; its history stays readable."
    ),
    "stale": Kind(412, "The record has changed since", "GET the record, decide again, and send its new ETag in If-Match."),
    "not-homed": Kind(
        422, "This registry does not keep that prefix", "Send the request to the prefix's own registry, or delegate it."
    ),
    "invalid-value": Kind(422, "A value breaks a rule", "Correct the value that place names."),
    "bad-proof": Kind(
        422, "The proof does not show that the child holds its key", "Make it again on the child: `waymark keygen --proof`."
    ),
    "idempotency-key-reused": Kind(
        422, "This Idempotency-Key was used for another request", "Use a new key for every new request; repeat one only to retry."
    ),
    # ---- the server's own state
    "internal": Kind(500, "Something broke in the server", "Try again; if it stays, give the operator the request_id."),
    "busy": Kind(503, "The server has too much to do", "Send the same request again after Retry-After seconds."),
    "unavailable": Kind(503, "The server cannot do this now", "Send the same request again after Retry-After seconds."),
    "stalled": Kind(
        503, "The stream stood still for too long", "Send the unanswered lines again; what is registered is not doubled."
    ),
}
PLACE = "/v1/problems/"
RETRY_SECONDS = 1


_PLACE_OF = re.compile(r"([a-z_]+(?:\[[0-9]+\]|\.[A-Za-z_]+)*): ")


class Problem(NamedTuple):
    """One occurrence. `status` replaces the kind's where the occurrence knows better; `history` is a link."""

    kind: str
    detail: str
    place: str = ""
    status: int = 0
    history: str = ""

    @property
    def http_status(self) -> int:
        return self.status or KINDS[self.kind].status

    def document(self, request_id: str = "") -> dict[str, Any]:
        """The problem document. Members that would be empty are left out."""
        kind = KINDS[self.kind]
        document: dict[str, Any] = {
            "type": PLACE + self.kind,
            "title": kind.title,
            "status": self.http_status,
            "detail": self.detail,
        }
        if self.place:
            document["place"] = self.place
        document["next"] = kind.next
        if self.history:
            document["history"] = self.history
        if request_id:
            document["request_id"] = request_id
        return document


class Refusal(Exception):  # noqa: N818  # it refuses a request; nothing of ours is in error
    """Ends the handling of a request with a problem. Raised anywhere in a handler, answered in one place: `api`."""

    def __init__(self, kind: str, detail: str, place: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(kind, detail, place)
        self.headers = headers or {}

    @classmethod
    def of(cls, problem: Problem) -> "Refusal":
        refusal = cls(problem.kind, problem.detail)
        refusal.problem = problem
        return refusal


def problem_of_rejection(rejected: Rejected, name: str) -> Problem:
    """What the service decided about the identifier `name`, as a problem. Of a gone one it carries the link to its history."""
    history = history_of(name) if rejected.code == "gone" else ""
    return Problem(rejected.code, rejected.text, rejected.place, rejected.http_status, history)


def history_of(name: str) -> str:
    """Where the history of the identifier `name` is read: its slash literal, the rest of the suffix percent-encoded once."""
    return address_of("/v1/history/", name)


def address_of(resource: str, name: str) -> str:
    """The address of an identifier below `resource`."""
    prefix, _, suffix = name.partition("/")
    return f"{resource}{prefix}/{quote(suffix, safe='/:@!$&()*+,;=')}"


def problem_of_error(error: WaymarkError) -> Problem:
    """What broke, as a problem. The decoders begin their text with the place; here it stands by itself too."""
    found = _PLACE_OF.match(str(error))
    place = found[1] if found else ""
    match error:
        case IdentifierError():
            kind, place = "bad-identifier", "identifier"
        case JsonError():
            kind = "bad-json"
        case LimitError():
            kind = "too-large"
        case FormatError():
            kind = "bad-document"
        case OverloadError():
            kind = "busy"
        case _:
            kind = "unavailable" if error.http_status == 503 else "internal"
    return Problem(kind, str(error), place)
