"""A registry's bulk address that misbehaves on demand: for what a real registry does only in bad moments.

async with FakeRegistry([Turn(10, "abort"), Turn(0, "busy")]) as registry:      # the first two requests; later ones go well
    ...
    assert registry.created == {...}
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple, Self

from aiohttp import web

_HOLD_SECONDS = 1.0


class Turn(NamedTuple):
    """One bulk request: this many lines are answered as they should be, and then it goes wrong.

    abort        the connection is cut; the line after the last answered one is registered all the same
    end          the reply ends as if all were done
    unread       a last line says that reading ended
    unavailable  the next line is rejected because the truth cannot be written
    busy, token  the request is refused as a whole, with 503 or 401
    nonsense     the next line is answered with octets that are no JSON
    unknown      the next line is answered with a status that nobody knows
    extra        every line is answered twice
    hold         no further line is answered, until none has come for a while; then the connection is cut
    """

    lines: int
    then: str


class FakeRegistry:
    def __init__(self, turns: Iterable[Turn] = ()) -> None:
        self._turns = [*turns]
        self.requests = 0
        self.unanswered = 0  # lines that came during a "hold"
        self.records: dict[str, Any] = {}
        self.created: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/bulk", self._bulk)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://127.0.0.1:" + str(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _bulk(self, request: web.Request) -> web.StreamResponse:
        turn = self._turns.pop(0) if self._turns else Turn(2**62, "")
        self.requests += 1
        if turn.then in ("busy", "token"):
            status, kind = (503, "busy") if turn.then == "busy" else (401, "bad-token")
            return web.json_response(_problem(kind, status), status=status)
        reply = web.StreamResponse()
        await reply.prepare(request)
        number = 0
        async for line in request.content:
            number += 1
            result = self._result(number, json.loads(line))
            if number > turn.lines:
                return await self._break(turn.then, number, request, reply)
            for _ in range(2 if turn.then == "extra" else 1):
                await reply.write(json.dumps(result).encode() + b"\n")
        return reply

    def _result(self, number: int, document: Any) -> dict[str, Any]:
        name, values = document["identifier"], document["values"]
        self.received[name] += 1
        before = self.records.setdefault(name, values)
        if before is values:
            self.created[name] += 1
            status = "created"
        elif before == values:
            status = "unchanged"
        elif document.get("action") == "replace":
            self.records[name] = values
            status = "replaced"
        else:
            return {"line": number, "status": "rejected", "problem": _problem("exists", 409)}
        return {"line": number, "identifier": name, "status": status, "serial": len(self.created)}

    async def _break(self, how: str, number: int, request: web.Request, reply: web.StreamResponse) -> web.StreamResponse:
        lines = {
            "unread": {"line": number, "status": "unread", "problem": _problem("stalled", 503)},
            "unavailable": {"line": number, "status": "rejected", "problem": _problem("unavailable", 503)},
            "unknown": {"line": number, "status": "pondered"},
        }
        if how == "hold":
            self.unanswered = 1
            with suppress(TimeoutError):
                while await asyncio.wait_for(request.content.readline(), _HOLD_SECONDS):
                    self.unanswered += 1
        if how in ("abort", "hold"):
            await asyncio.sleep(0.01)
            assert request.transport is not None
            request.transport.abort()
        elif how != "end":
            await reply.write(b"nonsense\n" if how == "nonsense" else json.dumps(lines[how]).encode() + b"\n")
        return reply


def _problem(kind: str, status: int) -> dict[str, Any]:
    return {"type": f"/v1/problems/{kind}", "title": kind, "status": status, "detail": f"{kind} it is", "next": f"mend {kind}"}
