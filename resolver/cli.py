"""The commands that need no private key: serve a node, ask, verify, look into a table. `registry.cli` mounts them under `waymark`.

Exit status: 0 found and verified (or done), 1 no such identifier, 2 usage or configuration, 3 could not be verified or reached.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from resolver import printing
from resolver.anchor import Anchor, read_anchor
from resolver.config import NodeConfig, read_config
from resolver.core import limits, trust
from resolver.core.errors import ConfigError, FormatError, SignatureError, WaymarkError
from resolver.core.identifier import Identifier, prefix_record
from resolver.core.limits import Limits
from resolver.core.message import Answer, NotFound, Query
from resolver.core.walk import Resolution
from resolver.saved import load as load_saved
from resolver.saved import save as saved_document

EXIT_FOUND, EXIT_NOT_FOUND, EXIT_USAGE, EXIT_UNVERIFIED = 0, 1, 2, 3
_ANCHOR_PLACES = ("anchor.json", "~/.config/waymark/anchor.json", "/etc/waymark/anchor.json")

_AT_ONCE = 32  # questions of one `waymark resolve` under way together

T = TypeVar("T")


class Commands(click.Group):
    """A group that tells breakage as one line and an exit status, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConfigError, FormatError) as error:
            click.echo(f"waymark: {error}", err=True)
            ctx.exit(EXIT_USAGE)
        except WaymarkError as error:
            click.echo(f"waymark: {error}", err=True)
            ctx.exit(EXIT_UNVERIFIED)
        except OSError as error:
            if error.filename is None:  # no file of the user's: a pipe that was closed, or a fault of ours
                raise
            click.echo(f"waymark: {error.filename}: {error.strerror}", err=True)
            ctx.exit(EXIT_USAGE)


