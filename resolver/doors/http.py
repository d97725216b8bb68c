"""The HTTP door: which answer belongs to which path. Read only.

    /api/handles/{identifier}     JSON, as deployed clients of the Handle HTTP API read it    (http_handles)
    /api/site                     how this node describes itself
    /{identifier}                 redirect, record page, or record and verdict as JSON        (http_record, pages)
    /  /healthz  /readyz  /metrics  /favicon.ico  /robots.txt                                 (http_node)

Names of the node's own pages have no slash in them, so that no identifier is hidden by one. Browsers of any origin may read.
"""

from collections.abc import Coroutine
from typing import Any

from resolver.core.cache import AnswerCache
from resolver.core.errors import FormatError
from resolver.desk import Desk
from resolver.doors.http_handles import HANDLES, HandlesApi, unknown_endpoint
from resolver.doors.http_node import Gauges, NodePages
from resolver.doors.http_record import RecordDoor
from resolver.doors.http_reply import TEXT, Headers, HttpAnswer, HttpReply, json_reply, problem, reply
from resolver.doors.http_target import Target, origin_form, read_target
from resolver.doors.pages import ICON
from resolver.metrics import cell

_READING = (b"GET", b"HEAD")
_ALLOWED = "GET, HEAD, OPTIONS"
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET,POST,HEAD,PUT,DELETE"),
    ("Access-Control-Allow-Headers", "X-Requested-With,Authorization,Origin,Accept,Content-Type"),
    ("Access-Control-Max-Age", "86400"),
    ("Allow", _ALLOWED),
)
_MALFORMED = cell("query", "http", "malformed")
_ROBOTS = b"User-agent: *\nDisallow: /api/\n"


class HttpDoor:
    def __init__(self, desk: Desk, gauges: Gauges = dict) -> None:
        """`gauges` are further figures of the node for /metrics, read when asked for."""
        self._desk = desk
        self.cache: AnswerCache[bytes, HttpReply] = AnswerCache(desk.answers)
        self._handles = HandlesApi(desk, self.cache)
        self._records = RecordDoor(desk)
        self._node = NodePages(desk, self.cache, gauges)

    def answer(self, method: bytes, target: bytes, headers: Headers, now: float) -> HttpAnswer:
        """The answer to one request, whole but for what the connection adds. Never raises for anything a request can hold."""
        if method in _READING and target.startswith(HANDLES):  # what programs ask all day
            answer = self._handles.answer(target, now)
        else:
            try:
                answer = self._other(method, origin_form(target), headers, now)
            except FormatError as error:
                self._desk.metrics.cells[_MALFORMED] += 1
                answer = problem(400, str(error))
        origin = headers.get(b"origin")
        if origin is None:
            return answer
        return _shared(answer, origin) if isinstance(answer, HttpReply) else _shared_later(answer, origin)

    def forget(self, keys: list[bytes] | None) -> None:
        """The records of these keys changed; None: any may have."""
        self.cache.forget(keys)

    def _other(self, method: bytes, octets: bytes, headers: Headers, now: float) -> HttpAnswer:
        if method == b"OPTIONS":
            return reply(200, b"", TEXT, *_PREFLIGHT)
        target = read_target(octets)
        if method not in _READING:
            self._desk.metrics.cells[_MALFORMED] += 1
            return _not_allowed(method, target)
        if octets.startswith(HANDLES):
            return self._handles.answer(octets, now)
        match target.path:
            case "/":
                octets = octets.replace(b"+", b"%20")  # a form's spaces
                return self._node.start(read_target(octets), headers.get(b"accept-language", b"").decode("latin-1"))
            case "/api/site":
                return self._handles.site(target.switch("pretty"))
            case "/healthz":
                return self._node.healthy()
            case "/readyz":
                return self._node.ready()
            case "/metrics":
                return self._node.metrics()
            case "/favicon.ico":
                return reply(200, ICON, "image/svg+xml", ("Cache-Control", "max-age=86400"))
            case "/robots.txt":
                return reply(200, _ROBOTS, TEXT)
            case "/api" | "/api/":
                return unknown_endpoint(method, target.path)
            case path if path.startswith("/api/"):
                return unknown_endpoint(method, path)
            case _:
                return self._records.answer(target, headers)


def _not_allowed(method: bytes, target: Target) -> HttpReply:
    said = f"{method.decode()} is not offered here; this door answers {_ALLOWED}. Changes go to the registry's API."
    if target.path.startswith("/api/"):
        return json_reply(405, {"responseCode": 5, "message": said}, ("Allow", _ALLOWED))
    return problem(405, said, ("Allow", _ALLOWED))


def _shared(answer: HttpReply, origin: bytes) -> HttpReply:
    """Echoes the origin, so that its scripts may read the answer (Fetch, CORS protocol). No credentials are involved."""
    return answer.with_header("Access-Control-Allow-Origin", origin.decode("latin-1")).with_header("Vary", "Origin")


async def _shared_later(answer: Coroutine[Any, Any, HttpReply], origin: bytes) -> HttpReply:
    return _shared(await answer, origin)
