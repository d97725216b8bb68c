"""A node's file, NODE.toml: read once, checked whole, immutable. `waymark init` writes a commented one."""

import ipaddress
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from resolver.core import limits
from resolver.core.errors import ConfigError
from resolver.core.limits import Limits

ROLES = ("root", "top", "secondary", "enterprise", "recursive")


class NodeConfig(NamedTuple):
    """Everything a node is told. Paths are absolute. `table` is None on a recursive node."""

    path: Path
    name: str
    role: str
    listen: str
    handle_port: int
    dns_port: int
    http_port: int
    workers: int
    public_address: str  # what the node's own HS_SITE says; `listen` unless configured
    table: Path | None
    anchor: Path
    apex: tuple[bytes, ...]  # labels, lower case
    name_server: str | None  # a host name of the operator's; None: `_ns` below each zone, with `public_address` as glue
    hostmaster: str
    limits: Limits


def read_config(path: Path) -> NodeConfig:
    """Raises ConfigError that names the file, the setting and what was expected."""
    path = path.absolute()
    document = read_toml(path)
    node = table(document, "node", path)
    role = text(node, "node.role", path)
    if role not in ROLES:
        raise ConfigError(f"{path}: node.role must be one of {', '.join(ROLES)}, not {role!r}")
    listen = address(node, "node.listen", path, "127.0.0.1")
    dns = table(document, "dns", path, {})
    trust = table(document, "trust", path)
    table_path = table(document, "table", path, {}).get("path")
    if (table_path is None) != (role == "recursive"):
        wrong = "a recursive node has no [table]" if table_path else "[table] path is missing: where the registry publishes"
        raise ConfigError(f"{path}: {wrong}")
    check_keys(document, {"node", "table", "dns", "trust", "limits"}, path)
    check_keys(
        node,
        {"name", "role", "listen", "public_address", "handle_port", "dns_port", "http_port", "workers"},
        path,
        "node.",
    )
    check_keys(dns, {"apex", "name_server", "hostmaster"}, path, "dns.")
    return NodeConfig(
        path=path,
        name=text(node, "node.name", path),
        role=role,
        listen=listen,
        handle_port=number(node, "node.handle_port", path, 2641, 0, 65_535),
        dns_port=number(node, "node.dns_port", path, 53, 0, 65_535),
        http_port=number(node, "node.http_port", path, 8000, 0, 65_535),
        workers=number(node, "node.workers", path, 1, 1, 256),
        public_address=address(node, "node.public_address", path, listen),
        table=None if table_path is None else path.parent / str(table_path),
        anchor=path.parent / text(trust, "trust.anchor", path),
        apex=apex(text(dns, "dns.apex", path), path),
        name_server=text(dns, "dns.name_server", path) if "name_server" in dns else None,
        hostmaster=text(dns, "dns.hostmaster", path) if "hostmaster" in dns else "hostmaster." + str(dns["apex"]),
        limits=Limits(table(document, "limits", path, {}), f"{path}: [limits]"),
    )


# ---- one setting at a time; `name` is dotted, its last part the key


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; `waymark init` writes a commented one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def table(document: dict[str, Any], name: str, path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    found = document.get(name, default)
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: the section [{name}] is missing")
    return found


def text(section: dict[str, Any], name: str, path: Path, default: str | None = None) -> str:
    found = section.get(name.rpartition(".")[2], default)
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{path}: {name} must be a text, not {found!r}")
    return found


def number(section: dict[str, Any], name: str, path: Path, default: int, least: int, most: int) -> int:
    found = section.get(name.rpartition(".")[2], default)
    if type(found) is not int or not least <= found <= most:
        raise ConfigError(f"{path}: {name} must be a whole number from {least} to {most}, not {found!r}")
    return found


def address(section: dict[str, Any], name: str, path: Path, default: str) -> str:
    found = section.get(name.rpartition(".")[2], default)
    try:
        return str(ipaddress.ip_address(str(found)))
    except ValueError:
        raise ConfigError(f"{path}: {name} must be an IPv4 or IPv6 address, not {found!r}") from None


def apex(name: str, path: Path) -> tuple[bytes, ...]:
    labels = name.rstrip(".").lower().split(".")
    if len(name) > limits.apex_octets.default or not all(
        0 < len(label) <= 63 and label.isascii() and label.replace("-", "").isalnum() for label in labels
    ):
        raise ConfigError(f"{path}: dns.apex must be a DNS name of at most {limits.apex_octets.default} octets, not {name!r}")
    return tuple(label.encode() for label in labels)


def check_keys(section: dict[str, Any], known: set[str], path: Path, place: str = "") -> None:
    """Raises ConfigError for a setting that nobody reads: a misspelt one must not pass in silence."""
    unknown = sorted(section.keys() - known)
    if unknown:
        raise ConfigError(f"{path}: there is no setting {place}{unknown[0]}; known are {', '.join(sorted(known))}")
