"""A registry as a process of its own, which a test may kill and start again on the same address and the same truth.

with Zygote(tmp_path) as zygote:
    registry = await make_registry(zygote, tmp_path, "88.101", hosts=["88.101.5"])
    registry.command.kill()
    registry.launch()
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from registry.client import RegistryClient
from registry.ports import free_ports
from registry.setup import Plan, set_up
from tests.support.zygote import Zygote

_START_SECONDS = 20.0


class RegistryProcess:
    def __init__(self, zygote: Zygote, directory: Path, port: int) -> None:
        self.zygote, self.directory = zygote, directory
        self.url = f"http://127.0.0.1:{port}"
        self.token = (directory / "token").read_text("ascii").strip()
        self.launch()

    def launch(self) -> None:
        """Starts the process; it takes requests soon after."""
        self.command = self.zygote.start("registry", "serve", self.directory / "registry.toml")

    async def ready(self) -> None:
        """Waits until it takes requests. Starts it again if it ends before, as a supervisor does: one that was killed may leave a
        child behind that still finishes what it is at."""
        async with asyncio.timeout(_START_SECONDS), aiohttp.ClientSession() as session:
            while True:
                if self.command.poll() is not None:
                    self.launch()
                try:
                    async with session.get(self.url + "/readyz") as reply:
                        if reply.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)

    def client(self) -> RegistryClient:
        return RegistryClient(self.url, self.token)


async def make_registry(zygote: Zygote, directory: Path, prefix: str, hosts: Sequence[str] = ()) -> RegistryProcess:
    """Sets up and starts the registry of `prefix`, which also hosts the prefixes `hosts` below it."""
    await set_up(Plan("root", directory / "root"))
    (port,) = free_ports(1)
    await set_up(Plan("secondary", directory / "node", prefix, registry_port=port, anchor=directory / "root" / "anchor.json"))
    registry = RegistryProcess(zygote, directory / "node", port)
    await registry.ready()
    async with registry.client() as client:
        for hosted in hosts:
            await client.delegate({"prefix": hosted})
    return registry
