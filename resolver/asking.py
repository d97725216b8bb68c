"""One question through a door that cannot be walked, DNS or HTTP, and what is to be thought of the answer.

HTTP carries whole values and the signature, so the answer is verified as it came. DNS carries index, type and data, but neither
permissions nor the TTL that was signed: there the verified record is fetched as well, and the answer must say the same.
"""

import asyncio
import json
import time
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from resolver.cause import cause
from resolver.core.errors import ConfigError, FormatError, UnreachableError, WaymarkError
from resolver.core.identifier import Identifier, fold_prefix
from resolver.core.message import Answer, Failed, NotFound, Query, Referral
from resolver.core.owner import owner_labels
from resolver.core.trust import Reason, Verdict
from resolver.core.wire import dns
from resolver.core.wire.dns import encode_name
from resolver.core.wire.handle import Code
from resolver.core.wire.json import values_from_json
from resolver.core.wire.txt import read_txt
from resolver.dns_client import ask_dns
from resolver.resolution import Resolution, Resolver, Step

_SECONDS = 5.0
_ANSWER_OCTETS_MAX = 4 * 2**20
_RCODES = {
    dns.NOERROR: "NOERROR", dns.FORMERR: "FORMERR", dns.SERVFAIL: "SERVFAIL", dns.NXDOMAIN: "NXDOMAIN", dns.NOTIMP: "NOTIMP",
    dns.REFUSED: "REFUSED",
}  # fmt: skip


class Asked(NamedTuple):
    """Address of the server asked, for the trace, and when."""

    server: str
    started: float

    def step(self, asked: str, said: str) -> Step:
        return Step(self.server, asked, said, (time.perf_counter() - self.started) * 1000)


async def over_handle(resolver: Resolver, identifier: Identifier, at: tuple[str, int]) -> Resolution:
    """Asks over the Handle protocol, and goes on where the server refers."""
    found = await resolver.resolve_at(identifier, at)
    if isinstance(found.outcome, Referral) and found.verdict.verified:
        return await _followed(resolver, identifier, found.steps)
    return found


async def over_http(resolver: Resolver, identifier: Identifier, at: tuple[str, int]) -> Resolution:
    """Asks `GET /api/handles/...` and verifies what comes back."""
    asked = Asked(f"http {at[0]}:{at[1]}", time.perf_counter())
    url = URL(f"http://{at[0]}:{at[1]}/api/handles/{quote(str(identifier))}", encoded=True)  # a suffix may well be ".."
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_SECONDS)) as session, session.get(url) as response:
            document = await asyncio.to_thread(_json, await _whole(response))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return _failed(asked, identifier, UnreachableError(f"{asked.server} cannot be asked: {cause(error)}"))
    except FormatError as error:
        return _failed(asked, identifier, error)
    code = document.get("responseCode")
    step = asked.step(f"GET /api/handles/{identifier}", f"{response.status}, response code {code}")
    if code == 100:
        verdict = Verdict(False, "no-such-identifier", str(document.get("message") or f"{identifier} does not exist"))
        return Resolution(NotFound(fold_prefix(identifier.prefix)), verdict, (), (step,))
    if code == Code.PREFIX_REFERRAL:
        return await _followed(resolver, identifier, (step,))
    if code != 1:
        return _failed(asked, identifier, UnreachableError(f"{asked.server}: {document.get('message') or f'response code {code}'}"))
    try:
        values = values_from_json(document.get("values"), "values")
    except FormatError as error:
        return _failed(asked, identifier, error)
    found = await resolver.verify(identifier, values)
    return found._replace(steps=(step, *found.steps))


async def over_dns(resolver: Resolver, identifier: Identifier, at: tuple[str, int], apex: str) -> Resolution:
    """Asks for the TXT records of the owner name, and compares them with the verified record. Raises ConfigError for the apex."""
    asked = Asked(f"dns {at[0]}:{at[1]}", time.perf_counter())
    name, labels = owner_name(identifier, apex), _labels(identifier, apex)
    try:
        encode_name(labels)
    except FormatError as error:
        raise ConfigError(f"--apex {apex!r} makes no DNS name: {error}") from None
    try:
        reply = await ask_dns(labels, dns.TXT, at, _SECONDS)
        shown = [read_txt(rr.rdata, rr.ttl) for rr in reply.records if rr.type == dns.TXT and rr.owner == reply.question]
    except (UnreachableError, FormatError) as error:
        return _failed(asked, identifier, error)
    said = _RCODES.get(reply.rcode, f"response code {reply.rcode}")
    step = asked.step(f"TXT {name}", f"{said}, {len(shown)} value(s)")
    if reply.rcode == dns.NXDOMAIN:
        verdict = Verdict(False, "no-such-identifier", f"{name} does not exist")
        return Resolution(NotFound(fold_prefix(identifier.prefix)), verdict, (), (step,))
    if reply.rcode == dns.NOERROR and not shown and not reply.flags & (dns.AA | dns.RA):  # neither an answer nor "nothing here"
        return await _followed(resolver, identifier, (step,))
    if reply.rcode != dns.NOERROR:
        return _failed(asked, identifier, UnreachableError(f"{asked.server}: {said} for {name}, and no value"))
    found = await resolver.resolve(Query(identifier))
    found = found._replace(steps=(step, *found.steps))
    if not (isinstance(found.outcome, Answer) and found.verdict.verified):
        return found
    told, true = ({(value.index, value.type, value.data) for value in values} for values in (shown, found.chain[0].values))
    if told != true:
        index = min(told ^ true)[0]
        text = f"what {asked.server} says of value {index} is not what the verified record says"
        return found._replace(verdict=Verdict(False, Reason.CHANGED_VALUE, text))
    return found


async def _followed(resolver: Resolver, identifier: Identifier, steps: tuple[Step, ...]) -> Resolution:
    """The verified walk, after a server said that others know. Where it said to go needs no belief: the walk finds the way."""
    found = await resolver.resolve(Query(identifier))
    return found._replace(steps=(*steps, *found.steps))


def owner_name(identifier: Identifier, apex: str) -> str:
    """The DNS name of an identifier: see `core.owner`."""
    return b".".join(_labels(identifier, apex)).decode() + "."


def _labels(identifier: Identifier, apex: str) -> list[bytes]:
    return [*owner_labels(identifier), *apex.strip(".").lower().encode().split(b".")]


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    octets = bytearray()
    async for part in response.content.iter_any():
        octets += part
        if len(octets) > _ANSWER_OCTETS_MAX:
            raise FormatError(f"answer of more than {_ANSWER_OCTETS_MAX} octets")
    return bytes(octets)


def _json(octets: bytes) -> dict[str, object]:
    try:
        document = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"answer is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise FormatError("answer is not a JSON object")
    return document


def _failed(asked: Asked, identifier: Identifier, error: WaymarkError) -> Resolution:
    reason = "unreachable" if isinstance(error, UnreachableError) else "bad-answer"
    return Resolution(Failed(error), Verdict(False, reason, str(error)), (), (asked.step(str(identifier), str(error)),))
