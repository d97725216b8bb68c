"""What a node answers over HTTP, and the files that are exchanged, are as their schemas say: real ones, and no others."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from jsonschema import Draft202012Validator, ValidationError

import schemas
from resolver.anchor import anchor_document
from resolver.saved import save
from tests.support.api import validator
from tests.support.http_node import LONG, PRODUCT, http_node, small_world
from tests.support.schemas import check
from tests.support.scripted import tree
from tests.support.world import World

SCHEMAS = schemas.node()
JSON = {"Accept": "application/json"}

HANDLES = [
    (PRODUCT, 1), ("88.118/plain", 1), ("88.118/two?type=URL", 1), (LONG, 1), ("88.118/two?type=EMAIL", 200),
    ("88.118.8/ABC", 303), ("91.5/x", 301), ("88.118/NONE", 100), ("88.118/gone", 100), ("/", 102), (f"{PRODUCT}?index=x", 4),
]  # fmt: skip
RECORDS = [
    (PRODUCT, 200), ("88.118/plain", 200), (LONG, 200), ("88.118/NONE", 404), ("88.118/gone", 410), ("88.118.8/ABC", 300),
    ("91.5/x", 400), ("88.118%EF%BC%8FABC", 400), ("88.118/", 400),
]  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_has_examples_that_fit(name: str) -> None:
    Draft202012Validator.check_schema(schemas.validator_schema(name))
    assert SCHEMAS[name]["examples"]
    for example in SCHEMAS[name]["examples"]:
        check(name, example)


def test_names_are_unique_and_none_is_served_by_the_registry() -> None:
    assert not SCHEMAS.keys() & schemas.openapi()["components"]["schemas"].keys()


def test_a_trust_anchor() -> None:
    anchor = World().anchor
    document = json.loads(anchor_document(dict(anchor.keys.public), anchor.site))
    check("anchor", document)
    private = document["keys"]["302"] | {"d": "A" * 43}
    with pytest.raises(ValidationError):
        validator("anchor").validate(document | {"keys": {"302": private}})


def test_a_saved_record() -> None:
    script = tree()
    script.world.put("88.118/S", *small_world().records[PRODUCT.encode()].values)
    document = save(script.walk("88.118/S"))
    check("saved-record", document)
    unsigned = [link | {"values": link["values"][:-1]} for link in document["chain"]]
    assert not validator("saved-record").is_valid(document | {"chain": unsigned})


@pytest.mark.parametrize("role", ["secondary", "recursive"])
async def test_what_a_node_answers(tmp_path: Path, role: str) -> None:
    async with http_node(tmp_path, role=role) as node, aiohttp.ClientSession(node.url) as session:

        async def answer(path: str, **headers: str) -> tuple[int, Any]:
            async with session.get(path, headers=headers) as reply:
                return reply.status, await reply.json(content_type=None)

        for name, code in HANDLES:
            _, document = await answer(f"/api/handles/{name}")
            assert document["responseCode"] == code or role == "recursive", name
            check("handles-answer", document)
        for name, expected in RECORDS:
            status, document = await answer(f"/{name}", **JSON)
            assert status == expected or role == "recursive", name
            check("resolved-record" if status == 200 else "unresolved", document)
        status, document = await answer("/readyz")
        assert status == 200
        check("readiness", document)
        node.recursion.down = True
        status, document = await answer(f"/{PRODUCT}", **JSON)
        assert status >= 500
        check("resolved-record" if role == "secondary" else "unresolved", document)


async def test_a_node_that_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world()
    async with http_node(tmp_path, world) as node, aiohttp.ClientSession(node.url) as session:
        table = node.desk.table
        assert table is not None
        monkeypatch.setattr(table, "stat", Mock(return_value=table.stat()._replace(homed=0)))
        async with session.get("/readyz") as reply:
            assert reply.status == 503
            check("readiness", await reply.json(content_type=None))
