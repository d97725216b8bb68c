"""Connections of the registry's API: where they come in, and what bounds each before a handler sees a request.

aiohttp reads HTTP. What is ours: at most `connections` at once; a connection on which no whole request head arrives
within `http_idle_seconds` is closed; request line and each header at most 8 KiB, 64 headers; bodies are left as they
came, for `body` to unpack within bounds; and what aiohttp cannot read as HTTP is answered with a problem document like
everything else."""

import asyncio
import logging
from typing import Any

from aiohttp import web

from registry.config import RegistryConfig
from registry.documents import to_octets
from registry.problems import RETRY_SECONDS, Problem
from registry.requests import request_id
from resolver.core import limits
from resolver.core.errors import ConfigError

HEADER_OCTETS, HEADERS = 8192, 64
END_SECONDS = 20.0  # for requests under way when the server ends

_log = logging.getLogger("waymark.registry")


class Connection(web.RequestHandler):
    """One connection. What cannot be read as HTTP is refused in our own words."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Called by aiohttp for a request that it could not parse (400), and for what nobody caught (500)."""
        if request.writer.output_size > 0:
            raise ConnectionError("the reply has begun; it can only be broken off")
        if status == 400:
            problem = Problem("bad-request", " ".join((message or "not HTTP").split())[:200])
        else:
            _log.error("request broke outside its handler", exc_info=exc)
            problem = Problem("internal", "this is a fault of the server; its log has more", status=status)
        name = request_id(request)
        response = web.Response(body=to_octets(problem.document(name)), status=status, content_type="application/problem+json")
        response.headers["X-Request-Id"] = name
        response.force_close()
        return response


class Listener:
    """A socket that takes connections for an application."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server) -> None:
        self._runner = runner
        self._server = server
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @classmethod
    async def start(cls, app: web.Application, config: RegistryConfig) -> "Listener":
        """Raises ConfigError if address and port cannot be had."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS)
        await runner.setup()
        loop = asyncio.get_running_loop()
        manager, most = runner.server, config.limits[limits.connections]
        assert manager is not None
        settings: dict[str, Any] = {
            "keepalive_timeout": config.limits[limits.http_idle_seconds],
            "access_log": None, "auto_decompress": False,
            "max_line_size": HEADER_OCTETS, "max_field_size": HEADER_OCTETS, "max_headers": HEADERS,
        }  # fmt: skip

        def connect() -> asyncio.BaseProtocol:
            if len(manager.connections) >= most:
                return _Refuser()
            return Connection(manager, loop=loop, **settings)

        try:
            server = await loop.create_server(connect, config.listen, config.port, backlog=1024, reuse_address=True)
        except OSError as error:
            await runner.cleanup()
            where = f"{config.listen}:{config.port}"
            raise ConfigError(
                f"{config.path}: registry.listen and registry.port: {where} cannot be had: {error.strerror}"
            ) from None
        return cls(runner, server)

    async def close(self) -> None:
        """Takes no more connections, lets requests under way finish, and closes."""
        self._server.close()
        await self._runner.cleanup()
        await self._server.wait_closed()


class _Refuser(asyncio.Protocol):
    """Closes a connection that is one too many, with a word why."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = to_octets(Problem("busy", "too many connections are open").document())
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
            f"Retry-After: {RETRY_SECONDS}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()
