"""The HTTP door as its clients see it: an unmodified HTTP client against a served door, authoritative and recursive."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from resolver.core.record import Value
from resolver.core.wire.json import value_from_json, value_to_json
from resolver.table import record_key
from tests.support.http_node import LONG, PRODUCT, HttpNode, http_node, small_world

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"Accept": "application/json"}


class Client:
    """Requests to one node; redirects are not followed."""

    def __init__(self, node: HttpNode, session: aiohttp.ClientSession) -> None:
        self.node = node
        self._session = session

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[aiohttp.ClientResponse, str]:
        url = self.node.url + path
        async with self._session.request(method, url, headers=headers, allow_redirects=False) as response:
            return response, await response.text()

    async def json(self, path: str, **headers: str) -> tuple[int, Any]:
        response, _ = await self.ask(path, **headers)
        return response.status, await response.json(content_type=None)


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with http_node(tmp_path) as node, aiohttp.ClientSession() as session:
        yield Client(node, session)


@pytest_asyncio.fixture
async def recursive(tmp_path: Path) -> AsyncIterator[Client]:
    async with http_node(tmp_path, role="recursive") as node, aiohttp.ClientSession() as session:
        yield Client(node, session)


# ---- the JSON API


async def test_a_record_has_the_deployed_shape(client: Client) -> None:
    response, text = await client.ask(f"/api/handles/{PRODUCT}")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert text.startswith('{"responseCode":1,"handle":"88.118/6901234567892","values":[{"index":1,"type":"URL","data":{"format":')
    expected = [value_to_json(value) for value in client.node.world.values(PRODUCT) if value.is_public]
    assert (await response.json(content_type=None))["values"] == expected
    assert [value["index"] for value in expected] == [1, 2, 3, 100, 402]


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("?type=URL", [1]),
        ("?type=url&type=NAME", [1, 2]),
        ("?index=100&type=DESC", [3, 100]),
        ("?index=402", [402]),
        ("?type=HS_.", []),
        ("?type=HS_SIGNATURE.", [402]),
        ("?index=4", []),
    ],
)
async def test_types_and_indexes_are_or_ed(client: Client, query: str, indexes: list[int]) -> None:
    status, document = await client.json(f"/api/handles/{PRODUCT}{query}")
    assert [value["index"] for value in document["values"]] == indexes
    assert (status, document["responseCode"]) == (200, 1 if indexes else 200)


async def test_the_handle_is_echoed_as_it_was_asked(client: Client) -> None:
    client.node.world.put("88.118/a+b c", Value(1, "DESC", b"x"))
    for path, name in [
        ("/api/handles/88.118/%E8%AE%BE%E5%A4%87-01", "88.118/设备-01"),
        ("/api/handles/88.118/plain", "88.118/plain"),
    ]:
        status, document = await client.json(path)
        assert (status, document["handle"]) == (200, name)
    status, document = await client.json("/api/handles/88.118/a+b")
    assert (status, document["handle"]) == (404, "88.118/a+b")


async def test_a_bare_prefix_stands_for_its_record(client: Client) -> None:
    status, document = await client.json("/api/handles/88.118.8")
    assert (status, document["handle"], document["responseCode"]) == (200, "88.118.8", 1)
    assert {"HS_SITE", "JWK"} <= {value["type"] for value in document["values"]}


async def test_a_long_identifier_is_found_by_its_name_and_not_by_the_key_of_its_record(client: Client) -> None:
    status, document = await client.json(f"/api/handles/{quote(LONG)}")
    assert (status, document["handle"]) == (200, LONG)
    key = record_key(LONG.encode())
    assert client.node.desk.table is not None
    assert client.node.desk.table.get(key) is not None
    status, document = await client.json(f"/api/handles/{quote(key)}")
    assert (status, document["responseCode"]) in ((400, 102), (400, 4))


async def test_what_is_not_there_has_its_code_and_status(client: Client) -> None:
    assert await client.json("/api/handles/88.118/none") == (404, {"responseCode": 100, "handle": "88.118/none"})
    status, gone = await client.json("/api/handles/88.118/gone")
    assert (status, gone["responseCode"]) == (404, 100)
    assert gone["message"].startswith("deleted at 20")
    status, foreign = await client.json("/api/handles/91.5/x")
    assert (status, foreign["responseCode"]) == (400, 301)
    status, bad = await client.json("/api/handles/88..118/x")
    assert (status, bad["responseCode"]) == (400, 102)
    assert "empty label" in bad["message"]


async def test_a_referral_says_whom_to_ask(client: Client) -> None:
    status, document = await client.json("/api/handles/88.118.8/ABC")
    assert (status, document["responseCode"]) == (300, 303)
    assert "http://127.0.0.1:8000" in document["message"]
    values = [value_from_json(value, "value") for value in document["values"]]
    assert values == [value for value in client.node.world.values("0.NA/88.118.8") if value.is_public]


@pytest.mark.parametrize("query", ["?index=x", "?index=-1", "?index=" + "9" * 20, "?type=%ff"])
async def test_a_wrong_parameter_is_told(client: Client, query: str) -> None:
    status, document = await client.json(f"/api/handles/{PRODUCT}{query}")
    assert (status, document["responseCode"]) == (400, 4)
    assert "index must be a whole number" in document["message"] or "the query" in document["message"]


async def test_as_many_filters_as_the_bound_allows(client: Client) -> None:
    assert (await client.json(f"/api/handles/{PRODUCT}?" + "&".join(["index=1"] * 256)))[0] == 200
    status, document = await client.json(f"/api/handles/{PRODUCT}?" + "&".join(["index=1"] * 257))
    assert (status, document["message"]) == (400, "257 indexes and types; at most 256 are allowed")


async def test_pretty_is_the_same_document(client: Client) -> None:
    response, text = await client.ask(f"/api/handles/{PRODUCT}?pretty")
    assert text.count("\n") > 30
    assert await response.json(content_type=None) == (await client.json(f"/api/handles/{PRODUCT}"))[1]


async def test_answers_are_kept_until_the_record_changes(client: Client) -> None:
    node, path = client.node, f"/api/handles/{PRODUCT}"
    first = await client.json(path)
    assert await client.json(path) == first
    assert (node.cell("cache", "http", "hit"), node.cell("cache", "http", "miss")) == (1, 1)
    node.door.forget([PRODUCT.encode()])
    assert await client.json(path) == first
    assert node.cell("cache", "http", "miss") == 2
    assert node.cell("query", "http", "answer") == 3


async def test_the_rest_of_the_api(client: Client) -> None:
    status, document = await client.json("/api/site")
    assert (status, document["responseCode"]) == (200, 1)
    assert document["site"]["servers"][0]["interfaces"][0] == {"query": True, "admin": False, "protocol": "UDP", "port": 2642}
    assert await client.json("/api/nothing") == (
        404,
        {"responseCode": 4, "message": "Unknown HTTP API endpoint GET /api/nothing"},
    )
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        response, text = await client.ask("/api/handles/88.118/x", method)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert '"responseCode":5' in text


async def test_pages_of_any_origin_may_read(client: Client) -> None:
    for path in (f"/api/handles/{PRODUCT}", "/88.118/plain", "/healthz"):
        response, _ = await client.ask(path, Origin="https://app.example")
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Origin" in ",".join(response.headers.getall("Vary"))
        assert "Access-Control-Allow-Credentials" not in response.headers
    response, _ = await client.ask(f"/api/handles/{PRODUCT}", "OPTIONS", Origin="https://app.example")
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Methods"] == "GET,POST,HEAD,PUT,DELETE"
    assert response.headers["Access-Control-Max-Age"] == "86400"
    response, _ = await client.ask(f"/api/handles/{PRODUCT}")
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_head_is_get_without_the_body(client: Client) -> None:
    for path in (f"/api/handles/{PRODUCT}", "/88.118/plain", "/metrics"):
        whole, text = await client.ask(path)
        head, nothing = await client.ask(path, "HEAD")
        assert (head.status, nothing) == (200, "")
        if path != "/metrics":
            assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(text.encode()))


# ---- the path of an identifier


async def test_a_verified_record_leads_to_its_address(client: Client) -> None:
    response, text = await client.ask(f"/{PRODUCT}", **BROWSER)
    assert response.status == 302
    assert response.headers["Location"] == "https://example.org/p/6901234567892?lang=zh&from=%E6%A0%87%E8%AF%86"
    assert response.headers["Vary"] == "Accept, Accept-Language"
    assert "Expires" in response.headers
    assert "&amp;from=" in text
    assert (await client.ask("/hdl:88.118/6901234567892"))[0].status == 302


async def test_a_verdict_is_remembered_for_what_was_verified(client: Client) -> None:
    for _ in range(3):
        assert (await client.ask(f"/{PRODUCT}"))[0].status == 302
    assert client.node.recursion.verified == 1


async def test_the_exact_type_comes_first_and_only_the_web_is_a_target(client: Client) -> None:
    response, _ = await client.ask("/88.118/two")
    assert (response.status, response.headers["Location"]) == (302, "http://new.example/")
    response, text = await client.ask("/88.118/script")
    assert (response.status, "Location" in response.headers) == (200, False)
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in text
    assert "<script" not in text
    assert 'href="javascript' not in text


@pytest.mark.parametrize(("path", "language", "word"), [("", "zh-CN,zh;q=0.9,en;q=0.8", "已验证"), ("", "fr, en;q=0.5", "Verified"),
                                                        ("&lang=zh", "en", "已验证"), ("&lang=xx", "zh", "已验证")])  # fmt: skip
async def test_the_record_page_speaks_the_readers_language(client: Client, path: str, language: str, word: str) -> None:
    response, text = await client.ask(f"/{PRODUCT}?noredirect{path}", **BROWSER, **{"Accept-Language": language})
    assert response.status == 200
    assert f"<h2>{word}</h2>" in text
    assert "三相异步电动机 YE3-132M-4" in text
    assert "for administrators only" not in text
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    loaded = re.findall(r'(?:src|srcset|action|xlink:href)="([^"]*)"|<link[^>]*href="([^"]*)"|url\(([^)]*)\)', text)
    assert {"".join(found) for found in loaded} == {"/", "/favicon.ico"}, "a page fetches nothing from elsewhere"


async def test_a_record_that_fails_to_verify_leads_nowhere(tmp_path: Path) -> None:
    world = small_world()
    world.put(PRODUCT, Value(1, "URL", b"http://evil.example/"), signed_by="0.NA/88.118.8")
    async with http_node(tmp_path, world) as node, aiohttp.ClientSession() as session:
        client = Client(node, session)
        for path in (f"/{PRODUCT}", f"/{PRODUCT}?noredirect"):
            response, text = await client.ask(path, **BROWSER)
            assert response.status == 502
            assert "Location" not in response.headers
            assert "Not verified" in text
            assert "no key of 0.NA/88.118 made this signature" in text
            assert 'href="http://evil.example' not in text
        status, document = await client.json(f"/{PRODUCT}", **JSON)
        assert (status, document["verdict"]["verified"], document["verdict"]["reason"]) == (502, False, "bad-signature")
        assert node.recursion.verified == 3, "a failed verdict is not remembered"


async def test_a_changed_table_is_not_believed_because_the_record_was_once_verified(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.ask(f"/{PRODUCT}"))[0].status == 302
    node = client.node
    assert node.desk.table is not None
    found = node.desk.table.get(PRODUCT.encode())
    assert found is not None
    changed = found.replace(b"example.org", b"exomple.org")
    monkeypatch.setattr(node.desk.table, "get", lambda *_: changed)
    response, text = await client.ask(f"/{PRODUCT}")
    assert response.status == 502
    assert "no key of 0.NA/88.118 made this signature" in text


async def test_nobody_above_to_ask_is_not_the_same_as_tampered(client: Client) -> None:
    client.node.recursion.down = True
    response, text = await client.ask(f"/{PRODUCT}", **BROWSER)
    assert response.status == 504
    assert "Could not be verified now" in text


async def test_record_and_verdict_as_json(client: Client) -> None:
    status, document = await client.json(f"/{PRODUCT}", **JSON)
    assert status == 200
    assert document["identifier"] == PRODUCT
    assert document["verdict"]["verified"] is True
    assert document["stale"] is False
    assert [link["identifier"] for link in document["chain"]] == [PRODUCT, "0.NA/88.118", "0.NA/88", "0.0/0.0"]
    assert document["chain"][0] | {"expires": ""} == {
        "identifier": PRODUCT, "issuer": "302:0.NA/88.118", "serial": document["serial"], "expires": ""
    }  # fmt: skip
    assert document["steps"][0].keys() == {"server", "asked", "said", "milliseconds"}
    assert document["issued"] < document["expires"]
    assert [value["index"] for value in document["values"]] == [1, 2, 3, 100, 402]


@pytest.mark.parametrize(
    ("accept", "json"),
    [("application/json", True), ("application/json, text/html", False), ("text/html;q=0.5, application/json;q=0.9", True),
     ("*/*", False), ("application/json;q=0", False), ("text/html, application/json;q=garbage", False), ("", False)],
)  # fmt: skip
async def test_json_is_for_who_prefers_it(client: Client, accept: str, json: bool) -> None:
    response, _ = await client.ask("/88.118/plain", Accept=accept)
    assert ("json" in response.headers["Content-Type"]) is json


async def test_not_found_helps(client: Client) -> None:
    response, text = await client.ask("/88.118/6901234567893?lang=en", **BROWSER)
    assert response.status == 404
    assert "The check digit of 6901234567893 should be 2." in text
    assert f'href="/{PRODUCT}?noredirect&amp;lang=en"' in text
    response, text = await client.ask("/88.118/PLAIN", **BROWSER)
    assert response.status == 404
    assert 'href="/88.118/plain?noredirect"' in text


async def test_the_other_ends_of_a_question(client: Client) -> None:
    for path, status, words in [
        ("/88.118/gone", 410, "This identifier was deleted"),
        ("/88.118.8/ABC", 300, 'href="http://127.0.0.1:8000/88.118.8/ABC?noredirect"'),
        ("/88.118.8.1/ABC", 300, "Another node answers for this"),
        ("/91.5/x", 400, "This node does not answer for that prefix"),
        ("/88.118%EF%BC%8FABC", 400, 'href="/88.118/ABC?noredirect"'),
        ("/88.118/", 400, "This is not a valid identifier"),
    ]:
        response, text = await client.ask(path, **BROWSER)
        assert (response.status, words in text) == (status, True), path
    for path, status, code in [("/88.118/gone", 410, 100), ("/88.118.8/ABC", 300, 303), ("/91.5/x", 400, 301), ("/1/", 400, 102)]:
        response, _ = await client.ask(path, **JSON)
        document = await response.json(content_type=None)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert (response.status, document["status"], document["responseCode"]) == (status, status, code)


# ---- the node itself


async def test_the_start_page_and_its_form(client: Client) -> None:
    response, text = await client.ask("/", **BROWSER)
    assert response.status == 200
    assert "jiangsu" in text
    assert 'href="/0.NA/88.118?noredirect"' in text
    for typed, target in [("+88.118%2FABC+", "/88.118/ABC"), ("88.118+ABC", "/88.118%20ABC"), ("88.118", "/0.NA/88.118")]:
        response, _ = await client.ask(f"/?identifier={typed}&lang=zh")
        assert (response.status, response.headers["Location"]) == (303, f"{target}?noredirect&lang=zh")


async def test_health_and_readiness(client: Client) -> None:
    assert (await client.ask("/healthz"))[1] == "ok\n"
    status, document = await client.json("/readyz")
    assert (status, document["ready"], document["anchor"]) == (200, True, "anchor.json")
    assert document["table"]["homed"] == 1
    assert document["table"]["age_seconds"] >= 0


async def test_metrics_count_what_was_answered(client: Client) -> None:
    await client.json(f"/api/handles/{PRODUCT}")
    await client.json("/api/handles/88.118/none")
    await client.json("/api/handles/88.118/plain?type=NONE")
    await client.json("/api/handles/91.5/x")
    response, text = await client.ask("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    for line in [
        'waymark_queries_total{door="http",outcome="answer"} 1.0',
        'waymark_queries_total{door="http",outcome="not-found"} 1.0',
        'waymark_queries_total{door="http",outcome="no-data"} 1.0',
        'waymark_queries_total{door="http",outcome="refused"} 1.0',
        'waymark_answer_cache_total{door="http",event="miss"} 4.0',
        "waymark_table_homed_prefixes 1.0",
        "waymark_http_answer_cache_entries 1.0",
    ]:
        assert line in text
    assert int(float(re.findall(r'waymark_latency_seconds_count{door="http"} (\S+)', text)[0])) >= 4


async def test_small_files(client: Client) -> None:
    response, text = await client.ask("/favicon.ico")
    assert response.headers["Content-Type"] == "image/svg+xml"
    assert text.startswith("<svg")
    assert "Disallow: /api/" in (await client.ask("/robots.txt"))[1]


async def test_a_page_says_whether_the_name_is_missing_or_its_prefix(client: Client) -> None:
    for name, absence in {
        "88.118/none": "Prefix 88.118 has no record of 88.118/none.",
        "88.118.77/none": "There is no prefix 88.118.77: 88.118 has not delegated it.",
        "0.NA/88.118.77": "There is no prefix 88.118.77: 88.118 has not delegated it.",
    }.items():
        response, text = await client.ask(f"/{name}", **BROWSER)
        assert response.status == 404
        assert absence in text, text


# ---- a recursive node


async def test_a_recursive_node_answers_for_anybody(recursive: Client) -> None:
    status, document = await recursive.json(f"/api/handles/{PRODUCT}")
    assert (status, document["responseCode"]) == (200, 1)
    assert (await recursive.ask(f"/{PRODUCT}"))[0].status == 302
    assert (await recursive.json("/api/handles/88.118/none"))[0] == 404
    response, text = await recursive.ask("/0.NA/88?noredirect", **BROWSER)
    assert (response.status, "国家顶级节点" in text) == (200, True)


async def test_a_stale_answer_is_marked(recursive: Client) -> None:
    recursive.node.recursion.stale = True
    response, _ = await recursive.ask(f"/api/handles/{PRODUCT}")
    assert response.headers["Warning"] == '110 - "Response is Stale"'
    assert (await recursive.json(f"/{PRODUCT}", **JSON))[1]["stale"] is True
    response, text = await recursive.ask(f"/{PRODUCT}?noredirect", **BROWSER)
    assert response.headers["Warning"].startswith("110 ")
    assert "An older copy" in text
    recursive.node.recursion.stale = False
    response, _ = await recursive.ask(f"/api/handles/{PRODUCT}")
    assert "Warning" not in response.headers, "a stale answer is not kept"


async def test_a_recursive_node_cut_off_says_so(recursive: Client) -> None:
    recursive.node.recursion.down = True
    status, document = await recursive.json(f"/api/handles/{PRODUCT}")
    assert (status, document["message"]) == (504, "no server of 88 answered")
    response, text = await recursive.ask(f"/{PRODUCT}", **BROWSER)
    assert (response.status, "It could not be resolved now" in text) == (504, True)
    status, document = await recursive.json(f"/{PRODUCT}", **JSON)
    assert (status, document["verdict"]["reason"]) == (504, "unreachable")


async def test_an_answer_from_no_cache_is_not_kept_for_the_next_asker(recursive: Client) -> None:
    for _ in range(2):
        assert (await recursive.json(f"/api/handles/{PRODUCT}?auth"))[0] == 200
    assert recursive.node.cell("cache", "http", "hit") == 0


async def test_a_known_answer_on_a_recursive_node_ends_with_its_ttl(recursive: Client) -> None:
    recursive.node.recursion.cached.add(PRODUCT.encode())
    await recursive.json(f"/api/handles/{PRODUCT}")
    target, now = f"/api/handles/{PRODUCT}".encode(), time.time()
    assert recursive.node.door.cache.get(target, now + 50) is not None
    assert recursive.node.door.cache.get(target, now + 62) is None