class HostPort(click.ParamType[tuple[str, int]]):
    """`127.0.0.1:2641`, `[::1]:2641` or `host:2641`, as (host, port)."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        host, colon, port = str(value).removeprefix("http://").rstrip("/").rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) < 65_536:
            self.fail(f"{value!r} is not HOST:PORT, for example 127.0.0.1:2641", param, ctx)
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0][4]
        except OSError as error:
            self.fail(f"host {host!r} is not known: {error.strerror}", param, ctx)
        return str(found[0]), int(port)


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
anchor_option = click.option(
    "--anchor", "anchor_path", type=click.Path(path_type=Path), envvar="WAYMARK_ANCHOR",
    help="Trust anchor file: the root's key and servers.  [default: anchor.json here, in ~/.config/waymark or /etc/waymark]",
)  # fmt: skip


def find_anchor(path: Path | None) -> Anchor:
    """The anchor at `path`, or at the first of the usual places. Raises ConfigError that names them."""
    if path is not None:
        return read_anchor(path)
    for place in _ANCHOR_PLACES:
        if (found := Path(place).expanduser()).exists():
            return read_anchor(found)
    raise ConfigError(f"no trust anchor: give --anchor FILE, set WAYMARK_ANCHOR, or put one at {', '.join(_ANCHOR_PLACES)}")


# ---- a node


@click.command()
@click.argument("node", metavar="NODE.toml", type=FILE)
def serve(node: Path) -> None:
    """Run a node, as NODE.toml says.

    Root, top, secondary, enterprise or recursive, it answers over Handle and DNS (UDP and TCP) and HTTP until it gets SIGTERM or
    Ctrl-C. `waymark init` writes NODE.toml.
    """
    from resolver.node import Addresses, run

    config = read_config(node)

    def ready(at: Addresses) -> None:
        click.echo(f"{config.name} ({config.role}) is ready: handle {at.handle}  dns {at.dns}  {at.http}")
        sys.stdout.flush()

    sys.exit(run(config, ready))


@click.command()
@click.argument("node", metavar="NODE.toml", type=FILE)
@click.argument("identifier", metavar="IDENTIFIER")
def answer(node: Path, identifier: str) -> None:
    """Print what a node would say of IDENTIFIER.

    From its answer table, without any network. Exit status: 0 an answer, 1 no such identifier, 2 usage or configuration, 3 a
    referral to other servers, or a refusal.
    """
    from resolver.table import Table

    config = read_config(node)
    if config.table is None:
        raise ConfigError(f"{node}: a recursive node has no table to answer from; use `waymark resolve`")
    table = Table(config.table)
    asked = Identifier.parse_or_prefix(identifier)
    outcome = table.find(asked)
    for line in printing.outcome_lines(asked, outcome):
        click.echo(line)
    table.close()
    sys.exit(EXIT_FOUND if isinstance(outcome, Answer) else EXIT_NOT_FOUND if isinstance(outcome, NotFound) else EXIT_UNVERIFIED)


@click.command()
@click.argument("node", metavar="NODE.toml", type=FILE)
def check(node: Path) -> None:
    """Check a node, before or while it runs.

    Its configuration, anchor and table, and that its delegations verify up to the anchor.
    """
    from resolver.table import Table

    config = read_config(node)
    anchor = read_anchor(config.anchor)
    click.echo(f"ok    {node}: {config.role} node {config.name!r}")
    click.echo(f"ok    {config.anchor}: {len(anchor.keys.public)} key(s), {len(anchor.site.servers)} root server(s)")
    if config.table is None:
        sys.exit(0 if _check_prefix(config, anchor, "0.NA", {}) else EXIT_UNVERIFIED)
    table = Table(config.table)
    stat = table.stat()
    click.echo(f"ok    {config.table}: {stat.records:,} records, {stat.homed} prefixes homed, change serial {stat.serial}")
    results = [_check_prefix(config, anchor, homed.prefix, homed.keys) for homed in table.homed()]
    if not results:
        click.echo("WRONG no prefix is homed here: has the registry of this node homed one?")
    table.close()
    sys.exit(0 if results and all(results) else EXIT_UNVERIFIED)


def _check_prefix(config: NodeConfig, anchor: Anchor, prefix: str, keys: dict[int, bytes]) -> bool:
    """Whether the world, starting at the anchor, knows `prefix` with the keys that this node's table has."""
    identifier = Identifier("0.0", "0.0") if prefix in ("0.NA", "0.0") else prefix_record(prefix)
    found = _ask(anchor, config.limits, lambda resolver: resolver.resolve(Query(identifier)))
    if not found.verdict.verified:
        click.echo(f"WRONG {prefix}: {found.verdict.text}")
        return False
    published = trust.public_keys(found.chain[0].values, identifier.canonical)
    strange = [index for index, key in keys.items() if published.get(index) != key]
    if strange:
        click.echo(f"WRONG {prefix}: key {strange[0]} here is not the one that {identifier} names; was it delegated again?")
        return False
    click.echo(f"ok    {prefix}: delegated and verified up to the anchor")
    return True


# ---- asking


