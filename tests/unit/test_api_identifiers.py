"""One identifier over HTTP: register, read, replace, patch, delete; conditions, idempotency, history. Each reply is checked
against the API's description by the client."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import pytest

from resolver.core.identifier import Identifier
from tests.support.api import VALUES, Registry, Reply, running


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running(tmp_path) as found:
        yield found


async def test_what_was_registered_is_read(registry: Registry) -> None:
    made = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    assert made.status == 201
    assert made.headers["Location"] == "/v1/identifiers/88.101/A"
    assert made.headers["ETag"] == f'"{made.document["serial"]}"'
    read = await registry.client.get("/v1/identifiers/88.101/A")
    assert read.document == made.document
    assert [value["data"]["value"] for value in read.document["values"]] == ["https://example.org/p/1", "电源模块"]
    assert read.headers["ETag"] == made.headers["ETag"]


async def test_registering_the_same_again_changes_nothing(registry: Registry) -> None:
    body = {"identifier": "88.101/A", "values": VALUES}
    made = await registry.client.post("/v1/identifiers", body)
    again = await registry.client.post("/v1/identifiers", body)
    assert (again.status, again.document) == (200, made.document)


async def test_registering_other_values_is_a_conflict(registry: Registry) -> None:
    await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    other = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES[:1]})
    assert (other.status, other.kind) == (409, "exists")
    assert len((await registry.client.get("/v1/identifiers/88.101/A")).document["values"]) == 2


@pytest.mark.parametrize(
    ("suffix", "address"),
    [
        ("a/b//c", "a/b//c"),
        ("a/b", "a%2Fb"),
        ("电源", "%E7%94%B5%E6%BA%90"),
        ("100% wool?", "100%25%20wool%3F"),
        ("%41", "%2541"),  # decoded once, not twice
        ("a+b", "a+b"),  # a plus is no space
        ("..", ".."),
        ("x;y=1&z", "x;y=1&z"),
    ],
)
async def test_any_suffix_has_an_address(registry: Registry, suffix: str, address: str) -> None:
    made = await registry.client.post("/v1/identifiers", {"identifier": f"88.101/{suffix}", "values": VALUES})
    assert made.status == 201
    for where in (f"/v1/identifiers/88.101/{address}", made.headers["Location"]):
        read = await registry.client.get(where)
        assert (read.status, read.document["identifier"]) == (200, f"88.101/{suffix}")


async def test_an_unknown_identifier_is_not_found(registry: Registry) -> None:
    reply = await registry.client.get("/v1/identifiers/88.101/nobody")
    assert (reply.status, reply.kind) == (404, "not-found")


@pytest.mark.parametrize(
    "address", ["88.101", "88.101/", "88..101/a", "88.101/%FF", "88.101/%zz", "88.101/%E2%80%8B", "88.101%2Fa"]
)
async def test_an_address_that_is_no_identifier(registry: Registry, address: str) -> None:
    reply = await registry.client.get(f"/v1/identifiers/{address}")
    assert (reply.status, reply.kind, reply.document["place"]) == (400, "bad-identifier", "address")


async def test_what_was_read_can_be_put_again(registry: Registry) -> None:
    made = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    body = {"identifier": made.document["identifier"], "values": made.document["values"]}
    again = await registry.client.put("/v1/identifiers/88.101/A", body, If_Match=made.headers["ETag"])
    assert (again.status, again.document) == (200, made.document)


async def test_put_replaces_all_values_and_makes_what_is_not_there(registry: Registry) -> None:
    made = await registry.client.put("/v1/identifiers/88.101/B", {"values": VALUES})
    assert made.status == 201
    replaced = await registry.client.put("/v1/identifiers/88.101/B", {"values": VALUES[1:]})
    assert (replaced.status, [v["index"] for v in replaced.document["values"]]) == (200, [2])
    assert replaced.document["serial"] > made.document["serial"]


async def test_put_must_not_name_another_identifier(registry: Registry) -> None:
    reply = await registry.client.put("/v1/identifiers/88.101/B", {"identifier": "88.101/C", "values": VALUES})
    assert (reply.status, reply.document["place"]) == (400, "identifier")


async def test_put_with_if_none_match_never_replaces(registry: Registry) -> None:
    first = await registry.client.put("/v1/identifiers/88.101/B", {"values": VALUES}, If_None_Match="*")
    second = await registry.client.put("/v1/identifiers/88.101/B", {"values": VALUES[1:]}, If_None_Match="*")
    assert (first.status, second.status, second.kind) == (201, 412, "stale")


async def test_patch_sets_and_removes(registry: Registry) -> None:
    await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    body = {"values": [{"index": 7, "type": "EMAIL", "data": "a@example.org"}], "remove": [2]}
    patched = await registry.client.patch("/v1/identifiers/88.101/A", body)
    assert [v["index"] for v in patched.document["values"]] == [1, 7]
    only = await registry.client.patch("/v1/identifiers/88.101/A", {"remove": [7]})
    assert [v["index"] for v in only.document["values"]] == [1]
    missing = await registry.client.patch("/v1/identifiers/88.101/nobody", body)
    assert (missing.status, missing.kind) == (404, "not-found")


async def test_a_change_meant_for_another_version_is_stale(registry: Registry) -> None:
    made = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    tag = made.headers["ETag"]
    assert (await registry.client.patch("/v1/identifiers/88.101/A", {"remove": [2]}, If_Match=tag)).status == 200
    for reply in (
        await registry.client.put("/v1/identifiers/88.101/A", {"values": VALUES}, If_Match=tag),
        await registry.client.patch("/v1/identifiers/88.101/A", {"remove": [1]}, If_Match=tag),
        await registry.client.delete("/v1/identifiers/88.101/A", If_Match=tag),
        await registry.client.put("/v1/identifiers/88.101/new", {"values": VALUES}, If_Match=tag),
    ):
        assert (reply.status, reply.kind) == (412, "stale")
    assert (await registry.client.delete("/v1/identifiers/88.101/A", If_Match="*")).status == 200
    assert (await registry.client.delete("/v1/identifiers/88.101/nobody", If_Match="*")).kind == "not-found"
    nobody = await registry.client.put("/v1/identifiers/88.101/nobody", {"values": VALUES}, If_Match="*")
    assert (nobody.status, nobody.kind) == (412, "stale")


@pytest.mark.parametrize("tag", ["17", '"0"', 'W/"17"', '"17", "18"', '"x"', ""])
async def test_an_if_match_that_cannot_be_ours_is_refused(registry: Registry, tag: str) -> None:
    reply = await registry.client.delete("/v1/identifiers/88.101/A", If_Match=tag)
    assert (reply.status, reply.kind, reply.document["place"]) == (400, "bad-header", "If-Match")


async def test_if_none_match_spares_the_body(registry: Registry) -> None:
    made = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES})
    for tag in (made.headers["ETag"], f'"1000000", W/{made.headers["ETag"]}', "*"):
        assert (await registry.client.get("/v1/identifiers/88.101/A", If_None_Match=tag)).status == 304
    assert (await registry.client.get("/v1/identifiers/88.101/A", If_None_Match='"1000000"')).status == 200


async def test_a_deleted_identifier_answers_as_gone_and_keeps_its_history(registry: Registry) -> None:
    made = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A b", "values": VALUES})
    deleted = await registry.client.delete("/v1/identifiers/88.101/A%20b")
    assert (deleted.status, deleted.document["gone"]) == (200, True)
    for reply in (
        await registry.client.get("/v1/identifiers/88.101/A%20b"),
        await registry.client.post("/v1/identifiers", {"identifier": "88.101/A b", "values": VALUES}),
        await registry.client.put("/v1/identifiers/88.101/A%20b", {"values": VALUES}),
        await registry.client.delete("/v1/identifiers/88.101/A%20b"),
    ):
        assert (reply.status, reply.kind, reply.document["history"]) == (410, "gone", "/v1/history/88.101/A%20b")
        assert reply.headers["Link"] == '</v1/history/88.101/A%20b>; rel="version-history"'
    history = await registry.client.get(reply.document["history"])
    last, first = history.document["items"]
    assert (last["action"], last["gone"], last["actor"]) == ("delete", True, "operator")
    assert (first["action"], first["serial"], first["values"]) == ("register", made.document["serial"], made.document["values"])


async def test_history_is_read_page_by_page(registry: Registry) -> None:
    await registry.client.post("/v1/identifiers", {"identifier": "88.101.L5/A", "values": VALUES})
    for number in range(6):
        values = [{"index": 1, "type": "N", "data": str(number)}]
        await (registry.client if number % 2 else registry.registrant).put("/v1/identifiers/88.101.L5/A", {"values": values})
    seen, query = [], "limit=3"
    while query:
        page = (await registry.client.get(f"/v1/history/88.101.L5/A?{query}")).document
        assert len(page["items"]) <= 3
        seen += page["items"]
        query = f"limit=3&before={page['before']}" if "before" in page else ""
    assert [entry["actor"] for entry in seen] == ["operator", "line-3"] * 3 + ["operator"]
    assert [entry["serial"] for entry in seen] == sorted((entry["serial"] for entry in seen), reverse=True)
    nobody = await registry.client.get("/v1/history/88.101/nobody")
    assert (nobody.status, nobody.kind) == (404, "not-found")


async def test_the_same_idempotency_key_gives_the_same_reply(registry: Registry) -> None:
    body = {"identifier": "88.101/A", "values": VALUES}
    first = await registry.client.post("/v1/identifiers", body, Idempotency_Key="order-1")
    await registry.client.put("/v1/identifiers/88.101/A", {"values": VALUES[:1]})
    again = await registry.client.post("/v1/identifiers", body, Idempotency_Key="order-1")
    assert (again.status, again.document, again.headers["ETag"]) == (201, first.document, first.headers["ETag"])
    for verb, sent in (("PUT", {"values": VALUES}), ("PATCH", {"remove": [1]}), ("DELETE", None)):
        path, headers = "/v1/identifiers/88.101/A", {"If_Match": "*", "Idempotency_Key": f"any {verb}"}
        one, two = [await registry.client.ask(verb, path, sent, **headers) for _ in range(2)]
        assert (one.status, one.body) == (200, two.body)
    elsewhere = await registry.client.delete("/v1/identifiers/88.101/B", If_Match="*", Idempotency_Key="any DELETE")
    assert (elsewhere.status, elsewhere.kind) == (422, "idempotency-key-reused")
    other = await registry.client.post("/v1/identifiers", {**body, "identifier": "88.101/B"}, Idempotency_Key="order-1")
    assert (other.status, other.kind) == (422, "idempotency-key-reused")
    method = await registry.client.put("/v1/identifiers/88.101/A", {"values": VALUES}, Idempotency_Key="order-1")
    assert (method.status, method.kind) == (422, "idempotency-key-reused")


async def test_an_idempotency_key_under_concurrency_makes_one_change(registry: Registry) -> None:
    def put() -> Coroutine[None, None, Reply]:
        return registry.client.put("/v1/identifiers/88.101/C", {"values": VALUES}, Idempotency_Key="twice")

    replies = await asyncio.gather(*(put() for _ in range(20)))
    assert {reply.status for reply in replies} == {201}
    assert len({reply.body for reply in replies}) == 1
    assert len(await registry.service.history(Identifier.parse("88.101/C"))) == 1


async def test_a_page_of_a_history_is_bounded_in_octets(registry: Registry) -> None:
    for number in range(40):
        values = [{"index": 1, "type": "TEXT", "data": str(number) * 90_000}]
        assert (await registry.client.put("/v1/identifiers/88.101/long", {"values": values})).status in (200, 201)
    page = await registry.client.get("/v1/history/88.101/long?limit=100")
    assert 16 <= len(page.document["items"]) < 40
    rest = await registry.client.get(f"/v1/history/88.101/long?limit=100&before={page.document['before']}")
    assert len(page.document["items"]) + len(rest.document["items"]) == 40


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel"])
async def test_an_idempotency_key_that_is_none(registry: Registry, key: str) -> None:
    reply = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": VALUES}, Idempotency_Key=key)
    assert (reply.status, reply.kind) == (400, "bad-header")
