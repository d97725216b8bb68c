"""The demo as its users meet it: one command, every door of every node, real clients from Debian, 1,000 real codes.

One demo serves all tests of this file: its processes start once.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from registry.demo import PRODUCTS
from resolver.asking import owner_name
from resolver.core.identifier import Identifier
from tests.support.peers import program
from tests.support.schemas import check

WAYMARK = str(Path(sys.executable).parent / "waymark")
START_SECONDS = 60
ENGLISH = os.environ | {"LC_ALL": "C.UTF-8"}  # the demo's language, whoever runs the tests
SEEN_SECONDS = 20

Document = dict[str, Any]


def waymark(*arguments: str, stdin: str | None = None, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([WAYMARK, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, env=ENGLISH)


@pytest.fixture(scope="module", name="tree")
def _tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Document]:
    """nodes.json of a running demo, and under "dir" and "said" where it lives and what it printed."""
    directory = tmp_path_factory.mktemp("demo") / "state"
    log = directory.parent / "log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [WAYMARK, "demo", "--dir", str(directory)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ENGLISH,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield json.loads((directory / "nodes.json").read_text()) | {"dir": directory, "said": log.read_text()}
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Traceback" not in log.read_text(), log.read_text()


def node(tree: Document, name: str) -> Document:
    return next(n for n in tree["nodes"] if n["name"] == name)


def products() -> list[dict[str, str]]:
    with open(PRODUCTS, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected_values(row: dict[str, str]) -> set[tuple[int, str, str]]:
    return {(i, t, row[c]) for i, t, c in ((1, "URL", "image_url"), (2, "NAME", "name")) if row[c]}


def test_the_walk_shows_what_it_promises(tree: Document) -> None:
    said = tree["said"]
    assert len(re.findall(r"\bready\b", said)) == 1
    for promised in (
        "1,000 real products",
        "signed by 302:0.NA/88.118.8",
        "0.0/0.0",
        "no such identifier",
        "REFUSED (changed-value)",
        "dig @",
    ):
        assert promised in said, promised


def test_nodes_json_names_every_node(tree: Document) -> None:
    roles = [(n["role"], n["prefixes"]) for n in tree["nodes"]]
    assert [role for role, _ in roles] == ["root", "top", "secondary", "secondary", "enterprise", "recursive"]
    assert ("secondary", ["88.101", "88.101.5"]) in roles
    for n in tree["nodes"]:
        assert (n["registry"] is None) == (n["token"] is None) == (n["role"] == "recursive")
    assert Path(tree["anchor"]).exists()
    check("nodes", json.loads((tree["dir"] / "nodes.json").read_text()))


@pytest.mark.parametrize("name", ["88.101", "recursive"])
def test_a_thousand_codes_are_the_same_through_dig_curl_and_resolve(tree: Document, tmp_path: Path, name: str) -> None:
    rows = products()
    assert len(rows) == 1000
    at = node(tree, name)
    identifiers = [Identifier("88.101.5", row["gtin"]) for row in rows]
    over_dns = dig_all(at, identifiers, tmp_path)
    over_http = curl_all(at, identifiers, tmp_path)
    over_handle = resolve_all(tree, at, identifiers)
    for row, identifier in zip(rows, identifiers, strict=True):
        wanted = expected_values(row)
        assert over_http[str(identifier)] == wanted, identifier
        assert over_handle[str(identifier)] == wanted, identifier
        assert over_dns[owner_name(identifier, "id.test")] == wanted, identifier


@pytest.mark.parametrize("name", ["root", "88"])
def test_a_thousand_codes_are_the_same_from_the_nodes_above(tree: Document, name: str) -> None:
    """These nodes refer downward; `waymark resolve` asks them first and goes on where they say."""
    rows = products()
    found = resolve_all(tree, node(tree, name), [Identifier("88.101.5", row["gtin"]) for row in rows])
    assert found == {f"88.101.5/{row['gtin']}": expected_values(row) for row in rows}


def dig_all(at: Document, identifiers: list[Identifier], tmp_path: Path) -> dict[str, set[tuple[int, str, str]]]:
    host, port = at["dns"].split(":")
    questions = tmp_path / "questions"
    questions.write_text("".join(f"{owner_name(i, 'id.test')} TXT\n" for i in identifiers))
    command = [program("dig", "bind9-dnsutils"), f"@{host}", "-p", port, "+noall", "+answer", "+tries=2", "-f", str(questions)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found: dict[str, set[tuple[int, str, str]]] = {owner_name(i, "id.test"): set() for i in identifiers}
    for line in said.splitlines():
        owner, _, _, type_, data = line.split(None, 4)
        assert type_ == "TXT"
        head, *strings = [unquoted(text) for text in re.findall(r'"((?:[^"\\]|\\.)*)"', data)]
        index, _, value_type = head.partition(b" ")
        found[owner].add((int(index), value_type.decode(), b"".join(strings).decode()))
    return found


def unquoted(text: str) -> bytes:
    r"""A character string as dig prints it: \DDD is an octet, \X the character X."""
    pieces = re.findall(r"\\(\d{3})|\\(.)|([^\\]+)", text)
    return b"".join(bytes((int(octet),)) if octet else (escaped or plain).encode() for octet, escaped, plain in pieces)


def curl_all(at: Document, identifiers: list[Identifier], tmp_path: Path) -> dict[str, set[tuple[int, str, str]]]:
    urls = tmp_path / "urls"
    urls.write_text("".join(f'url = "{at["http"]}/api/handles/{i}"\nwrite-out = "\\n"\n' for i in identifiers))
    command = [program("curl", "curl"), "--silent", "--show-error", "--noproxy", "*", "--config", str(urls)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = {}
    for line in said.splitlines():
        document = json.loads(line)
        assert document["responseCode"] == 1
        values = [v for v in document["values"] if not v["type"].startswith("HS_SIGNATURE")]
        found[document["handle"]] = {(v["index"], v["type"], v["data"]["value"]) for v in values}
    return found


def resolve_all(tree: Document, at: Document, identifiers: list[Identifier]) -> dict[str, set[tuple[int, str, str]]]:
    done = waymark(
        "resolve", "--from", "-", "--json", "--at", at["handle"], "--anchor", tree["anchor"], stdin="\n".join(map(str, identifiers))
    )
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    found = {}
    for line in done.stdout.splitlines():
        document = json.loads(line)
        assert document["verdict"]["verified"], document
        values = [v for v in document["values"] if not v["type"].startswith("HS_SIGNATURE")]
        found[document["identifier"]] = {(v["index"], v["type"], v["data"]["value"]) for v in values}
    return found


CODE = "88.118.8/JXDY2106023"


@pytest.mark.parametrize("door", ["handle", "dns", "http"])
@pytest.mark.parametrize("name", ["88.118.8", "recursive"])
def test_the_registered_code_through_each_door(tree: Document, name: str, door: str) -> None:
    address = node(tree, name)[door].removeprefix("http://")
    done = waymark("resolve", CODE, "--at", address, "--door", door, "--anchor", tree["anchor"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "电源模块" in done.stdout
    assert "verified: signed by 302:0.NA/88.118.8" in done.stdout


def test_nodes_on_the_way_refer_downward_on_every_door(tree: Document) -> None:
    dig = program("dig", "bind9-dnsutils")
    curl = program("curl", "curl")
    for name, zone in (("root", "88.id.test."), ("88", "118.88.id.test."), ("88.118", "8.118.88.id.test.")):
        at = node(tree, name)
        host, port = at["dns"].split(":")
        command = [dig, f"@{host}", "-p", port, "+norecurse", owner_name(Identifier.parse(CODE), "id.test"), "TXT"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        assert re.search(rf"^{re.escape(zone)}\s+\d+\s+IN\s+NS\s", said, re.MULTILINE), said
        answer = subprocess.run(
            [curl, "-s", f"{at['http']}/api/handles/{CODE}"], capture_output=True, text=True, timeout=20, check=True
        )
        assert json.loads(answer.stdout)["responseCode"] == 303
    strange = node(tree, "88.101")
    answer = subprocess.run(
        [curl, "-s", f"{strange['http']}/api/handles/{CODE}"], capture_output=True, text=True, timeout=20, check=True
    )
    assert json.loads(answer.stdout)["responseCode"] == 301


@pytest.mark.parametrize("door", ["handle", "dns", "http"])
@pytest.mark.parametrize("name", ["root", "88", "88.118"])
def test_a_node_that_refers_is_a_place_to_begin(tree: Document, name: str, door: str) -> None:
    address = node(tree, name)[door].removeprefix("http://")
    done = waymark("resolve", CODE, "--at", address, "--door", door, "--anchor", tree["anchor"], "--trace")
    assert done.returncode == 0, done.stdout + done.stderr
    assert address in done.stdout.splitlines()[0], "the server asked for is asked first"
    assert "verified: signed by 302:0.NA/88.118.8" in done.stdout


def test_a_node_elsewhere_in_the_tree_says_that_it_is_not_responsible(tree: Document) -> None:
    done = waymark("resolve", CODE, "--at", node(tree, "88.101")["handle"], "--anchor", tree["anchor"])
    assert done.returncode == 3
    assert "refused" in done.stdout


def test_exit_statuses(tree: Document, tmp_path: Path) -> None:
    anchor = ("--anchor", tree["anchor"])
    assert waymark("resolve", CODE, *anchor).returncode == 0
    assert waymark("resolve", "88.118.8/NOTHING", *anchor).returncode == 1
    assert waymark("resolve", "no slash here", *anchor).returncode == 2
    assert waymark("resolve", CODE, "--anchor", str(tmp_path / "none")).returncode == 2
    silent = waymark("resolve", CODE, *anchor, "--at", "127.0.0.1:9")
    assert silent.returncode == 3
    assert "127.0.0.1:9" in silent.stdout + silent.stderr


def test_a_saved_record_is_verified_offline_and_not_when_changed(tree: Document, tmp_path: Path) -> None:
    saved = tmp_path / "record.json"
    assert waymark("resolve", CODE, "--anchor", tree["anchor"], "--save", str(saved)).returncode == 0
    good = waymark("verify", str(saved), "--anchor", tree["anchor"])
    assert good.returncode == 0, good.stderr
    assert "verified: signed by 302:0.NA/88.118.8" in good.stdout
    saved.write_text(saved.read_text("utf-8").replace("example.org", "example.0rg"), "utf-8")
    bad = waymark("verify", str(saved), "--anchor", tree["anchor"])
    assert bad.returncode == 3
    assert "REFUSED (changed-value)" in bad.stdout


def test_a_node_checks_itself_and_says_what_it_would_say(tree: Document) -> None:
    for name in ("root", "88", "88.101", "88.118", "88.118.8", "recursive"):
        done = waymark("check", str(tree["dir"] / name / "node.toml"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WRONG" not in done.stdout
    config = str(tree["dir"] / "88.118.8" / "node.toml")
    assert "电源模块" in waymark("answer", config, CODE).stdout
    assert waymark("answer", config, "88.118.8/NOTHING").returncode == 1
    checked = waymark("table", "check", config)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "all is well" in checked.stdout
    assert "change serial" in waymark("table", "stat", config).stdout


def test_a_registration_is_seen_by_a_resolver_and_a_deletion_too(tree: Document) -> None:
    at = node(tree, "88.118.8")
    registry = ("--registry", at["registry"], "--token", at["token"])
    assert resolved(tree, at, "88.118.8/SEEN").returncode == 1
    assert waymark("register", "88.118.8/SEEN", "--value", "URL=https://example.org/seen", *registry).returncode == 0
    assert "https://example.org/seen" in resolved_in_the_end(tree, at, "88.118.8/SEEN", 0)
    assert waymark("register", "88.118.8/SEEN", "--value", "URL=https://example.org/other", *registry).returncode != 0
    headers = {"Authorization": f"Bearer {at['token']}"}
    with urlopen(Request(f"{at['registry']}/v1/identifiers/88.118.8/SEEN", headers=headers, method="DELETE"), timeout=20) as reply:
        assert reply.status == 200
    assert "deleted" in resolved_in_the_end(tree, at, "88.118.8/SEEN", 1)


def resolved(tree: Document, at: Document, identifier: str) -> "subprocess.CompletedProcess[str]":
    return waymark("resolve", identifier, "--at", at["handle"], "--anchor", tree["anchor"])


def resolved_in_the_end(tree: Document, at: Document, identifier: str, status: int) -> str:
    """What is said of `identifier` once the node sees a change of it: a moment after the registry does, mostly at once."""
    deadline = time.monotonic() + SEEN_SECONDS
    while (done := resolved(tree, at, identifier)).returncode != status:
        assert time.monotonic() < deadline, done.stdout + done.stderr
    return done.stdout


def test_the_demo_runs_once_and_leaves_nothing() -> None:
    environment = {key: value for key, value in ENGLISH.items() if key != "WAYMARK_ANCHOR"}
    done = subprocess.run([WAYMARK, "demo", "--once"], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    state = re.search(r"state in (\S+)", done.stdout)
    assert state
    assert not Path(state[1]).exists()