@click.command()
@click.argument("identifiers", metavar="IDENTIFIER...", nargs=-1)
@click.option(
    "--from",
    "source",
    type=click.File("r", "utf-8-sig"),
    help="Read identifiers from this file, one a line; - is standard input.",
)
@click.option("--at", type=HostPort(), help="Ask this server first, and go on where it refers; else the walk begins at the root.")
@click.option("--door", type=click.Choice(["handle", "dns", "http"]), default="handle", show_default=True, help="How to ask --at.")
@click.option("--apex", default="id.test", show_default=True, help="DNS name under which the tree hangs, for --door dns.")
@anchor_option
@click.option("--type", "types", multiple=True, help="Show only values of this type. May be repeated.")
@click.option("--index", "indexes", multiple=True, type=int, help="Show only the value with this index. May be repeated.")
@click.option("--trace", is_flag=True, help="Show every server asked, what it said, and the chain of signatures.")
@click.option("--json", "as_json", is_flag=True, help="Print record, verdict and chain as JSON; of several identifiers one a line.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Write record and chain to FILE, for `waymark verify`."
)
def resolve(
    identifiers: tuple[str, ...], source: TextIO | None, at: tuple[str, int] | None, door: str, apex: str, anchor_path: Path | None,
    types: tuple[str, ...], indexes: tuple[int, ...], trace: bool, as_json: bool, save: Path | None,
) -> None:  # fmt: skip
    """Resolve IDENTIFIER and verify the answer up to the trust anchor.

    \b
    waymark resolve 88.118.8/JXDY2106023 --anchor anchor.json          walk from the root
    waymark resolve 88.118.8/JXDY2106023 --at 127.0.0.1:2641 --trace   ask one server, show how it is verified
    waymark resolve 88.118                                             a prefix: who serves it, and its key
    waymark resolve --from codes.txt --json > records.ndjson           many at once

    Exit status: 0 found and verified, 1 no such identifier, 2 usage or configuration, 3 could not be verified or reached.
    Of several identifiers the highest counts.
    """
    names = [*identifiers, *_lines(source)]
    if not names:
        raise click.UsageError("give an IDENTIFIER, for example 88.118.8/JXDY2106023, or --from FILE")
    if save is not None and len(names) > 1:
        raise click.UsageError(f"--save takes one identifier, not {len(names):,}: a saved record is a file of its own")
    if door != "handle" and at is None:
        raise ConfigError(f"--door {door} needs --at HOST:PORT: only the Handle door can be walked from the root")
    asked = [Identifier.parse_or_prefix(name) for name in names]
    status = 0

    def show(identifier: Identifier, found: Resolution) -> None:
        nonlocal status
        status = max(status, exit_status(found))
        if save is not None and found.verdict.verified:
            save.write_text(json.dumps(saved_document(found), ensure_ascii=False, indent=1) + "\n", "utf-8")
        if as_json:
            document = printing.resolution_document(identifier, found, indexes, types)
            click.echo(json.dumps(document, ensure_ascii=False, indent=2 if len(asked) == 1 else None))
        else:
            for line in printing.resolution_lines(identifier, found, indexes, types, trace):
                click.echo(line)

    asyncio.run(_resolve_all(asked, find_anchor(anchor_path), at, door, apex, show))
    sys.exit(status)


def _lines(source: TextIO | None) -> list[str]:
    """The identifiers in a file, one a line. Raises ConfigError if it is no text."""
    try:
        return [line.strip() for line in source or () if line.strip()]
    except UnicodeDecodeError as error:
        raise ConfigError(f"--from: the file is not UTF-8 text: {error.reason} at octet {error.start}") from None


async def _resolve_all(
    asked: list[Identifier], anchor: Anchor, at: tuple[str, int] | None, door: str, apex: str,
    show: Callable[[Identifier, Resolution], None],
) -> None:  # fmt: skip
    """Resolves all, a bounded number at a time, and shows them in order."""
    from resolver import asking
    from resolver.resolution import Resolver

    resolver = Resolver(anchor, Limits())

    async def one(identifier: Identifier) -> Resolution:
        if at is None:
            return await resolver.resolve(Query(identifier))
        if door == "http":
            return await asking.over_http(resolver, identifier, at)
        if door == "dns":
            return await asking.over_dns(resolver, identifier, at, apex)
        return await asking.over_handle(resolver, identifier, at)

    for start in range(0, len(asked), _AT_ONCE):
        portion = asked[start : start + _AT_ONCE]
        for identifier, found in zip(portion, await asyncio.gather(*map(one, portion)), strict=True):
            show(identifier, found)


