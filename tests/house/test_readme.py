"""The README is run too: its own tree in ten lines, to the letter but for the ports, and every file that it names exists."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from registry.ports import free_ports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
_VISIBLE_SECONDS, _END_SECONDS = 20.0, 30.0


def test_a_first_own_tree(tmp_path: Path) -> None:
    block = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert block
    lines = block[1].strip().splitlines()
    assert len(lines) == 10, "the README promises ten lines"
    first, *_ = free_ports(20)
    lines = [re.sub(r"\b241(\d\d)\b", lambda port: str(first + int(port[1])), line) for line in lines]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("WAYMARK_ANCHOR", None)
    assert shutil.which("waymark", path=environment["PATH"]), "the package is not installed in this environment"
    running: list[subprocess.Popen[str]] = []
    said = ""
    try:
        for line in lines:
            if line.endswith("&"):
                process = subprocess.Popen(
                    line.rstrip("& "),
                    shell=True,
                    cwd=tmp_path,
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                running.append(process)
                assert process.stdout is not None
                assert "ready" in process.stdout.readline(), line
            else:
                said = _until_it_works(line, tmp_path, environment)
        assert "https://example.org/" in said
        assert "verified: signed by 302:0.NA/88" in said
        assert "0.0/0.0" in said
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            process.wait(_END_SECONDS)
            assert process.stdout is not None
            process.stdout.close()


def _until_it_works(line: str, directory: Path, environment: dict[str, str]) -> str:
    """Runs a line as a person would: once more if what was registered a moment ago is not visible yet."""
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while True:
        done = subprocess.run(line, shell=True, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < deadline, f"{line}\n{done.stdout}{done.stderr}"
        time.sleep(0.2)


def test_every_file_in_the_map_exists() -> None:
    table = README.partition("## The map of the code")[2].partition("\n## ")[0]
    missing = []
    for row in table.splitlines():
        if not row.startswith("| `"):
            continue
        names = re.findall(r"`([^`]+)`", row.split("|")[1])
        folder = Path(names[0]).parent if not names[0].endswith("/") else Path()
        for number, name in enumerate(names):
            path = ROOT / name if number == 0 or "/" in name.rstrip("/") else ROOT / folder / name
            if not path.exists():
                missing.append(str(path.relative_to(ROOT)))
    assert not missing
