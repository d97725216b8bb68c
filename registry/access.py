"""How a command reaches a registry: the options --registry and --token, and the secret that --token names."""

from pathlib import Path
from typing import Any

import click

from resolver.core.errors import ConfigError

_OPTIONS = (
    click.option(
        "--registry", "url", envvar="WAYMARK_REGISTRY", default="http://127.0.0.1:8080", show_default=True, help="Its API."
    ),
    click.option("--token", envvar="WAYMARK_TOKEN", help="Secret for the API, or @FILE to read it from a file."),
)


def with_registry(command: Any) -> Any:
    """Adds --registry and --token to a command, as its arguments `url` and `token`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def secret(token: str | None) -> str:
    """The secret that --token names: itself, or what @FILE holds. Raises ConfigError."""
    if not token:
        raise ConfigError("a token is needed: --token SECRET, --token @FILE, or WAYMARK_TOKEN")
    if not token.startswith("@"):
        return token
    try:
        return Path(token[1:]).read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(f"token file {token[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"token file {token[1:]} is not ASCII: is it the file with the token?") from None
