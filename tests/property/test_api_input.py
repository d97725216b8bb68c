"""Whatever comes in, the API refuses or does it: no document and no octets make it break (500) or answer what is not described."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.documents import delegation_from_json, token_from_json, write_from_json, write_from_line
from registry.service import Write
from resolver.core.errors import FormatError, WaymarkError
from resolver.core.identifier import Identifier
from tests.support.api import VALUES, Registry, Reply, running

ABC = Identifier.parse("88.101/ABC")
WORDS = (
    *("identifier", "values", "action", "remove", "if_match", "index", "type", "data", "ttl", "permissions", "timestamp"),
    *("references", "format", "value", "prefix", "servers", "proof", "delegates", "address", "handle_port", "http_port"),
    *("name", "role", "prefixes"),
)
TEXTS = (
    *("88.101/A", "88.101/x/y", "0.NA/88.101.7", "88.101", "register", "patch", "delete", "URL", "HS_SITE", "string", "site"),
    *("key", "base64", "operator", "registrant", "2026-11-20T04:48:46Z", "1110", "\ud800", "127.0.0.1", "a.b.c"),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(TEXTS), st.text(max_size=8)
)  # fmt: skip
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=6),
    max_leaves=12,
)


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """A change with some of its parts put wrong."""
    document: dict[str, Any] = {"identifier": f"88.101/{draw(st.integers(0, 9))}", "values": [dict(value) for value in VALUES]}
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from([document, *document["values"]] if isinstance(document.get("values"), list) else [document]))
        if isinstance(part, dict):
            part[draw(st.sampled_from(WORDS))] = draw(DOCUMENTS)
    return document


CHANGES = nearly_right() | DOCUMENTS


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Registry]]:
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        yield runner, runner.run(opened.enter_async_context(running(tmp_path_factory.mktemp("registry"))))
        runner.run(opened.aclose())


@settings(max_examples=1500, deadline=None)
@given(CHANGES)
def test_a_document_is_a_change_or_a_format_error(document: Any) -> None:
    octets = json.dumps(document).encode()
    reads: list[Callable[[], Write]] = [
        partial(write_from_line, octets),
        partial(write_from_json, document, "register"),
        partial(write_from_json, document, "patch", ABC),
    ]
    for read in reads:
        try:
            write = read()
        except FormatError as error:
            assert str(error).isprintable()  # noqa: PT017  # either outcome is right; its text must be fit to show
        else:
            assert isinstance(write, Write)
            assert all(value.data is not None and value.timestamp == 0 for value in write.values)
            write.identifier.key.decode()
    for read_other in (delegation_from_json, token_from_json):
        try:
            read_other(document)
        except FormatError:
            continue


@settings(max_examples=3000, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:0123456789eE+-.tfn\\u', max_size=80).map(str.encode))
def test_octets_are_a_change_or_a_format_error(octets: bytes) -> None:
    try:
        write_from_line(octets)
    except WaymarkError as error:
        assert isinstance(error, FormatError)  # noqa: PT017


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(CHANGES, st.sampled_from(["POST", "PUT", "PATCH"]), st.binary(max_size=60), st.text(max_size=12))
def test_nothing_sent_breaks_the_api(
    registry: tuple[asyncio.Runner, Registry], document: Any, method: str, octets: bytes, suffix: str
) -> None:
    """The client checks every reply against the description, which a 500 without reason would not pass unnoticed either."""
    runner, running_one = registry
    client = running_one.client
    escaped = "".join(f"%{octet:02X}" for octet in suffix.encode("utf-8", "surrogatepass"))
    path = "/v1/identifiers" if method == "POST" else f"/v1/identifiers/88.101/{escaped or 'A'}"
    body = json.dumps(document).encode()

    async def ask_all() -> list[Reply]:
        return [
            await client.ask(method, path, body, Content_Type="application/json"),
            await client.ask(method, path, octets, Content_Type="application/json"),
            await client.get(f"/v1/history/88.101/{escaped}" if escaped else "/v1/history/88.101/A"),
            await client.post("/v1/prefixes", body, Content_Type="application/json"),
            await client.bulk(body + b"\n" + octets + b"\n" + body),
            await client.bulk(octets, Content_Encoding="gzip"),
        ]

    replies = runner.run(ask_all())
    assert all(reply.status < 500 for reply in replies)
    assert all(
        line.get("problem", {}).get("status", 400) < 500 for reply in replies[4:] if reply.status == 200 for line in reply.lines
    )
    assert [line["line"] for line in replies[4].lines] == list(range(1, len(replies[4].lines) + 1))
