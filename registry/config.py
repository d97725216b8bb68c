"""A registry's file, REGISTRY.toml: read once, checked whole, immutable. `waymark init` writes a commented one."""

from pathlib import Path
from typing import NamedTuple

from resolver.config import address, check_keys, number, read_toml, table, text
from resolver.core.errors import ConfigError, IdentifierError
from resolver.core.identifier import PREFIX_AUTHORITY, check_prefix, fold_prefix
from resolver.core.limits import Limits
from resolver.core.wire.site import Site, one_server_site

ROOT_PREFIXES = ("0.0", PREFIX_AUTHORITY)
POSTGRESQL = ("postgresql://", "postgres://")


class RegistryConfig(NamedTuple):
    """Everything a registry is told. Paths are absolute."""

    path: Path
    listen: str
    port: int
    database: str  # path of an SQLite file, or the URL of a PostgreSQL database
    table: Path  # the answer table that this registry publishes to
    keys: Path  # the directory of private keys
    anchor: Path
    node: Site  # the node that serves what is hosted here: what a hosted delegation names
    envelope: frozenset[str]  # folded prefixes whose records carry the RS256 envelope too
    limits: Limits

    def has_envelope(self, prefix: str) -> bool:
        """Whether the records of the folded `prefix` carry the envelope; `0.0` and `0.NA` both stand for the root."""
        return not self.envelope.isdisjoint(ROOT_PREFIXES if prefix in ROOT_PREFIXES else (prefix,))


def read_config(path: Path) -> RegistryConfig:
    """Raises ConfigError that names the file, the setting and what was expected."""
    path = path.absolute()
    document = read_toml(path)
    check_keys(document, {"registry", "node", "envelope", "limits"}, path)
    registry = table(document, "registry", path)
    check_keys(registry, {"listen", "port", "database", "table", "keys", "anchor"}, path, "registry.")
    node = table(document, "node", path)
    check_keys(node, {"address", "handle_port", "http_port"}, path, "node.")
    envelope = table(document, "envelope", path, {})
    check_keys(envelope, {"prefixes"}, path, "envelope.")
    database = text(registry, "registry.database", path, "truth.db")
    return RegistryConfig(
        path=path,
        listen=address(registry, "registry.listen", path, "127.0.0.1"),
        port=number(registry, "registry.port", path, 8080, 0, 65_535),
        database=database if database.startswith(POSTGRESQL) else str(path.parent / database),
        table=path.parent / text(registry, "registry.table", path, "table"),
        keys=path.parent / text(registry, "registry.keys", path, "keys"),
        anchor=path.parent / text(registry, "registry.anchor", path, "anchor.json"),
        node=one_server_site(
            address(node, "node.address", path, "127.0.0.1"),
            number(node, "node.handle_port", path, 2641, 1, 65_535),
            number(node, "node.http_port", path, 8000, 1, 65_535),
        ),
        envelope=_envelope(envelope.get("prefixes", []), path),
        limits=Limits(table(document, "limits", path, {}), f"{path}: [limits]"),
    )


def _envelope(prefixes: object, path: Path) -> frozenset[str]:
    if not isinstance(prefixes, list):
        raise ConfigError(f"{path}: envelope.prefixes must be a list of prefixes, not {prefixes!r}")
    for prefix in prefixes:
        try:
            check_prefix(str(prefix))
        except IdentifierError as error:
            raise ConfigError(f"{path}: envelope.prefixes: {error}") from None
    return frozenset(fold_prefix(str(prefix)) for prefix in prefixes)
