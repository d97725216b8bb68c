"""The command `waymark`: everything of `resolver.cli`, and what needs a registry or a private key."""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from registry.access import secret, with_registry
from resolver import cli as resolver_cli
from resolver.cli import FILE, Commands
from resolver.core.errors import ConfigError
from resolver.core.identifier import Identifier, check_prefix, fold_prefix, parent_prefix


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="waymark", message="%(package)s %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what goes on.")
def waymark(verbose: bool) -> None:
    """Waymark: register and resolve industrial identifiers, signed from the root to the code.

    \b
    Try it          waymark demo
    Run a node      waymark init, request, delegate, registry serve, serve, check
    Register codes  waymark register, import
    Resolve codes   waymark resolve, verify
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(name)s %(levelname)s: %(message)s"
    )


# ---- setting up


@waymark.command()
@click.argument("role", type=click.Choice(["root", "top", "secondary", "enterprise", "recursive"]))
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--prefix", help="The prefix of this node, e.g. 88.118. Not for root and recursive nodes.")
@click.option("--anchor", type=FILE, envvar="WAYMARK_ANCHOR", help="Trust anchor of the tree to join. Not for a root.")
@click.option("--name", help="What the node calls itself.  [default: role and prefix]")
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address of all doors; 0.0.0.0 or :: for every one.")
@click.option("--public-address", help="Address that others are told.  [default: that of --listen]")
@click.option(
    "--ports",
    type=click.IntRange(1024, 65_000),
    help="First of four ports: Handle, DNS, HTTP, registry.  [default: 2641, 53, 8000, 8080]",
)
@click.option("--apex", default="id.test", show_default=True, help="The DNS name under which the tree hangs.")
@click.option("--envelope", is_flag=True, help="Also sign as deployed verifiers read it (RS256).")
def init(
    role: str,
    directory: Path,
    prefix: str | None,
    anchor: Path | None,
    name: str | None,
    listen: str,
    public_address: str | None,
    ports: int | None,
    apex: str,
    envelope: bool,
) -> None:
    """Set up a new node in DIR.

    What it gets: commented configuration, keys, an empty database, a token, and the request to its parent.

    \b
    waymark init root tree/root
    waymark init top tree/88 --prefix 88 --anchor tree/root/anchor.json --ports 20010
    waymark init recursive tree/recursive --anchor tree/root/anchor.json --ports 20020
    """
    from registry.setup import Plan, set_up

    plan = Plan(
        role, directory, prefix, name, listen, apex=apex, anchor=anchor, envelope=envelope, public_address=public_address
    )  # fmt: skip
    if ports is not None:
        plan = plan._replace(handle_port=ports, dns_port=ports + 1, http_port=ports + 2, registry_port=ports + 3)
    asyncio.run(set_up(plan))
    click.echo(f"{directory}: {role} node" + (f" of {prefix}" if prefix else ""))
    for line in next_steps(plan):
        click.echo(f"  {line}")


def next_steps(plan: Any) -> list[str]:
    """What to type after `waymark init`."""
    here = plan.directory
    steps = [] if plan.role == "recursive" else [f"waymark registry serve {here}/registry.toml"]
    if plan.prefix is not None:
        steps.append(
            f"waymark delegate {here}/request.json --registry PARENT --token SECRET    (by the parent's operator, within the hour)"
        )
    return [*steps, f"waymark serve {here}/node.toml", f"waymark check {here}/node.toml"]


@waymark.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.argument("prefix")
@click.option("--rsa", is_flag=True, help="Make an RSA key beside it, for the RS256 envelope.")
def keygen(directory: Path, prefix: str, rsa: bool) -> None:
    """Make a new signing key for PREFIX.

    It goes into the key directory DIR; its public part is printed as a JWK.

    Where PREFIX has a key already the new one becomes its next. A hosted prefix is then delegated again, and the new key signs. For
    one with a node of its own: `waymark request`, its parent delegates it again, and `waymark registry home`.
    """
    from registry.keys import KeyDirectory
    from resolver.core import trust

    directory_of_keys = KeyDirectory(directory)
    directory_of_keys.generate(prefix, rsa=rsa)
    for index, public in directory_of_keys.public(prefix).items():
        click.echo(json.dumps({"index": index} | trust.jwk(public)))


@waymark.command()
@click.argument("config", metavar="REGISTRY.toml", type=FILE)
@click.argument("prefix")
def request(config: Path, prefix: str) -> None:
    """Write the request to the parent of PREFIX anew.

    It is request.json beside REGISTRY.toml, good for an hour. `waymark init` has written the first one. Another is needed where
    that hour is over, and for a new key or a new address.
    """
    from registry.config import read_config
    from registry.setup import write_request

    check_prefix(prefix)
    path = write_request(read_config(config), prefix)
    parent = parent_prefix(fold_prefix(prefix))
    click.echo(f"{path}: for the operator of {parent}, who gives it to `waymark delegate` within the hour")


# ---- the registry


@waymark.group()
def registry() -> None:
    """Run a node's registry."""


