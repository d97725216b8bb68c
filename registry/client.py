"""A client of the registry's HTTP API (`/v1`), for programs that register: the command line, the import, the demo.

    async with RegistryClient("http://127.0.0.1:8080", token) as registry:
        record = await registry.register("88.118.8/ABC", [{"index": 1, "type": "URL", "data": "https://example.org/"}])

Documents go in and come out as the API has them (`schemas/`). What the registry refuses is raised as a `RefusedError` with the
registry's own words (RFC 9457). A request is sent again only if that cannot do harm: it gives the same result twice, or it carries
an Idempotency-Key; and then only when the line broke or the registry was busy.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from resolver.cause import cause
from resolver.core import limits
from resolver.core.errors import ConfigError, ConflictError, FormatError, OverloadError, UnreachableError, WaymarkError

CONNECT_SECONDS = 5
REPLY_SECONDS = 30
BULK_REPLY_SECONDS = 90  # longer than the registry waits for the next line before it says that the stream stalled
TRIES = 4
FIRST_WAIT_SECONDS = 0.1  # before the second try, then twice as long each time

Document = dict[str, Any]

_NDJSON = {"Content-Type": "application/x-ndjson"}
_LITERAL = "/:@!$&()*+,;="  # what stays as it is in the path of an identifier's address
_BROKEN_LINE = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError, TimeoutError)


class RefusedError(WaymarkError):
    """The registry refused a request. `kind` is its word for programs, `next_step` its advice for people."""

    def __init__(self, kind: str, status: int, detail: str, place: str = "", next_step: str = "") -> None:
        super().__init__(
            f"the registry refused: {detail}" + (f" (at {place})" if place else "") + (f". {next_step}" if next_step else "")
        )
        self.kind, self.http_status, self.detail, self.place, self.next_step = kind, status, detail, place, next_step


class TokenRefusedError(RefusedError, ConfigError):
    """401: the token is missing, unknown or revoked; 403: it does not allow this."""


class NotRegisteredError(RefusedError):
    """404: there is no such identifier, prefix or token; 410: there was, and it is not given away again."""


class InConflictError(RefusedError, ConflictError):
    """409 and 412: what stands there is not what the request supposes."""


class MalformedError(RefusedError, FormatError):
    """Another 4xx: the request or a value in it breaks a rule."""


class BusyError(RefusedError, OverloadError):
    """5xx: the registry cannot do it now; the same request may succeed later."""


class RegistryClient:
    """To be used in an `async with`. `url` is the registry's: scheme, host and port."""

    def __init__(self, url: str, token: str) -> None:
        """Raises ConfigError if `url` is not the address of a registry, or the token cannot be sent."""
        try:
            address = URL(url)
        except ValueError:
            address = URL()
        if address.scheme not in ("http", "https") or not address.host or address.path not in ("/", "/v1", "/v1/") or address.query:
            raise ConfigError(f"the registry's address must be like http://127.0.0.1:8080, not {url!r}")
        self.url = str(address.origin())
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError("the token must be the secret as it was shown, in ASCII and without line ends")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=REPLY_SECONDS, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    # ---- one identifier

    async def register(self, identifier: str, values: Sequence[Document]) -> Document:
        """The record as it stands now. Raises InConflictError if it exists with other values."""
        return await self._asked("POST", "/v1/identifiers", {"identifier": identifier, "values": [*values]})

    async def replace(self, identifier: str, values: Sequence[Document], if_match: int | None = None) -> Document:
        """Puts these values in place of all, or makes the record. `if_match`: the serial that it must have now."""
        return await self._asked("PUT", _address("identifiers", identifier), {"values": [*values]}, if_match)

    async def patch(
        self, identifier: str, values: Sequence[Document] = (), remove: Sequence[int] = (), if_match: int | None = None
    ) -> Document:
        """Puts each value in place of the one with its index or adds it, and takes the indexes in `remove` away."""
        body = {"values": [*values], "remove": [*remove]}
        return await self._asked("PATCH", _address("identifiers", identifier), body, if_match)

    async def delete(self, identifier: str, if_match: int | None = None) -> Document:
        """Marks the identifier as gone, for good."""
        return await self._asked("DELETE", _address("identifiers", identifier), None, if_match)

    async def read(self, identifier: str) -> Document:
        """Raises NotRegisteredError if it is not there, or gone."""
        return await self._asked("GET", _address("identifiers", identifier))

    async def history(self, identifier: str) -> AsyncGenerator[Document, None]:
        """All versions, newest first: serial, time, actor, action, and the values or "gone"."""
        parameters: dict[str, str] = {}
        while True:
            page = await self._asked("GET", _address("history", identifier), parameters=parameters)
            for entry in page["items"]:
                yield entry
            if "before" not in page:
                return
            parameters["before"] = str(page["before"])

    # ---- many identifiers

    async def list(self, prefix: str) -> AsyncGenerator[Document, None]:
        """Identifier and serial of each record under `prefix`, ascending."""
        async for item in self._pages("/v1/identifiers", {"prefix": prefix, "limit": str(limits.page_items.default)}):
            yield item

    async def bulk(self, lines: AsyncIterator[bytes]) -> AsyncGenerator[Document, None]:
        """Sends changes as they come from `lines`, and yields the result of each line as it arrives, in order.

        Items of `lines` are one or several whole lines, each ended by a line feed. Both directions flow at once; where the registry
        is slower than `lines`, `lines` waits. Raises UnreachableError if the stream breaks: lines without a result may or may not
        have been registered, and are to be sent again. Nothing is sent again here.
        """
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=BULK_REPLY_SECONDS)
        try:
            async with self._session.post(
                self.url + "/v1/bulk", data=lines, headers=_NDJSON, timeout=timeout, allow_redirects=False
            ) as reply:
                if reply.status != 200:
                    raise _refusal(reply.status, await _body(reply))
                rest = b""
                async for piece in reply.content.iter_any():
                    *whole, rest = (rest + piece).split(b"\n")
                    if len(rest) > limits.bulk_line_octets.most:
                        raise FormatError(f"the registry sent a line of more than {limits.bulk_line_octets.most} octets")
                    for line in whole:
                        yield _document(line)
        except _BROKEN_LINE as error:
            raise UnreachableError(f"the stream to the registry {self.url} broke: {cause(error)}") from None

    # ---- prefixes and tokens

    async def delegate(self, delegation: Document) -> Document:
        """Hands a prefix down: {"prefix"} hosted here, with "servers" and "proof" to the child's own node. The prefix record."""
        return await self._asked("POST", "/v1/prefixes", delegation)

    async def prefixes(self) -> AsyncGenerator[Document, None]:
        """The prefixes that are homed here or delegated from here."""
        async for item in self._pages("/v1/prefixes", {}):
            yield item

    async def add_token(self, name: str, role: str, prefixes: Sequence[str] = ()) -> Document:
        """Makes a token; "secret" in the reply is shown this once."""
        return await self._asked("POST", "/v1/tokens", {"name": name, "role": role, "prefixes": [*prefixes]}, tries=1)

    async def tokens(self) -> AsyncGenerator[Document, None]:
        """All tokens, without their secrets."""
        async for item in self._pages("/v1/tokens", {}):
            yield item

    async def revoke_token(self, name: str) -> None:
        """Makes a token void. Raises NotRegisteredError if there is none of this name."""
        await self._asked("DELETE", "/v1/tokens/" + quote(name, safe=""))

    # ---- one exchange

    async def _pages(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[Document, None]:
        asked = dict(parameters)
        while True:
            page = await self._asked("GET", path, parameters=asked)
            for item in page["items"]:
                yield item
            if "next" not in page:
                return
            asked["cursor"] = page["next"]

    async def _asked(
        self, method: str, path: str, body: Document | None = None, if_match: int | None = None,
        parameters: Mapping[str, str] | None = None, tries: int = TRIES,
    ) -> Document:  # fmt: skip
        """The reply to one request, tried again where that cannot do harm."""
        headers = {}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        if method != "GET" and path.startswith("/v1/identifiers"):
            headers["Idempotency-Key"] = secrets.token_urlsafe(16)
        wait = FIRST_WAIT_SECONDS
        while True:
            tries -= 1
            try:
                return await self._exchange(method, path, body, headers, parameters)
            except (BusyError, UnreachableError):
                if tries == 0:
                    raise
            await asyncio.sleep(wait)
            wait *= 2

    async def _exchange(
        self, method: str, path: str, body: Document | None, headers: Mapping[str, str], parameters: Mapping[str, str] | None
    ) -> Document:
        assert self._session is not None
        try:
            url = URL(self.url + path, encoded=True)  # as it is: a suffix may have dots that look like steps in a path
            async with self._session.request(
                method, url, json=body, headers=headers, params=parameters, allow_redirects=False
            ) as reply:
                octets = await _body(reply)
        except _BROKEN_LINE as error:
            raise UnreachableError(f"the registry {self.url} cannot be reached: {cause(error)}") from None
        if reply.status >= 300:
            raise _refusal(reply.status, octets)
        return _document(octets) if octets else {}


# ---- what comes back


def refusal_of(document: Document) -> RefusedError:
    """The exception for a problem document, as it stands in a reply or in a result line of a bulk request."""
    status = document.get("status")
    status = status if isinstance(status, int) else 500
    detail = str(document.get("detail") or document.get("title") or f"HTTP status {status}")
    kind = str(document.get("type", "")).rpartition("/")[2]
    return _class_for(status)(kind, status, detail, str(document.get("place", "")), str(document.get("next", "")))


def _class_for(status: int) -> type[RefusedError]:
    if status >= 500 or status in (408, 429):
        return BusyError
    return {
        401: TokenRefusedError,
        403: TokenRefusedError,
        404: NotRegisteredError,
        410: NotRegisteredError,
        409: InConflictError,
        412: InConflictError,
    }.get(status, MalformedError)


def _refusal(status: int, octets: bytes) -> RefusedError:
    try:
        document = json.loads(octets)
    except ValueError:
        document = None
    if not isinstance(document, dict):  # not our registry, or something in between
        document = {"detail": f"HTTP status {status} without an explanation; is this the address of a registry?"}
    return refusal_of(document | {"status": status})


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    octets = bytearray()
    async for piece in reply.content.iter_any():
        octets += piece
        if len(octets) > limits.http_body_octets.most:
            raise FormatError(f"the registry sent a reply of more than {limits.http_body_octets.most} octets")
    return bytes(octets)


def _document(octets: bytes) -> Document:
    try:
        document = json.loads(octets)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise FormatError(f"the registry's reply is not a JSON object: {octets[:60]!r}")
    return document


def _address(resource: str, identifier: str) -> str:
    """The path of an identifier: its first slash literal, the rest of the suffix percent-encoded once."""
    prefix, _, suffix = identifier.partition("/")
    return f"/v1/{resource}/{quote(prefix)}/{quote(suffix, safe=_LITERAL)}"
