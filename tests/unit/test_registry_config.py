"""REGISTRY.toml: what is read, and what is refused with file and setting named."""

from pathlib import Path

import pytest

from registry.config import read_config
from resolver.core import limits
from resolver.core.errors import ConfigError
from resolver.core.wire.site import one_server_site


def written(path: Path, text: str) -> Path:
    file = path / "registry.toml"
    file.write_text(text)
    return file


def test_little_is_needed_and_paths_are_those_beside_the_file(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, "[registry]\n[node]\n"))
    assert (config.listen, config.port, config.database) == ("127.0.0.1", 8080, str(tmp_path / "truth.db"))
    assert (config.table, config.keys, config.anchor) == (tmp_path / "table", tmp_path / "keys", tmp_path / "anchor.json")
    assert config.node == one_server_site("127.0.0.1", 2641, 8000)
    assert not config.has_envelope("88")


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
        [registry]
        listen = "::1"
        port = 0
        database = "postgresql://user:secret@host/name"
        [node]
        address = "192.0.2.1"
        handle_port = 2000
        http_port = 2001
        [envelope]
        prefixes = ["0.0", "88.l5"]
        [limits]
        signature_days = 30
    """
    config = read_config(written(tmp_path, text))
    assert config.database == "postgresql://user:secret@host/name"
    assert config.node == one_server_site("192.0.2.1", 2000, 2001)
    assert [config.has_envelope(prefix) for prefix in ("0.0", "0.NA", "88.L5", "88")] == [True, True, True, False]
    assert config.limits[limits.signature_days] == 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\n", r"\[registry\] is missing"),
        ("[registry]\n", r"\[node\] is missing"),
        ("[registry]\nprot = 1\n[node]\n", "no setting registry.prot"),
        ("[registry]\n[node]\nport = 1\n", "no setting node.port"),
        ("[registry]\n[node]\n[extra]\n", "no setting extra"),
        ("[registry]\nport = 65536\n[node]\n", "registry.port must be a whole number"),
        ("[registry]\nlisten = 'here'\n[node]\n", "registry.listen must be an IPv4 or IPv6 address"),
        ("[registry]\n[node]\n[envelope]\nprefixes = '88'\n", "envelope.prefixes must be a list"),
        ("[registry]\n[node]\n[envelope]\nprefixes = ['8 8']\n", "envelope.prefixes"),
        ("[registry]\n[node]\n[limits]\nsignature_days = 0\n", "signature_days"),
        ("[registry\n", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        read_config(written(tmp_path, text))
    assert "registry.toml" in str(refused.value)
