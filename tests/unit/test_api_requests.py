"""What the API refuses, and how: each refusal is a problem document with the right kind, place and status."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from registry.api import make_app
from registry.connection import Listener
from registry.keys import KeyDirectory
from registry.problems import KINDS
from resolver.core.errors import ConfigError
from tests.support.api import VALUES, Client, Registry, Reply, running
from tests.support.raw import exchange

BODY = {"identifier": "88.101/A", "values": VALUES}
HEAD = "POST /v1/identifiers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """One for all tests here: most only see refusals."""
    path = tmp_path_factory.mktemp("registry")
    async with running(path, http_body_octets=20_000, http_body_seconds=1, http_idle_seconds=1) as found:
        yield found


def said(reply: Reply) -> tuple[int, str, str]:
    return reply.status, reply.kind, reply.document.get("place", "")


# ---- who may come in


async def test_without_a_valid_token_nothing_is_done(registry: Registry) -> None:
    for headers, kind in (
        ({}, "no-token"),
        ({"Authorization": "Basic b3A6b3A="}, "no-token"),
        ({"Authorization": "Bearer "}, "no-token"),
        ({"Authorization": "Bearer wm_wrong"}, "bad-token"),
    ):
        async with Client(registry.listener.address, None) as client:
            reply = await client.post("/v1/identifiers", BODY, **headers)
        assert said(reply) == (401, kind, "Authorization")
        assert reply.headers["WWW-Authenticate"].startswith('Bearer realm="waymark"')
    assert (await registry.client.get("/v1/identifiers/88.101/A")).kind == "not-found"


async def test_a_registrant_writes_and_sees_its_own_prefixes_only(registry: Registry) -> None:
    own = {"identifier": "88.101.L5/A", "values": VALUES}
    assert (await registry.registrant.post("/v1/identifiers", own)).status == 201
    assert (await registry.registrant.get("/v1/identifiers/88.101.L5/A")).status == 200
    assert (await registry.registrant.get("/v1/prefixes/88.101.L5")).status == 200
    await registry.client.post("/v1/identifiers", {**BODY, "identifier": "88.101/others"})
    for reply in (
        await registry.registrant.post("/v1/identifiers", {**BODY, "identifier": "88.101/B"}),
        await registry.registrant.put("/v1/identifiers/88.101/others", {"values": VALUES}),
        await registry.registrant.patch("/v1/identifiers/88.101/others", {"remove": [1]}),
        await registry.registrant.delete("/v1/identifiers/88.101/others"),
        await registry.registrant.delete("/v1/identifiers/88.101/others", If_Match="*"),
        await registry.registrant.get("/v1/identifiers/88.101/others"),
        await registry.registrant.get("/v1/identifiers/88.101.L55/A"),
        await registry.registrant.get("/v1/history/88.101/others"),
        await registry.registrant.get("/v1/identifiers?prefix=88.101"),
        await registry.registrant.get("/v1/identifiers?prefix=88.101.L55"),
        await registry.registrant.get("/v1/prefixes/88.101"),
        await registry.registrant.post("/v1/prefixes", {"prefix": "88.101.L5.1"}),
        await registry.registrant.get("/v1/tokens"),
        await registry.registrant.post("/v1/tokens", {"name": "x", "role": "operator"}),
        await registry.registrant.delete("/v1/tokens/operator"),
    ):
        assert (reply.status, reply.kind) == (403, "forbidden")
    assert (await registry.registrant.bulk(json.dumps(BODY).encode())).lines[0]["problem"]["status"] == 403
    assert [item["prefix"] for item in (await registry.registrant.get("/v1/prefixes")).document["items"]] == ["88.101.L5"]


async def test_tokens_are_made_shown_once_and_revoked(registry: Registry) -> None:
    made = await registry.client.post("/v1/tokens", {"name": "line 4", "role": "registrant", "prefixes": ["88.101.ab"]})
    assert (made.status, made.document["prefixes"]) == (201, ["88.101.AB"])
    secret = made.document["secret"]
    async with Client(registry.listener.address, secret) as client:
        assert (await client.get("/v1/identifiers?prefix=88.101.AB")).status == 200
        listed = await registry.client.get("/v1/tokens")
        assert {token["name"] for token in listed.document["items"]} == {"operator", "line-3", "line 4"}
        assert secret.encode() not in listed.body
        twice = await registry.client.post("/v1/tokens", {"name": "line 4", "role": "operator"})
        assert said(twice) == (409, "name-taken", "name")
        assert (await registry.client.delete("/v1/tokens/line%204")).status == 204
        assert (await client.get("/v1/identifiers?prefix=88.101.AB")).status == 401
    assert (await registry.client.delete("/v1/tokens/line%204")).kind == "no-such-token"


# ---- documents


@pytest.mark.parametrize(
    ("body", "kind", "place"),
    [
        (b"", "bad-json", "body"),
        (b"{", "bad-json", "body"),
        (b"\xff{}", "bad-json", "body"),
        (b'{"identifier": NaN}', "bad-json", "body"),
        (b"9" * 19_000, "bad-json", "body"),
        (b"[" * 19_000, "too-large", "body"),
        (b'{"identifier":"88.101/A","values":' + b"[" * 17 + b"]" * 17 + b"}", "too-large", "body"),
        (b"[]", "bad-document", "body"),
        (b"null", "bad-document", "body"),
        (b"{}", "bad-document", "identifier"),
        (b'{"identifier":17}', "bad-document", "identifier"),
        (b'{"identifier":"88.101"}', "bad-identifier", "identifier"),
        (b'{"identifier":"88.101/a\\u200b"}', "bad-identifier", "identifier"),
        (b'{"identifier":"88.101/a\\ud800"}', "bad-identifier", "identifier"),
        (b'{"identifier":"88.101/A"}', "bad-document", "values"),
        (b'{"identifier":"88.101/A","identifier":"88.101/B","values":[]}', "bad-json", "body"),
        (b'{"identifier":"88.101/A","values":{}}', "bad-document", "values"),
        (b'{"identifier":"88.101/A","value":[]}', "bad-document", "body"),
        (b'{"identifier":"88.101/A","\\ud800":[]}', "bad-document", "body"),
        (b'{"identifier":"88.101/A","values":[{"type":"URL"}]}', "bad-document", "values[0]"),
        (b'{"identifier":"88.101/A","values":[{"type":"URL","data":"x","index":0}]}', "bad-document", "values[0].index"),
        (b'{"identifier":"88.101/A","values":[{"type":"URL","data":"x","index":1e400}]}', "bad-document", "values[0].index"),
        (b'{"identifier":"88.101/A","values":[{"type":"URL","data":"\\udfff"}]}', "bad-document", "values[0].data"),
        (b'{"identifier":"88.101/A","values":[{"type":"URL","data":{"format":"base64","value":"?"}}]}', "bad-document",
         "values[0].data.value"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_registration(registry: Registry, body: bytes, kind: str, place: str) -> None:
    reply = await registry.client.post("/v1/identifiers", body, Content_Type="application/json")
    assert (reply.kind, reply.document.get("place")) == (kind, place)
    assert reply.status == KINDS[kind].status


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([], "values"),
        ([{"index": 1, "type": "A", "data": "x"}, {"index": 1, "type": "B", "data": "y"}], "values[1].index"),
        ([{"index": 402, "type": "A", "data": "x"}], "values[0].index"),
        ([{"index": 1, "type": "HS_SIGNATURE.ED25519", "data": "x"}], "values[0].type"),
    ],
)
async def test_values_that_the_service_rejects(registry: Registry, values: list[object], place: str) -> None:
    reply = await registry.client.post("/v1/identifiers", {"identifier": "88.101/A", "values": values})
    assert said(reply) == (422, "invalid-value", place)


@pytest.mark.parametrize(
    ("path", "document", "place"),
    [
        ("/v1/prefixes", {}, "prefix"),
        ("/v1/prefixes", {"prefix": "88..1"}, "prefix"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "proof": "x"}, "servers"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "servers": []}, "proof"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "servers": [], "proof": "x"}, "servers"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "servers": [{"address": "nobody", "handle_port": 1}], "proof": "x"},
         "servers[0].address"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "servers": [{"address": "::1", "handle_port": 0}], "proof": "x"},
         "servers[0].handle_port"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "servers": [{"address": "::1", "handle_port": 1}], "proof": "x"},
         "servers[0].address"),
        ("/v1/prefixes", {"prefix": "88.101.L5", "delegates": 1}, "delegates"),
        ("/v1/tokens", {"name": "a/b", "role": "operator"}, "name"),
        ("/v1/tokens", {"name": "a", "role": "king"}, "role"),
        ("/v1/tokens", {"name": "a", "role": "registrant"}, "prefixes"),
        ("/v1/tokens", {"name": "a", "role": "registrant", "prefixes": ["88.1", "-"]}, "prefixes[1]"),
        ("/v1/tokens", {"name": "a", "role": "operator", "prefixes": ["88.1"]}, "prefixes"),
    ],
)  # fmt: skip
async def test_delegations_and_tokens_that_are_none(registry: Registry, path: str, document: object, place: str) -> None:
    assert said(await registry.client.post(path, document)) == (400, "bad-document", place)


# ---- types, sizes, encodings


async def test_a_body_of_another_type_is_refused(registry: Registry) -> None:
    for media_type in ("text/plain", "application/json; charset=latin-1", "application/x-ndjson"):
        reply = await registry.client.post("/v1/identifiers", b"{}", Content_Type=media_type)
        assert said(reply) == (415, "bad-media-type", "Content-Type")
        assert reply.headers["Accept"] == "application/json"
    assert said(await registry.client.bulk(b"", Content_Type="application/json"))[0] == 415
    for reply in (
        await registry.client.post("/v1/identifiers", b"{}", Content_Type="application/json", Content_Encoding="br"),
        await registry.client.bulk(b"{}", Content_Encoding="br"),
    ):
        assert said(reply) == (415, "bad-media-type", "Content-Encoding")
        assert reply.headers["Accept-Encoding"] == "gzip"


async def test_a_body_may_be_compressed_and_is_bounded_unpacked(registry: Registry) -> None:
    async def post(body: bytes) -> Reply:
        return await registry.client.post("/v1/identifiers", body, Content_Type="application/json", Content_Encoding="gzip")

    packed = gzip.compress(json.dumps({**BODY, "identifier": "88.101/packed"}).encode())
    assert (await post(packed)).status == 201
    assert (await post(gzip.compress(b"") + packed)).status == 200  # two members
    for broken in (packed[:-4], packed[:10] + b"\0" + packed[11:], b"{}", packed + b"{}"):
        assert said(await post(broken)) == (400, "bad-encoding", "body")
    assert (await post(gzip.compress(b" " * 30_000))).kind == "too-large"
    assert (await post(gzip.compress(b" " * 10_000_000))).kind == "too-large"


async def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(registry: Registry) -> None:
    assert said(await registry.client.post("/v1/identifiers", b" " * 20_001, Content_Type="application/json"))[1] == "too-large"
    head = HEAD.format(registry.client.secret)
    chunked = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b" " * 4096 + b"\r\n"
    reply = await exchange(registry.listener.address, chunked + (b"1000\r\n" + b" " * 4096 + b"\r\n") * 5 + b"0\r\n\r\n")
    assert said(reply) == (413, "too-large", "body")


async def test_a_body_that_does_not_come_is_not_waited_for(registry: Registry) -> None:
    head = HEAD.format(registry.client.secret)
    reply = await exchange(registry.listener.address, head.encode() + b"Content-Length: 100\r\n\r\n{")
    assert said(reply) == (408, "slow-body", "body")


# ---- what is not HTTP as we take it


@pytest.mark.parametrize(
    "octets",
    [
        b"GET /healthz HTTX\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 100 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_octets_that_are_no_request(registry: Registry, octets: bytes) -> None:
    reply = await exchange(registry.listener.address, octets)
    assert (reply.status, reply.kind) == (400, "bad-request")
    assert reply.headers["Content-Type"] == "application/problem+json"


async def test_a_head_that_does_not_end_is_not_waited_for(registry: Registry) -> None:
    with pytest.raises(asyncio.IncompleteReadError) as nothing:
        await exchange(registry.listener.address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert nothing.value.partial == b""


async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, connections=16) as registry:
        host, _, port = registry.listener.address.removeprefix("http://").rpartition(":")
        open_ones = [await asyncio.open_connection(host, int(port)) for _ in range(16)]
        try:
            refused = await exchange(registry.listener.address, b"")
            assert (said(refused), refused.headers["Retry-After"]) == ((503, "busy", ""), "1")
        finally:
            for _, writer in open_ones:
                writer.close()
                await writer.wait_closed()


async def test_addresses_and_methods_that_there_are_not(registry: Registry) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/v1/tokens/a/b", "/v1/problems/nothing", "/v1/identifiers/"):
        assert said(await registry.client.get(path)) == (404, "no-such-page", "address")
    reply = await registry.client.put("/v1/bulk", b"")
    assert (said(reply), reply.headers["Allow"]) == ((405, "bad-method", "address"), "POST")
    reply = await registry.client.ask("OPTIONS", "/healthz")
    assert (said(reply)[0], reply.headers["Allow"]) == (405, "GET,HEAD")


async def test_parameters_that_nobody_reads_are_refused(registry: Registry) -> None:
    for path, place in (
        ("/v1/identifiers?prefix=88.101&limit=0", "limit"),
        ("/v1/identifiers?prefix=88.101&limit=1001", "limit"),
        ("/v1/identifiers?prefix=88.101&limit=%D9%A3", "limit"),
        ("/v1/identifiers?prefix=88.101&cursor=%FF", "cursor"),
        ("/v1/identifiers?prefix=88.101&cursor=a", "cursor"),
        ("/v1/identifiers?prefix=88.101&curser=x", "curser"),
        ("/v1/history/88.101/A?before=x", "before"),
        ("/v1/tokens?limit=1", "limit"),
    ):
        assert said(await registry.client.get(path)) == (400, "bad-parameter", place)
    assert said(await registry.client.get("/v1/identifiers")) == (400, "bad-identifier", "prefix")


async def test_expectations(registry: Registry) -> None:
    body = json.dumps({**BODY, "identifier": "88.101/expected"}).encode()
    kept = await registry.client.post("/v1/identifiers", body, Content_Type="application/json", Expect="100-continue")
    assert kept.status == 201
    refused = await registry.client.post("/v1/identifiers", body, Content_Type="application/json", Expect="200-ok")
    assert said(refused) == (417, "bad-expectation", "Expect")


async def test_a_request_keeps_its_name(registry: Registry) -> None:
    named = await registry.client.get("/v1/nothing", X_Request_Id="order-4711.1")
    assert named.headers["X-Request-Id"] == named.document["request_id"] == "order-4711.1"
    unsafe = await registry.client.get("/v1/nothing", X_Request_Id="<script>")
    assert unsafe.headers["X-Request-Id"] == unsafe.document["request_id"] != "<script>"


# ---- prefixes and the open addresses


async def test_prefixes_are_delegated_listed_and_read(registry: Registry) -> None:
    for number in range(1, 5):
        made = await registry.client.post("/v1/prefixes", {"prefix": f"88.101.{number}"})
        assert (made.status, made.document["identifier"]) == (201, f"0.NA/88.101.{number}")
        assert made.headers["Location"] == f"/v1/prefixes/88.101.{number}"
    found = (await registry.client.get("/v1/prefixes/88.101.3")).document
    assert found["homed"] is True
    assert found["record"]["identifier"] == "0.NA/88.101.3"
    assert any(value["type"] == "JWK" for value in found["record"]["values"])
    seen: list[str] = []
    query = "limit=2"
    while query:
        page = (await registry.client.get(f"/v1/prefixes?{query}")).document
        seen += [item["prefix"] for item in page["items"]]
        query = f"limit=2&cursor={page['next']}" if "next" in page else ""
    assert seen == ["88.101", *(f"88.101.{number}" for number in range(1, 5)), "88.101.L5"]
    assert said(await registry.client.get("/v1/prefixes/88.102")) == (404, "no-such-prefix", "address")
    elsewhere = await registry.client.post("/v1/prefixes", {"prefix": "88.102.1"})
    assert (elsewhere.status, elsewhere.kind) == (422, "not-homed")


async def test_a_prefix_goes_to_a_node_of_its_own_only_with_its_proof(registry: Registry, tmp_path: Path) -> None:
    child = KeyDirectory(tmp_path)
    child.generate("88.101.8")
    servers = [{"address": "127.0.0.1", "handle_port": 2642, "http_port": 8001}, {"address": "2001:db8::1", "handle_port": 2642}]
    proof = child.make_proof("88.101.8", "88.101")
    document = {"prefix": "88.101.8", "servers": servers, "proof": proof}
    made = await registry.client.post("/v1/prefixes", document)
    assert made.status == 201
    site = next(value["data"]["value"] for value in made.document["values"] if value["type"] == "HS_SITE")
    assert [server["address"] for server in site["servers"]] == ["127.0.0.1", "2001:db8::1"]
    assert (await registry.client.get("/v1/prefixes/88.101.8")).document["homed"] is False
    for wrong in (child.make_proof("88.101.8", "88.102"), proof[:-4] + "AAAA", "x"):
        refused = await registry.client.post("/v1/prefixes", {**document, "proof": wrong})
        assert said(refused) == (422, "bad-proof", "proof")
    child.generate("88.101.9")
    other = await registry.client.post("/v1/prefixes", {**document, "proof": child.make_proof("88.101.9", "88.101")})
    assert said(other) == (422, "bad-proof", "proof")


async def test_a_port_that_is_taken_is_told(registry: Registry, tmp_path: Path) -> None:
    taken = registry.config._replace(port=int(registry.listener.address.rpartition(":")[2]))
    with pytest.raises(ConfigError, match=r"registry\.port"):
        await Listener.start(make_app(registry.service, taken), taken)


async def test_open_addresses_need_no_token(registry: Registry) -> None:
    async with Client(registry.listener.address, None) as client:
        assert (await client.get("/healthz")).document == {"status": "alive"}
        assert (await client.get("/readyz")).document["status"] == "ready"
        assert (await client.get("/v1/openapi.json")).document["openapi"].startswith("3.1")
        for kind, known in KINDS.items():
            assert (await client.get(f"/v1/problems/{kind}")).document["title"] == known.title
        await client.get("/v1/nothing")
        shown = (await client.get("/metrics")).body.decode()
    assert 'waymark_registry_requests_total{method="GET",route="none",status="404"}' in shown


async def test_metrics_tell_how_far_the_table_lags(registry: Registry) -> None:
    async def serials() -> list[float]:
        lines = (await registry.client.get("/metrics")).body.decode().splitlines()
        return [float(line.split()[1]) for line in lines if re.match(r"waymark_registry_(published_)?serial ", line)]

    document = {"identifier": "88.101/LAG", "values": [{"index": 1, "type": "URL", "data": "https://example.org/"}]}
    written = await registry.client.post("/v1/identifiers", document)
    await registry.service.publisher.published(written.document["serial"])
    assert await serials() == [written.document["serial"]] * 2
