"""What the registry's API does, address by address. `api` says which address is whose, checks the token, and answers problems.

A handler reads the request, asks the service, and makes the reply; no decision about a record is made here. A refusal is raised, as
`Refusal` or as what the decoders raise.
"""

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from aiohttp import web

import schemas
from registry.body import discard, pieces, read_document, unpacker
from registry.bulk import BulkStream
from registry.documents import (
    delegation_from_json,
    history_to_json,
    prefix_to_json,
    record_to_json,
    to_octets,
    token_from_json,
    token_to_json,
    write_from_json,
)
from registry.metrics import ApiMetrics
from registry.problems import KINDS, PLACE, Problem, Refusal, address_of, history_of, problem_of_rejection
from registry.registration import covers
from registry.requests import (
    JSON,
    NDJSON,
    NDJSON_NAMES,
    any_match,
    check_media_type,
    check_parameters,
    cursor_after,
    cursor_of,
    entity_tag,
    idempotency_key,
    identifier_in,
    if_match,
    none_match,
    number_in,
    prefix_in,
)
from registry.service import Actor, Service, Write, Written
from resolver.core import limits
from resolver.core.errors import ConflictError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, fold_prefix, prefix_record
from resolver.core.limits import Limits
from resolver.core.record import Record

IDENTIFIERS, HISTORY, PREFIXES, TOKENS = "/v1/identifiers/", "/v1/history/", "/v1/prefixes/", "/v1/tokens/"
LIST_STEP, HISTORY_STEP = 100, 16  # records held at once while a page is made
LINGER_SECONDS = 2.0  # for a client that still sends when its stream was ended from here; then its connection is reset
_STREAM_HEADERS = {"Content-Type": NDJSON, "X-Accel-Buffering": "no"}  # or nginx before us would hold results back
_STATUS = {"created": 201, "replaced": 200, "unchanged": 200, "deleted": 200}


