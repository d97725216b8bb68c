"""The body of a request, read within bounds: of size, of time, and of what a compressed one may expand to.

The runner leaves bodies as they came (`connection.start`), so that nothing is unpacked before it is bounded here.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from registry.documents import parsed
from registry.problems import Refusal
from registry.requests import JSON, check_media_type
from resolver.core import limits
from resolver.core.limits import Limits

PIECE_OCTETS = 65_536  # unpacked, or split into lines, at one go; other requests get their turn in between


async def read_document(request: web.Request, bounds: Limits) -> tuple[Any, bytes]:
    """The JSON document in the body, and its octets. Raises FormatError for what is not JSON, Refusal for type, size and speed."""
    check_media_type(request, JSON)
    octets = await read_body(request, bounds)
    return parsed(octets, "body"), octets


async def read_body(request: web.Request, bounds: Limits) -> bytes:
    """The whole body of a request that is not a bulk request."""
    most, body = bounds[limits.http_body_octets], bytearray()
    if (request.content_length or 0) > most:
        raise Refusal("too-large", f"body of {request.content_length} octets; at most {most} are allowed", "body")
    if request.content.is_eof() and request.content_length and "Content-Encoding" not in request.headers:
        return request.content.read_nowait()  # it came with the head, as nearly all do: nothing to wait for
    try:
        async with asyncio.timeout(bounds[limits.http_body_seconds]):
            async for piece in pieces(request, unpacker(request, bounds)):
                body += piece
                if len(body) > most:
                    raise Refusal("too-large", f"body of more than {most} octets", "body")
    except TimeoutError:
        late = f"the body did not arrive within {bounds[limits.http_body_seconds]} s; {len(body)} octets came"
        raise Refusal("slow-body", late, "body") from None
    return bytes(body)


async def pieces(request: web.Request, unpacked: "Plain | Gunzip", stall_seconds: float | None = None) -> AsyncIterator[bytes]:
    """The body as it arrives, `unpacked`, in pieces of at most 64 KiB.

    Raises Refusal for what cannot be unpacked, and TimeoutError when nothing comes for `stall_seconds`.
    """
    while True:
        async with asyncio.timeout(stall_seconds):
            octets = await request.content.readany()
        if not octets:
            break
        for piece in unpacked.pieces(octets):
            yield piece
    unpacked.check_end()


async def discard(request: web.Request, seconds: float) -> None:
    """Reads what still comes, to no end: a connection closed on unread octets is reset, and the client loses our last words."""
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(seconds):
            while await request.content.readany():
                pass


def unpacker(request: web.Request, bounds: Limits) -> "Plain | Gunzip":
    """How the body of this request is unpacked, by its Content-Encoding. Raises Refusal for one that is not known."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    match encoding:
        case "identity" | "":
            return Plain()
        case "gzip" | "x-gzip":
            return Gunzip(bounds[limits.gzip_expansion])
    text = f"Content-Encoding must be gzip or left out, not {encoding[:40]!r}"
    raise Refusal("bad-media-type", text, "Content-Encoding", {"Accept-Encoding": "gzip"})


class Plain:
    """A body that is not compressed."""

    def pieces(self, octets: bytes) -> Iterator[bytes]:
        for start in range(0, len(octets), PIECE_OCTETS):
            yield octets[start : start + PIECE_OCTETS]

    def check_end(self) -> None:
        """A plain body may end anywhere."""


class Gunzip:
    """A gzip body (RFC 1952), of one or several members, that may expand only so far.

    Text as it is registered shrinks five to twenty times; deflate can pack a thousand octets into one, which only a bomb does.
    """

    def __init__(self, expansion: int) -> None:
        self._expansion = expansion
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._packed = self._unpacked = 0

    def pieces(self, octets: bytes) -> Iterator[bytes]:
        """What `octets` unpack to. Raises Refusal for what is not gzip, and for too much of it."""
        self._packed += len(octets)
        pending = False  # a full piece came out, and zlib may hold more of it
        while octets or pending:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                piece = self._inflate.decompress(octets, PIECE_OCTETS)
            except zlib.error as error:
                raise Refusal("bad-encoding", f"the body is not gzip: {error}", "body") from None
            octets = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            pending = len(piece) == PIECE_OCTETS and not self._inflate.eof
            self._check(len(piece))
            if piece:
                yield piece

    def check_end(self) -> None:
        if self._packed and not self._inflate.eof:
            raise Refusal("bad-encoding", "the gzip body ends before its trailer", "body")

    def _check(self, octets: int) -> None:
        self._unpacked += octets
        if self._unpacked > PIECE_OCTETS + self._packed * self._expansion:
            text = f"the body expands more than {self._expansion} times; gzip_expansion bounds it"
            raise Refusal("too-large", text, "Content-Encoding")