@registry.command("serve")
@click.argument("config", metavar="REGISTRY.toml", type=FILE)
def registry_serve(config: Path) -> None:
    """Run a registry, as REGISTRY.toml says.

    It assigns, signs, keeps the truth, publishes to the answer table and offers the HTTP API /v1. It ends on SIGTERM or Ctrl-C,
    after what it acknowledged is durable.
    """
    import uvloop

    from registry.api import serve
    from registry.config import read_config

    def ready(address: str) -> None:
        click.echo(f"registry is ready: {address}/v1  (description: {address}/v1/openapi.json)")
        sys.stdout.flush()

    uvloop.run(serve(read_config(config), ready))


@registry.command("home")
@click.argument("config", metavar="REGISTRY.toml", type=FILE)
@click.argument("prefix")
def registry_home(config: Path, prefix: str) -> None:
    """Let the newest key of PREFIX sign, at the registry of its own node.

    The last step of a new key: after its parent has delegated PREFIX to that key. The registry must be stopped meanwhile.
    """
    from registry.config import read_config
    from registry.service import Service
    from registry.setup import OPERATOR

    check_prefix(prefix)

    async def run() -> None:
        service = await Service.open(read_config(config))
        try:
            await service.home(prefix, OPERATOR)
        finally:
            await service.close()

    asyncio.run(run())
    click.echo(f"{prefix}: its newest key signs from now on; `waymark check` says whether the parent knows it")


@waymark.command()
@click.argument("what", metavar="REQUEST.json|PREFIX")
@with_registry
def delegate(what: str, url: str, token: str | None) -> None:
    """Hand a prefix down to a child.

    To the child's own node as its REQUEST.json says, or PREFIX to be hosted by this registry's node.

    \b
    waymark delegate tree/88/request.json --registry http://127.0.0.1:20003 --token @tree/root/token
    waymark delegate 88.101.5 --registry http://127.0.0.1:20013 --token @tree/88.101/token
    """
    from registry.client import RegistryClient

    if "/" in what or what.endswith(".json") or Path(what).is_file():
        try:
            request = json.loads(Path(what).read_bytes())
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{what} is not JSON: {error}") from None
    else:
        request = {"prefix": what}

    async def run() -> dict[str, Any]:
        async with RegistryClient(url, secret(token)) as client:
            return await client.delegate(request)

    document = asyncio.run(run())
    where = "to its own node" if "servers" in request else "hosted here"
    click.echo(f"{request['prefix']}: delegated, {where}; prefix record serial {document.get('serial')}")


@waymark.command()
@click.argument("identifier")
@click.option("--value", "values", multiple=True, required=True, metavar="[INDEX:]TYPE=DATA", help="A value, e.g. URL=https://...")
@click.option("--replace", is_flag=True, help="Put these values in place of all values of an existing identifier.")
@with_registry
def register(identifier: str, values: tuple[str, ...], replace: bool, url: str, token: str | None) -> None:
    """Register one IDENTIFIER with its values.

    It resolves within a second.

    \b
    waymark register 88.118.8/JXDY2106023 --value URL=https://example.org/p/1 --value 'NAME=电源模块' --token @token
    """
    from registry.client import RegistryClient
    from registry.template import parse_value

    asked = Identifier.parse(identifier)
    documents = [parse_value(text, index) for index, text in enumerate(values, 1)]

    async def run() -> dict[str, Any]:
        async with RegistryClient(url, secret(token)) as client:
            return await (client.replace if replace else client.register)(str(asked), documents)

    record = asyncio.run(run())
    click.echo(f"{record['identifier']}: serial {record['serial']}, signed until {record['expires']}")


@resolver_cli.table.command()
@click.argument("config", metavar="REGISTRY.toml", type=FILE)
def rebuild(config: Path) -> None:
    """Make the answer table again from the truth.

    In key order, so that it is smallest on disk. Nodes go on serving and move over. The registry must be stopped meanwhile.
    """
    from registry.config import read_config
    from registry.publisher import rebuild_table

    def progress(records: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{records:,} records", nl=False, err=True)

    found = read_config(config)
    records = asyncio.run(rebuild_table(found, progress))
    click.echo(f"{found.table}: {records:,} records")


# ---- the demo


@waymark.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep all state here.  [default: a temporary directory]",
)
@click.option("--once", is_flag=True, help="End after the walk.")
def demo(directory: Path | None, once: bool) -> None:
    """Start a whole tree on this machine and walk through it.

    Root, national top-level node 88, secondary nodes 88.101 and 88.118, enterprise node 88.118.8 and a recursive node, with their
    registries, on free ports of the loopback address, with 1,000 real products. It stays up until Ctrl-C. With --dir,
    DIR/nodes.json lists all addresses.
    """
    from registry.demo import run_demo

    sys.exit(run_demo(directory, once))


def main() -> None:
    """Entry point of the command."""
    from registry.import_command import import_command

    for command in (*resolver_cli.COMMANDS, import_command):
        waymark.add_command(command)
    waymark()


if __name__ == "__main__":
    main()