class Handlers:
    def __init__(self, service: Service, bounds: Limits, metrics: ApiMetrics) -> None:
        self._service = service
        self._bounds = bounds
        self._metrics = metrics
        self._streams: set[BulkStream] = set()
        self._ending = False

    def end(self) -> None:
        """The server ends: no new bulk requests, and those under way read no further."""
        self._ending = True
        for stream in self._streams:
            stream.cut(Problem("unavailable", "the server ends; this line and those after it were not read"))

    # ---- one identifier

    async def register(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        document, octets = await read_document(request, self._bounds)
        return await self._write(request, actor, write_from_json(document, "register"), octets)

    async def replace(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        identifier = identifier_in(request, IDENTIFIERS)
        document, octets = await read_document(request, self._bounds)
        if request.headers.get("If-None-Match", "").strip() != "*":
            expected = await self._serial_of(identifier, actor) if any_match(request) else if_match(request)
            write = write_from_json(document, "replace", identifier, expected)
            return await self._write(request, actor, write, octets)
        try:
            return await self._write(request, actor, write_from_json(document, "register", identifier), octets)
        except Refusal as refusal:
            if refusal.problem.kind != "exists":
                raise
            raise Refusal("stale", refusal.problem.detail, "If-None-Match") from None

    async def patch(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        identifier = identifier_in(request, IDENTIFIERS)
        document, octets = await read_document(request, self._bounds)
        write = write_from_json(document, "patch", identifier, if_match(request))
        return await self._write(request, actor, write, octets)

    async def delete(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        identifier = identifier_in(request, IDENTIFIERS)
        write = Write("delete", identifier, if_match=if_match(request))
        return await self._write(request, actor, write, b"")

    async def read(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        identifier = identifier_in(request, IDENTIFIERS)
        _check_sight(actor, identifier)
        record = await self._standing(identifier)
        if none_match(request, record.serial):
            return web.Response(status=304, headers={"ETag": entity_tag(record.serial)})
        return _json(record_to_json(record), headers={"ETag": entity_tag(record.serial)})

    async def _write(self, request: web.Request, actor: Actor, write: Write, octets: bytes) -> web.Response:
        """Makes one change, once for each Idempotency-Key, and answers with the record as it now stands."""
        key = idempotency_key(request)
        if key is None:
            (written,) = await self._service.write((write,), actor)
        else:
            conditions = [request.headers.get(name, "") for name in ("If-Match", "If-None-Match")]
            asked = (request.method, write.identifier.canonical, *conditions)
            written = await self._service.write_once(write, actor, key, sha256(to_octets(asked) + octets).digest())
        self._metrics.change("single", written.status)
        return self._written(written, write.identifier, IDENTIFIERS)

    def _written(self, written: Written, identifier: Identifier, resource: str) -> web.Response:
        if written.problem is not None or written.record is None:
            assert written.problem is not None
            raise Refusal.of(problem_of_rejection(written.problem, identifier.canonical))
        name = identifier.suffix if resource == PREFIXES else identifier.canonical
        status = _STATUS[written.status]
        headers = {"ETag": entity_tag(written.record.serial)}
        if status == 201:
            headers["Location"] = resource + name if resource == PREFIXES else address_of(resource, name)
        return _json(record_to_json(written.record), status, headers)

    async def _serial_of(self, identifier: Identifier, actor: Actor) -> int:
        """What "any" in If-Match means now; the service compares it again when it writes. Refuses where there is no record."""
        _check_sight(actor, identifier)
        if await self._service.read(identifier) is None:
            raise Refusal("stale", f"If-Match asks for any version, and {identifier} has none", "If-Match")
        return (await self._standing(identifier)).serial

    async def _standing(self, identifier: Identifier) -> Record:
        """The record as it stands. Refuses one that is gone, or never was."""
        record = await self._service.read(identifier)
        if record is None:
            raise Refusal("not-found", f"{identifier} is not registered here", "address")
        if record.gone:
            history = history_of(identifier.canonical)
            raise Refusal.of(Problem("gone", f"{identifier} was deleted with serial {record.serial}", "address", history=history))
        return record

    # ---- many identifiers

    async def bulk(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        check_parameters(request)
        check_media_type(request, *NDJSON_NAMES)
        if request.headers.get("Idempotency-Key") is not None:
            raise Refusal(
                "bad-header", "a bulk request takes no Idempotency-Key: the same line twice registers once", "Idempotency-Key"
            )
        if self._ending:
            raise Refusal("unavailable", "the server ends")
        if len(self._streams) >= self._bounds[limits.bulk_streams]:
            raise Refusal("busy", f"{len(self._streams)} bulk requests are under way; bulk_streams bounds them")
        stall = self._bounds[limits.bulk_stall_seconds]
        body = pieces(request, unpacker(request, self._bounds), stall)
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        stream = BulkStream(self._service, actor, self._bounds)

        async def send(octets: bytes) -> None:
            async with asyncio.timeout(stall):
                await response.write(octets)

        self._streams.add(stream)
        self._metrics.bulk_streams.inc()
        try:
            await response.prepare(request)
            await stream.run(body, send)
            await response.write_eof()
            if stream.broken:
                await discard(request, LINGER_SECONDS)
        except TimeoutError:  # the client does not read: nothing can be told to it
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams.discard(stream)
            self._metrics.bulk_streams.dec()
            for status, number in stream.counts.items():
                self._metrics.change("bulk", status, number)
        return response

    async def list_identifiers(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request, "prefix", "cursor", "limit")
        prefix = prefix_in(request.query.get("prefix", ""), "prefix")
        _check_sight(actor, Identifier(prefix, "*"))
        limit = number_in(request, "limit", 100, self._bounds[limits.page_items])
        after, items, more = cursor_after(request), list[dict[str, Any]](), True
        while more and len(items) < limit:  # some at a time: whole records come, of which two fields go into the page
            asked = min(limit - len(items), LIST_STEP)
            records = await self._service.list(prefix, after, asked + 1)
            items += [{"identifier": record.identifier.canonical, "serial": record.serial} for record in records[:asked]]
            after, more = (items[-1]["identifier"] if items else None), len(records) > asked
        return _page(items, after if more else None)

    async def history(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request, "before", "limit")
        identifier = identifier_in(request, HISTORY)
        _check_sight(actor, identifier)
        limit = number_in(request, "limit", 20, limits.page_items.default)
        before = number_in(request, "before", 0, 2**63 - 1) if "before" in request.query else None
        items, octets, more = list[dict[str, Any]](), 0, True
        while more and len(items) < limit and octets < self._bounds[limits.page_octets]:
            asked = min(limit - len(items), HISTORY_STEP)
            entries = await self._service.history(identifier, asked + 1, before)
            items += map(history_to_json, entries[:asked])
            octets += sum(len(value.data) for entry in entries for value in entry.record.values)
            before, more = (items[-1]["serial"] if items else None), len(entries) > asked
        if not items and "before" not in request.query:
            raise Refusal("not-found", f"{identifier} was never registered here", "address")
        return _json({"identifier": str(identifier), "items": items} | ({"before": before} if more else {}))

    # ---- prefixes

    async def delegate(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        document, _ = await read_document(request, self._bounds)
        delegation = delegation_from_json(document)
        written = await self._service.delegate(delegation, actor)
        return self._written(written, prefix_record(delegation.prefix), PREFIXES)

    async def list_prefixes(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request, "cursor", "limit")
        limit = number_in(request, "limit", 100, self._bounds[limits.page_items])
        after = cursor_after(request) or ""
        behind = f"{PREFIX_AUTHORITY}/{after}" if after else None
        records = {fold_prefix(r.identifier.suffix): r for r in await self._service.list(PREFIX_AUTHORITY, behind, limit + 1)}
        homed = await self._service.prefixes()
        names = sorted({prefix for prefix in homed if prefix > after} | records.keys())
        seen = [name for name in names[:limit] if covers(actor, name)]
        items = [prefix_to_json(name, homed.get(name), records.get(name)) for name in seen]
        return _page(items, names[limit - 1] if len(names) > limit else None)

    async def read_prefix(self, request: web.Request, actor: Actor) -> web.Response:
        check_parameters(request)
        prefix = prefix_in(request.match_info["prefix"], "address")
        _check_sight(actor, prefix_record(prefix))
        keys = (await self._service.prefixes()).get(prefix)
        record = await self._service.read(prefix_record(prefix))
        if keys is None and record is None:
            raise Refusal("no-such-prefix", f"{prefix} is neither homed here nor delegated from here", "address")
        return _json(prefix_to_json(prefix, keys, record))

    # ---- tokens; only an operator comes here

    async def make_token(self, request: web.Request, _actor: Actor) -> web.Response:
        check_parameters(request)
        name, role, prefixes = token_from_json((await read_document(request, self._bounds))[0])
        try:
            secret = await self._service.add_token(name, role, prefixes)
        except ConflictError:
            raise Refusal("name-taken", f"there is a token named {name!r} already", "name") from None
        return _json({"name": name, "role": role, "prefixes": list(prefixes), "secret": secret}, 201)

    async def list_tokens(self, request: web.Request, _actor: Actor) -> web.Response:
        check_parameters(request)
        return _json({"items": [token_to_json(token) for token in await self._service.tokens()]})

    async def revoke_token(self, request: web.Request, _actor: Actor) -> web.Response:
        check_parameters(request)
        name = request.match_info["name"]
        if not await self._service.revoke_token(name):
            raise Refusal("no-such-token", f"there is no token named {name[:100]!r}", "address")
        return web.Response(status=204)

    # ---- open to all

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=schemas.openapi_octets(), content_type=JSON)

    async def problem_kind(self, request: web.Request) -> web.Response:
        name = request.match_info["kind"]
        kind = KINDS.get(name)
        if kind is None:
            raise Refusal("no-such-page", f"there is no kind of problem {name[:60]!r}", "address")
        return _json({"type": PLACE + name, "title": kind.title, "status": kind.status, "next": kind.next})

    async def healthz(self, _request: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        if self._ending:
            raise Refusal("unavailable", "the server ends")
        await self._service.list(PREFIX_AUTHORITY, None, 1)  # raises StoreError where the truth cannot be read
        return _json({"status": "ready", "prefixes": len(await self._service.prefixes())})

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.shown(*self._service.serials), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


# ---- replies


def _json(document: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=to_octets(document), status=status, headers=headers, content_type=JSON)


def _page(items: Iterable[dict[str, Any]], last: str | None) -> web.Response:
    """A page; `last` is the spelling behind which the next one begins, None on the last page."""
    document: dict[str, Any] = {"items": list(items)}
    if last is not None:
        document["next"] = cursor_of(last)
    return _json(document)


# ---- who may see what: an operator all, a registrant what is at or below its prefixes


def _check_sight(actor: Actor, identifier: Identifier) -> None:
    prefix = fold_prefix(identifier.prefix)
    prefix = fold_prefix(identifier.suffix) if prefix == PREFIX_AUTHORITY else prefix
    if not covers(actor, prefix):
        own = ", ".join(actor.prefixes)
        raise Refusal("forbidden", f"token {actor.name!r} is for {own} and what is below; {prefix} is not", "address")