@click.command()
@click.argument("record", metavar="RECORD.json", type=FILE)
@anchor_option
@click.option("--at-time", type=int, help="Verify as of this time (seconds since 1970) instead of now.")
def verify(record: Path, anchor_path: Path | None, at_time: int | None) -> None:
    """Verify a record that `waymark resolve --save` wrote, offline.

    It holds the whole chain of signatures, so that nothing but the anchor is needed: no node and no network.

    Exit status: 0 verified, 2 not a saved record, 3 refused, with the reason.
    """
    try:
        document = json.loads(record.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{record} is not JSON: {error}") from None
    chain = load_saved(document)
    try:
        trusted = trust.verify_chain(chain, find_anchor(anchor_path).keys, int(time.time()) if at_time is None else at_time)
    except SignatureError as error:
        click.echo(f"REFUSED ({error.reason}): {error}")
        sys.exit(EXIT_UNVERIFIED)
    for line in (*printing.value_lines(trusted[0].values), *printing.chain_lines(trusted)):
        click.echo(line)
    click.echo(f"verified: {printing.signed_by(trusted[0])}")


def exit_status(found: Resolution) -> int:
    if isinstance(found.outcome, Answer) and found.verdict.verified:
        return EXIT_FOUND
    return EXIT_NOT_FOUND if isinstance(found.outcome, NotFound) else EXIT_UNVERIFIED


def _ask(anchor: Anchor, bounds: Limits, question: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Runs one question against a new resolver."""
    from resolver.resolution import Resolver

    async def run() -> T:
        return await question(Resolver(anchor, bounds))

    return asyncio.run(run())


# ---- the answer table


@click.group()
def table() -> None:
    """Look into an answer table, check or rebuild it."""


@table.command()
@click.argument("place", metavar="TABLE", type=click.Path(exists=True, path_type=Path))
def stat(place: Path) -> None:
    """Print counts and sizes of TABLE.

    TABLE is its directory, or the NODE.toml that names it.
    """
    from resolver.table import Table

    opened = Table(table_path(place))
    figures = opened.stat()
    each = f", {figures.octets / figures.records:,.0f} a record" if figures.records else ""
    click.echo(f"records        {figures.records:,}")
    click.echo(f"homed prefixes {figures.homed:,}: {', '.join(homed.prefix for homed in opened.homed()[:20])}")
    click.echo(f"change serial  {figures.serial:,}")
    click.echo(f"octets on disk {figures.octets:,}{each}")
    click.echo(f"generation     {figures.generation}")
    opened.close()


@table.command("check")
@click.argument("place", metavar="TABLE", type=click.Path(exists=True, path_type=Path))
@click.option("--quiet", is_flag=True, help="No progress, only what is wrong.")
def check_(place: Path, quiet: bool) -> None:
    """Verify every record in TABLE.

    Every signature, delegation and serial too. TABLE is its directory, or the NODE.toml that names it. One changed octet is found.
    Exit status 0: all is well; 3: each fault is printed.
    """
    from resolver.table_check import check_table

    started = time.monotonic()
    progress = None if quiet or not sys.stderr.isatty() else lambda done: click.echo(f"\r{done:,} records", nl=False, err=True)
    faults, records = 0, 0
    for finding in check_table(table_path(place), progress):
        if isinstance(finding, int):
            records = finding
        else:
            faults += 1
            click.echo(f"WRONG {finding}")
    took = time.monotonic() - started
    click.echo(f"{records:,} records checked in {took:.1f} s: " + (f"{faults:,} fault(s)" if faults else "all is well"))
    sys.exit(EXIT_UNVERIFIED if faults else 0)


def table_path(place: Path) -> Path:
    """The directory of the table that a command line names."""
    if place.is_dir():
        return place
    found = read_config(place).table
    if found is None:
        raise ConfigError(f"{place}: a recursive node has no table")
    return found


# ---- bounds


@click.command("limits")
def limits_() -> None:
    """Print every bound, and why it is there.

    Its default too, and the range that may be configured under [limits].
    """
    width = max(map(len, limits.TABLE))
    click.echo(f"{'name':{width}}  {'default':>14}  {'range':>26}  why")
    for bound in limits.TABLE.values():
        span = f"{bound.least:,} .. {bound.most:,}" if bound.configurable else "fixed"
        click.echo(f"{bound.name:{width}}  {bound.default:>14,}  {span:>26}  {bound.why}")


COMMANDS: tuple[click.Command, ...] = (serve, resolve, answer, verify, table, check, limits_)
