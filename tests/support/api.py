"""A registry that listens on a free port, and a client that believes no reply until the API's description allows it.

async with running(tmp_path) as registry:
    reply = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": []})
    assert reply.status == 201
"""

import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from jsonschema import Draft202012Validator
from yarl import URL

import schemas
from registry.api import make_app
from registry.config import RegistryConfig
from registry.connection import Listener
from registry.keys import KeyDirectory
from registry.service import Delegation, Service
from tests.support.registry import OPERATOR, registry_config

PREFIX = "88.101"
VALUES = [{"index": 1, "type": "URL", "data": "https://example.org/p/1"}, {"index": 2, "type": "NAME", "data": "电源模块"}]


class Registry(NamedTuple):
    config: RegistryConfig
    service: Service
    listener: Listener
    client: "Client"  # with an operator's token
    registrant: "Client"  # may write below 88.101.L5


@asynccontextmanager
async def running(path: Path, database: str | None = None, **bounds: int) -> AsyncIterator[Registry]:
    """A registry of 88.101 and 88.101.L5, its truth under `path` or in `database`. Started again on one path, it goes on."""
    config = registry_config(path, database, (), **bounds)
    first = not config.keys.exists()
    if first:
        config.keys.mkdir(mode=0o700)
        KeyDirectory(config.keys).generate(PREFIX)
    service = await Service.open(config)
    try:
        if first:
            await service.home(PREFIX, OPERATOR)
            await service.delegate(Delegation("88.101.L5"), OPERATOR)
            secrets = {
                "operator": await service.add_token("operator", "operator"),
                "registrant": await service.add_token("line-3", "registrant", ["88.101.L5"]),
            }
            (path / "secrets.json").write_text(json.dumps(secrets))
        secrets = json.loads((path / "secrets.json").read_text())
        listener = await Listener.start(make_app(service, config), config)
        try:
            async with (
                Client(listener.address, secrets["operator"]) as client,
                Client(listener.address, secrets["registrant"]) as own,
            ):
                yield Registry(config, service, listener, client, own)
        finally:
            await listener.close()
    finally:
        await service.close()


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The kind of problem that this reply is."""
        return str(self.document["type"]).removeprefix("/v1/problems/")

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """Asks the API, and checks every reply against its description."""

    def __init__(self, address: str, secret: str | None) -> None:
        self.address = address
        self.secret = secret
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """One request. A body that is not octets goes as JSON; header names have `_` for `-`."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if self.secret is not None:
            sent.setdefault("Authorization", f"Bearer {self.secret}")
        if body is not None and not isinstance(body, bytes | io.BytesIO):
            body = json.dumps(body, ensure_ascii=False).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self._session.request(method, URL(self.address + path, encoded=True), data=body, headers=sent) as reply:
            found = Reply(reply.status, reply.headers, await reply.read())
        check_reply(method, path, found)
        return found

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, body: object, **headers: str) -> Reply:
        return await self.ask("POST", path, body, **headers)

    async def put(self, path: str, body: object, **headers: str) -> Reply:
        return await self.ask("PUT", path, body, **headers)

    async def patch(self, path: str, body: object, **headers: str) -> Reply:
        return await self.ask("PATCH", path, body, **headers)

    async def delete(self, path: str, **headers: str) -> Reply:
        return await self.ask("DELETE", path, **headers)

    async def bulk(self, lines: bytes, **headers: str) -> Reply:
        return await self.ask("POST", "/v1/bulk", io.BytesIO(lines), **{"Content_Type": "application/x-ndjson", **headers})


# ---- the description as a judge


def check_reply(method: str, path: str, reply: Reply) -> None:
    """Fails unless the description has this status for this operation, and the reply has its shape."""
    described = described_reply(method, path, reply.status)
    missing = [name for name in described.get("headers", {}) if name not in reply.headers]
    assert not missing, f"{method} {path} {reply.status} lacks {missing}"
    content = described.get("content")
    if content is None:
        assert reply.body == b"", f"{method} {path} {reply.status} has a body"
        return
    media_type = reply.headers["Content-Type"].partition(";")[0]
    assert media_type in content, f"{method} {path} {reply.status} is {media_type}, described: {list(content)}"
    if media_type == "application/x-ndjson":
        for line in reply.lines:
            check_document(content[media_type]["x-line-schema"]["$ref"], line)
    elif media_type.endswith("json") and "$ref" in content[media_type]["schema"]:
        check_document(content[media_type]["schema"]["$ref"], reply.document)


def check_document(reference: str, document: object) -> None:
    validator(reference.rpartition("/")[2]).validate(document)


def described_reply(method: str, path: str, status: int) -> dict[str, Any]:
    """What the description says of a reply: of its operation, or for an address or method that there is not, a problem."""
    for pattern, operations in operations_by_path():
        if pattern.fullmatch(path.partition("?")[0]) and method.lower() in operations:
            replies = operations[method.lower()]["responses"]
            assert str(status) in replies, f"{method} {path} answered {status}, described: {list(replies)}"
            return resolved(replies[str(status)])
    assert status in (400, 404, 405), f"{method} {path} is not described and answered {status}"
    return resolved({"$ref": "#/components/responses/BadRequest"})


def resolved(item: dict[str, Any]) -> dict[str, Any]:
    """`item`, or what it refers to."""
    while "$ref" in item:
        found: Any = description()
        for step in item["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        item = found
    return item


@cache
def description() -> dict[str, Any]:
    return schemas.openapi()


@cache
def operations_by_path() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """The described paths as patterns, those without a variable part first. Only an identifier has slashes."""
    paths = sorted(description()["paths"].items(), key=lambda item: "{" in item[0])
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path.replace("{identifier}", ".+"))), found) for path, found in paths]


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schemas.validator_schema(name))
