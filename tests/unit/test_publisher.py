"""The publisher's process ends with its registry, whatever happens in between."""

import asyncio
from pathlib import Path

import pytest

from tests.support.registry import registry_config, root_service


async def test_a_registry_that_closes_while_its_publisher_is_started_again_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.publisher._RESTART_SECONDS", 0.0)
    service = await root_service(registry_config(tmp_path))
    publisher, launch = service.publisher, service.publisher._launch
    closing: list[asyncio.Task[None]] = []

    async def launch_late() -> None:
        closing.append(asyncio.create_task(service.close()))
        await asyncio.sleep(0.01)
        await launch()

    monkeypatch.setattr(publisher, "_launch", launch_late)
    first = publisher._process
    assert first is not None
    first.kill()
    async with asyncio.timeout(30):
        while not closing:  # noqa: ASYNC110  # what is waited for is a process
            await asyncio.sleep(0.01)
        await closing[0]
    assert publisher._process is not first
    assert publisher._process is not None
    assert publisher._process.returncode == 0
