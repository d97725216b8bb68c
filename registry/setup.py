"""Setting up a node: directory, files, keys, and for a child the request to its parent. What `waymark init` and the demo do.

A node's directory holds everything of it:

    node.toml      the node                     anchor.json    the trust anchor
    registry.toml  its registry                 keys/          private keys, 0700
    truth.db       records and their history    token          the operator's secret for the registry's API, 0600
    table/         the answer table             request.json   a child's request to its parent: prefix, servers, proof of its key

A recursive node has node.toml and anchor.json only.
"""

import ipaddress
import json
import os
import shutil
from pathlib import Path
from string import Template
from typing import NamedTuple

from registry import keys
from registry.config import RegistryConfig, read_config
from registry.service import Actor, Service
from resolver.anchor import anchor_document, read_anchor
from resolver.config import apex
from resolver.core.errors import ConfigError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, check_prefix, fold_prefix, parent_prefix
from resolver.core.wire.site import PROTOCOL_HTTP, PROTOCOL_UDP, encode_site, one_server_site

_TEMPLATES = Path(__file__).parent / "templates"
_TABLE_SECTION = '\n[table]\npath = "table"                  # where the registry publishes and this node answers from\n'
_PUBLIC = '{}public_address = "{}"  # what others are told, where it is not `listen`'
OPERATOR = Actor("operator", "operator")


class Plan(NamedTuple):
    """What is to be set up. `prefix` is None for the root and for a recursive node; `envelope`: RS256 signatures too."""

    role: str
    directory: Path
    prefix: str | None = None
    name: str | None = None
    listen: str = "127.0.0.1"
    handle_port: int = 2641
    dns_port: int = 53
    http_port: int = 8000
    registry_port: int = 8080
    apex: str = "id.test"
    anchor: Path | None = None  # of the tree to join; made anew for a root
    envelope: bool = False
    public_address: str | None = None  # what others are told; `listen` unless given

    @property
    def address(self) -> str:
        return self.public_address or self.listen


async def set_up(plan: Plan) -> None:
    """Writes the directory of a new node. Raises ConfigError rather than touch one that is already a node's."""
    _check(plan)
    directory = plan.directory
    if (directory / "node.toml").exists():
        raise ConfigError(f"{directory} already holds a node; choose another directory, or remove it if nothing in it is needed")
    directory.mkdir(parents=True, exist_ok=True)
    _write_config(plan, "node.toml")
    if plan.role != "root":
        assert plan.anchor is not None
        if plan.anchor.resolve() != (directory / "anchor.json").resolve():
            shutil.copyfile(plan.anchor, directory / "anchor.json")
    if plan.role == "recursive":
        return
    _write_config(plan, "registry.toml")
    config = read_config(directory / "registry.toml")
    directory_of_keys = keys.KeyDirectory(config.keys)
    holder = ANCHOR if plan.role == "root" else str(plan.prefix)
    directory_of_keys.generate(holder, rsa=plan.envelope)
    if plan.role == "root":
        (directory / "anchor.json").write_text(anchor_document(directory_of_keys.public(ANCHOR), config.node), "ascii")
    await _first_service(plan, config)
    if plan.prefix is not None:
        write_request(config, plan.prefix)


async def _first_service(plan: Plan, config: RegistryConfig) -> None:
    """Homes what this registry is responsible for and makes the operator's token."""
    service = await Service.open(config)
    try:
        if plan.role == "root":
            await service.bootstrap(OPERATOR)
        else:
            await service.home(str(plan.prefix), OPERATOR)
        secret = await service.add_token(OPERATOR.name, OPERATOR.role)
    finally:
        await service.close()
    path = plan.directory / "token"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")


def write_request(config: RegistryConfig, prefix: str) -> Path:
    """Writes what the parent's registry takes as `POST /v1/prefixes`, beside the registry's file. Its proof is good for an hour.

    Raises ConfigError if the key directory holds no key of `prefix`.
    """
    (server,) = config.node.servers
    ports = {way.protocol: way.port for way in server.interfaces}
    document = {
        "prefix": fold_prefix(prefix),
        "servers": [{"address": server.address, "handle_port": ports[PROTOCOL_UDP], "http_port": ports[PROTOCOL_HTTP]}],
        "proof": keys.KeyDirectory(config.keys).make_proof(prefix, parent_prefix(fold_prefix(prefix))),
    }
    path = config.path.parent / "request.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return path


def _check(plan: Plan) -> None:
    if plan.role in ("root", "recursive") and plan.prefix is not None:
        raise ConfigError(f"a {plan.role} node has no prefix; leave --prefix out")
    if plan.role not in ("root", "recursive"):
        if plan.prefix is None:
            raise ConfigError(f"a {plan.role} node needs --prefix, for example --prefix 88.118")
        check_prefix(plan.prefix)
        if fold_prefix(plan.prefix) == PREFIX_AUTHORITY:
            raise ConfigError(f"{PREFIX_AUTHORITY} belongs to the root; use `waymark init root`")
    if plan.role != "root" and plan.anchor is None:
        raise ConfigError("--anchor FILE is needed: the trust anchor of the tree to join, from its root's operator")
    if plan.anchor is not None:
        read_anchor(plan.anchor)
    apex(plan.apex, Path("--apex"))
    _check_addresses(plan)


def _check_addresses(plan: Plan) -> None:
    for option, text in (("--listen", plan.listen), ("--public-address", plan.address)):
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            raise ConfigError(f"{option} must be an IPv4 or IPv6 address, not {text!r}") from None
    if plan.role == "recursive":  # nothing names it
        return
    if found.is_unspecified:
        raise ConfigError(f"{found} is every address of this machine; say with --public-address which one others are to ask")
    encode_site(one_server_site(plan.address, plan.handle_port, plan.http_port))  # not every IPv6 address can be written there


def _write_config(plan: Plan, name: str) -> None:
    template = Template((_TEMPLATES / name).read_text("utf-8"))
    envelope = '"0.0"' if plan.role == "root" else f'"{plan.prefix}"'
    text = template.substitute(
        plan._asdict(),
        public_address=_PUBLIC.format("" if plan.public_address else "# ", plan.public_address or "192.0.2.1"),
        address=plan.address,
        name=json.dumps(plan.name or (f"{plan.role}-{plan.prefix}" if plan.prefix else plan.role), ensure_ascii=False),
        table="" if plan.role == "recursive" else _TABLE_SECTION,
        envelope=envelope if plan.envelope else "",
    )
    (plan.directory / name).write_text(text, "utf-8")
