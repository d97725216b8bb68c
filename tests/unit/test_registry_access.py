"""Where a command takes its secret from."""

from pathlib import Path

import pytest

from registry.access import secret
from resolver.core.errors import ConfigError


def test_a_token_is_itself_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    assert secret("s3cret") == "s3cret"
    assert secret(f"@{tmp_path}/token") == "s3cret"


@pytest.mark.parametrize(
    ("token", "told"),
    [(None, "a token is needed"), ("", "a token is needed"), ("@/absent", "token file /absent cannot be read: No such file"),
     ("@{here}", "is not ASCII")],
)  # fmt: skip
def test_a_token_that_is_not_there_is_told(tmp_path: Path, token: str | None, told: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=told):
        secret(token and token.replace("{here}", str(tmp_path / "binary")))
