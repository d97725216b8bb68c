"""A node's file and the anchor's: every mistake is named with its place."""

from pathlib import Path

import pytest

from resolver.anchor import anchor_document, read_anchor
from resolver.config import read_config
from resolver.core import limits
from resolver.core.errors import ConfigError
from tests.support.world import World

GOOD = """
[node]
name = "n"
role = "secondary"
[table]
path = "table"
[dns]
apex = "Id.Test"
[trust]
anchor = "anchor.json"
"""


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text, "utf-8")
    return path


def test_defaults(tmp_path: Path) -> None:
    found = read_config(config(tmp_path, GOOD))
    assert (found.handle_port, found.dns_port, found.http_port, found.workers) == (2641, 53, 8000, 1)
    assert found.table == tmp_path / "table"
    assert found.apex == (b"id", b"test")
    assert found.limits[limits.page_items] == 1000
    assert found.role == "secondary"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('role = "secondary"', 'role = "boss"', "node.role must be one of root"),
        ('role = "secondary"', 'role = "recursive"', "a recursive node has no"),
        ('[table]\npath = "table"', "", "path is missing"),
        ('name = "n"', "name = 5", "node.name must be a text"),
        ('name = "n"', 'name = "n"\nhandle_prot = 1', "no setting node.handle_prot; known are .*handle_port"),
        ('name = "n"', 'name = "n"\nhttp_port = 70000', "from 0 to 65535"),
        ('name = "n"', 'name = "n"\nhttp_port = true', "from 0 to 65535"),
        ('name = "n"', 'name = "n"\nlisten = "everywhere"', "IPv4 or IPv6"),
        ('apex = "Id.Test"', 'apex = "id..test"', "dns.apex must be a DNS name"),
        ('apex = "Id.Test"', f'apex = "{"x" * 51}"', "at most 50 octets"),
        ("[trust]", "[limits]\nno_such = 1\n[trust]", "no bound 'no_such'"),
        ("[trust]", "[limits]\npage_items = 0\n[trust]", "from 1 to 10000"),
        ("[trust]", "[limits]\nchain_records = 99\n[trust]", "fixed at 16"),
        ("[node]", "[node", "is not TOML"),
        ("[trust]", "[mistrust]", r"section \[trust\] is missing"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, rule: str) -> None:
    assert old in GOOD
    path = config(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=rule) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="waymark init"):
        read_config(tmp_path / "none.toml")


def test_an_anchor_reads_as_it_was_written(tmp_path: Path) -> None:
    anchor = World().anchor
    path = tmp_path / "anchor.json"
    path.write_text(anchor_document(dict(anchor.keys.public), anchor.site), "ascii")
    assert read_anchor(path) == anchor


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"identifier":"0.NA/0.NA","keys":{},"servers":[]}', '{"identifier":"0.0/0.0","keys":{},"servers":[]}',
     '{"identifier":"0.0/0.0","keys":{"302":{"kty":"RSA"}},"servers":[]}', '{"identifier":"0.0/0.0","keys":{"x":1},"servers":[]}',
     '{"identifier":"0.0/0.0","keys":{},"servers":[{"address":"127.0.0.1"}]}'],
)  # fmt: skip
def test_a_broken_anchor_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "anchor.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"anchor\.json"):
        read_anchor(path)
