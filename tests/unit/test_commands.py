"""Commands given wrongly, or with files that are not what they should be: one line that says what to do, and nothing half done."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry import cli, proof
from registry.config import read_config as read_registry_config
from registry.keys import KeyDirectory
from registry.setup import Plan, set_up
from resolver import cli as resolver_cli
from resolver.anchor import anchor_document
from resolver.config import read_config
from resolver.core.record import Value
from resolver.table import Table
from tests.support.world import World

COMMANDS = resolver_cli.Commands(commands=[*cli.waymark.commands.values(), *resolver_cli.COMMANDS])


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(COMMANDS, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture(name="anchor")
def _anchor(tmp_path: Path) -> Path:
    """Of a root that does not run."""
    world = World()
    path = tmp_path / "anchor.json"
    path.write_text(anchor_document(dict(world.anchor.keys.public), world.anchor.site))
    return path


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--listen", "localhost"], "--listen must be an IPv4 or IPv6 address, not 'localhost'"),
        (["--public-address", "gate"], "--public-address must be"),
        (["--listen", "0.0.0.0"], "say with --public-address which one others are to ask"),
        (["--listen", "::1"], "cannot be told from an IPv4 address"),
        (["--apex", "a b"], "must be a DNS name"),
        (["--prefix", "8 8"], "must be ASCII letters, digits"),
        (["--anchor", __file__], "trust anchor"),
    ],
)
def test_init_refuses_before_it_writes_anything(anchor: Path, tmp_path: Path, arguments: list[str], why: str) -> None:
    done = run("init", "top", tmp_path / "node", "--prefix", "88", "--anchor", anchor, *arguments)
    assert done.exit_code == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "node").exists()


def test_init_writes_down_what_it_was_told(anchor: Path, tmp_path: Path) -> None:
    here = tmp_path / "node"
    told = ("--listen", "0.0.0.0", "--public-address", "192.0.2.7", "--name", '二级 "node" \\ $x')
    assert run("init", "secondary", here, "--prefix", "88.118", "--anchor", anchor, *told).exit_code == 0
    config = read_config(here / "node.toml")
    assert (config.listen, config.public_address, config.name) == ("0.0.0.0", "192.0.2.7", '二级 "node" \\ $x')
    assert read_registry_config(here / "registry.toml").node.servers[0].address == "192.0.2.7"
    assert json.loads((here / "request.json").read_bytes())["servers"][0]["address"] == "192.0.2.7"


async def test_a_request_is_made_anew_and_names_the_newest_key(anchor: Path, tmp_path: Path) -> None:
    here = tmp_path / "node"
    await set_up(Plan("secondary", here, "88.118", anchor=anchor))
    first = json.loads((here / "request.json").read_bytes())
    KeyDirectory(here / "keys").generate("88.118")
    done = run("request", here / "registry.toml", "88.118")
    assert done.exit_code == 0
    assert "operator of 88," in done.stdout
    second = json.loads((here / "request.json").read_bytes())
    assert second["servers"] == first["servers"]
    now = int(time.time())
    assert [proof.check(each["proof"], "88.118", "88", now, 3600).index for each in (first, second)] == [302, 303]
    wrong = run("request", here / "registry.toml", "88.119")
    assert wrong.exit_code == 2
    assert "holds no key of 88.119" in wrong.stderr


def test_the_newest_key_of_a_node_of_its_own_is_put_to_use(anchor: Path, tmp_path: Path) -> None:
    here = tmp_path / "node"
    assert run("init", "secondary", here, "--prefix", "88.118", "--anchor", anchor).exit_code == 0
    assert run("keygen", here / "keys", "88.118").exit_code == 0
    assert list(homed_keys(here)) == [302]
    assert run("registry", "home", here / "registry.toml", "88.118").exit_code == 0
    assert list(homed_keys(here)) == [303, 302], "the first one signs"
    wrong = run("registry", "home", here / "registry.toml", "88.119")
    assert wrong.exit_code == 2
    assert "holds no key of 88.119" in wrong.stderr


def homed_keys(node: Path) -> dict[int, bytes]:
    table = Table(node / "table")
    (homed,) = table.homed()
    table.close()
    return homed.keys


def test_a_request_that_is_not_there_is_not_taken_for_a_prefix(tmp_path: Path) -> None:
    for missing in (tmp_path / "request", "request.json"):
        done = run("delegate", missing, "--token", "x")
        assert done.exit_code == 2
        assert "No such file or directory" in done.stderr


def test_a_place_that_cannot_be_written_is_told_in_one_line() -> None:
    done = run("init", "root", "/proc/nowhere")
    assert (done.exit_code, done.stderr) == (2, "waymark: /proc/nowhere: No such file or directory\n")


def test_resolve_reads_lists_as_they_come_and_says_what_is_no_list(anchor: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbf88.118/A\r\n\r\n88.118/B\r\n")
    done = run("resolve", "--anchor", anchor, "--from", names)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["88.118/A", "88.118/B"]
    assert done.exit_code == 3, "the root does not run"
    names.write_bytes(b"88.118/A\n\xff\xfe\n")
    done = run("resolve", "--anchor", anchor, "--from", names)
    assert done.exit_code == 2
    assert "not UTF-8 text: invalid start byte at octet 9" in done.stderr


def test_one_file_is_not_to_hold_two_saved_records(anchor: Path, tmp_path: Path) -> None:
    done = run("resolve", "88/A", "88/B", "--anchor", anchor, "--save", tmp_path / "saved.json")
    assert done.exit_code == 2
    assert "--save takes one identifier, not 2" in done.stderr


def test_answer_says_by_its_status_what_it_found(anchor: Path, tmp_path: Path) -> None:
    world = World()
    world.delegate("88.118")
    world.put("88/A", Value(1, "URL", b"https://example.org/"))
    world.publish("88", tmp_path / "table")
    node = tmp_path / "node.toml"
    node.write_text(
        '[node]\nname = "n"\nrole = "top"\n[table]\npath = "table"\n[dns]\napex = "id.test"\n[trust]\nanchor = "anchor.json"\n'
    )
    statuses = {"88/A": 0, "88/B": 1, "88.7/A": 1, "88.118/A": 3, "77/A": 3}
    said = {name: run("answer", node, name) for name in statuses}
    assert {name: done.exit_code for name, done in said.items()} == statuses
    assert said["88/B"].stdout == "no such identifier: 88 has no such name\n"
    assert said["88.7/A"].stdout == "no such identifier: there is no prefix 88.7, says 88\n"
