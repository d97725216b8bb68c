"""The registry's HTTP API, /v1: which address is whose, who may come in, and how a refusal leaves. `handlers` does the work.

    request -> its name -> route -> token -> handler -> reply
                 what is raised on the way ---> problem document (RFC 9457)

Every refusal and every fault, aiohttp's own included, leaves through `problem_reply`, so a client meets one shape of
error. Every reply carries X-Request-Id: the client's own, or one made here."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Middleware

from registry.config import RegistryConfig
from registry.connection import Listener
from registry.documents import to_octets
from registry.handlers import Handlers
from registry.metrics import ApiMetrics
from registry.problems import RETRY_SECONDS, Problem, Refusal, problem_of_error
from registry.requests import bearer_secret, refused_secret, request_id
from registry.service import Actor, Service
from resolver.core.errors import WaymarkError

ANY, OPERATOR, OPEN = "any token", "operator's token", "open to all"

_log = logging.getLogger("waymark.registry")
_REQUEST_ID = web.RequestKey("request_id", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One method of one address. `name` is the method of `Handlers` that answers it."""

    method: str
    path: str
    access: str
    name: str


ROUTES = (
    Route("POST", "/v1/identifiers", ANY, "register"),
    Route("GET", "/v1/identifiers", ANY, "list_identifiers"),
    Route("GET", "/v1/identifiers/{identifier}", ANY, "read"),
    Route("PUT", "/v1/identifiers/{identifier}", ANY, "replace"),
    Route("PATCH", "/v1/identifiers/{identifier}", ANY, "patch"),
    Route("DELETE", "/v1/identifiers/{identifier}", ANY, "delete"),
    Route("GET", "/v1/history/{identifier}", ANY, "history"),
    Route("POST", "/v1/bulk", ANY, "bulk"),
    Route("POST", "/v1/prefixes", ANY, "delegate"),
    Route("GET", "/v1/prefixes", ANY, "list_prefixes"),
    Route("GET", "/v1/prefixes/{prefix}", ANY, "read_prefix"),
    Route("POST", "/v1/tokens", OPERATOR, "make_token"),
    Route("GET", "/v1/tokens", OPERATOR, "list_tokens"),
    Route("DELETE", "/v1/tokens/{name}", OPERATOR, "revoke_token"),
    Route("GET", "/v1/openapi.json", OPEN, "openapi"),
    Route("GET", "/v1/problems/{kind}", OPEN, "problem_kind"),
    Route("GET", "/healthz", OPEN, "healthz"),
    Route("GET", "/readyz", OPEN, "readyz"),
    Route("GET", "/metrics", OPEN, "metrics"),
)


async def serve(config: RegistryConfig, ready: Callable[[str], None]) -> None:
    """Runs the registry of `config` until SIGTERM or SIGINT; calls `ready` with its address, http://host:port, once it listens.

    At the end no new request is taken, those under way are finished, and what was acknowledged is committed and published.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    service = await Service.open(config)
    try:
        listener = await Listener.start(make_app(service, config), config)
        try:
            ready(listener.address)
            await ended.wait()
        finally:
            await listener.close()
    finally:
        await service.close()


def make_app(service: Service, config: RegistryConfig) -> web.Application:
    """The application, to be run by `connection.Listener`, which bounds heads, connections and time, and leaves bodies packed."""
    metrics = ApiMetrics()
    handlers = Handlers(service, config.limits, metrics)
    app = web.Application(middlewares=[_answering(metrics)])
    for route in ROUTES:
        path = route.path.replace("{identifier}", "{identifier:.+}")
        handler = getattr(handlers, route.name)
        if route.access != OPEN:
            handler = _with_token(service, route, handler)
        app.router.add_route(route.method, path, handler, expect_handler=_expect)
        if route.method == "GET":
            app.router.add_route("HEAD", path, handler, expect_handler=_expect)

    async def end(_: web.Application) -> None:
        handlers.end()

    app.on_shutdown.append(end)
    app.on_response_prepare.append(_sign)
    return app


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    """What every reply says: which request it answers, and who answers, without versions."""
    response.headers["X-Request-Id"] = request.get(_REQUEST_ID) or request_id(request)
    response.headers["Server"] = "waymark"


def _with_token(service: Service, route: Route, handle: Callable[[web.Request, Actor], Awaitable[web.StreamResponse]]) -> Handler:
    """`handle`, for whoever has a token that opens this route."""

    async def checked(request: web.Request) -> web.StreamResponse:
        actor = await service.actor_of(bearer_secret(request))
        if actor is None:
            raise refused_secret()
        if route.access == OPERATOR and actor.role != "operator":
            raise Refusal("forbidden", f"{route.method} {route.path} is for operators; token {actor.name!r} is a {actor.role}'s")
        return await handle(request, actor)

    return checked


# ---- refusals and faults


def _answering(metrics: ApiMetrics) -> Middleware:
    """The outermost layer: names the request, turns what is raised into a problem document, counts."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = time.perf_counter()
        name = request[_REQUEST_ID] = request_id(request)
        response: web.StreamResponse
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = problem_reply(refusal.problem, name, refusal.headers)
        except WaymarkError as error:
            if error.http_status >= 500:
                _log.error("request %s: %s %s: %s", name, request.method, request.path, error)
            response = problem_reply(problem_of_error(error), name)
        except web.HTTPException as error:
            response = problem_reply(_problem_of_aiohttp(request, error), name, _kept_headers(error))
        except ConnectionError:
            raise  # the client is gone: there is nobody to answer
        except Exception:
            _log.exception("request %s: %s %s broke", name, request.method, request.path)
            response = problem_reply(Problem("internal", "this is a fault of the server; its log has the request_id"), name)
        route = request.match_info.route.resource
        metrics.request("none" if route is None else route.canonical, request.method, response.status, time.perf_counter() - begun)
        return response

    return answer


def problem_reply(problem: Problem, name: str, headers: dict[str, str] | None = None) -> web.Response:
    """`problem` as the reply to the request `name`."""
    sent = dict(headers or {})
    if problem.http_status == 503:
        sent["Retry-After"] = str(RETRY_SECONDS)
    if problem.history:
        sent["Link"] = f'<{problem.history}>; rel="version-history"'
    body = to_octets(problem.document(name))
    return web.Response(body=body, status=problem.http_status, headers=sent, content_type="application/problem+json")


def _problem_of_aiohttp(request: web.Request, error: web.HTTPException) -> Problem:
    match error:
        case web.HTTPNotFound():
            return Problem("no-such-page", f"there is nothing at {request.path[:100]!r}", "address")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem("bad-method", f"{error.method[:20]} is not for this address; it takes {allowed}", "address")
    return Problem("bad-request", f"{error.status} {error.reason}", status=error.status)


def _kept_headers(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


async def _expect(request: web.Request) -> web.Response | None:
    """Answers `Expect: 100-continue`, and refuses any other expectation."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # so that the reply's own head is still seen as the first thing sent
        return None
    refused = Problem("bad-expectation", f"Expect: {request.headers.get('Expect', '')[:40]!r} is not understood", "Expect")
    return problem_reply(refused, request_id(request))
