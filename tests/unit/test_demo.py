"""The demo's manners apart from the tree that it starts: a process that ends is told of, a start that was cut short too."""

import asyncio
from pathlib import Path

import pytest

from registry.demo import Running, run_demo, stay_up
from resolver.core.errors import ConfigError


async def test_a_process_that_ends_is_told_of_and_the_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    running = [
        Running(f"waymark serve {name}", await asyncio.create_subprocess_exec("sleep", "60")) for name in ("a.toml", "b.toml")
    ]
    stop = asyncio.Event()
    staying = asyncio.create_task(stay_up(running, stop))
    try:
        running[0].process.kill()
        said = ""
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if said := capsys.readouterr().out:
                break
        assert "`waymark serve a.toml` ended with status -9" in said
        assert "b.toml" not in said
        assert not staying.done()
        stop.set()
        async with asyncio.timeout(10):
            await staying
        assert running[1].process.returncode is None, "who stops the demo stops them, not this"
    finally:
        running[1].process.kill()
        await running[1].process.wait()


def test_a_start_that_was_cut_short_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "88").mkdir()
    (tmp_path / "88" / "node.toml").touch()
    with pytest.raises(ConfigError, match="first start was cut short; remove that directory, or choose another"):
        run_demo(tmp_path, once=True)
