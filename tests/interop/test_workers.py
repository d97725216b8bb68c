"""A node as a process: several workers on the same ports, one of them killed, ports that are taken."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from registry.ports import free_ports
from resolver.anchor import anchor_document
from resolver.core.record import Value
from tests.support.world import World

WAYMARK = str(Path(sys.executable).parent / "waymark")


def config(directory: Path, workers: int, handle_port: int = 0) -> Path:
    world = World()
    world.delegate("88")
    world.put("88/ABC", Value(1, "URL", b"https://example.org/"))
    world.publish("88", directory / "table")
    (directory / "anchor.json").write_text(anchor_document(dict(world.anchor.keys.public), world.anchor.site))
    path = directory / "node.toml"
    path.write_text(
        f'[node]\nname = "n"\nrole = "top"\nhandle_port = {handle_port}\ndns_port = 0\nhttp_port = 0\nworkers = {workers}\n'
        '[table]\npath = "table"\n[dns]\napex = "id.test"\n[trust]\nanchor = "anchor.json"\n'
    )
    return path


@contextmanager
def running(path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A node's process and the address of its HTTP door."""
    process = subprocess.Popen([WAYMARK, "serve", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, process.stderr.read()
        yield process, found[0]
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
        process.stderr.close()


def get(url: str) -> str:
    with urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_share_ports_and_counters_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    with running(config(tmp_path, workers=2)) as (process, http):
        first = workers_of(process.pid)
        assert len(first) == 2
        for _ in range(20):  # each a new connection, so that both workers get some
            assert '"responseCode":1' in get(f"{http}/api/handles/88/ABC")
        assert counted(get(f"{http}/metrics")) == 20, "whichever worker is asked shows the whole node"
        os.kill(first[0], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while len(workers_of(process.pid)) < 2 or first[0] in workers_of(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        answered = 0
        while answered < 20:  # the new worker may still be starting: its share of the connections waits for it
            assert time.monotonic() < deadline
            answered += '"responseCode":1' in get(f"{http}/api/handles/88/ABC")
    assert not [pid for pid in (process.pid, *first) if Path(f"/proc/{pid}").exists()]


def test_a_node_that_is_to_end_while_it_replaces_a_worker_ends(tmp_path: Path) -> None:
    with running(config(tmp_path, workers=2)) as (process, _):
        pids = workers_of(process.pid)
        os.kill(pids[0], signal.SIGKILL)
        while pids[0] in workers_of(process.pid):
            time.sleep(0.001)
    assert not [pid for pid in (process.pid, *pids) if Path(f"/proc/{pid}").exists()]


def counted(metrics: str) -> int:
    found = re.search(r'^waymark_queries_total\{door="http",outcome="answer"\} (\S+)$', metrics, re.MULTILINE)
    assert found
    return int(float(found[1]))


def test_a_port_that_is_taken_is_told_with_its_door(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([WAYMARK, "serve", str(config(tmp_path, 1, port))], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert f"handle_port {port}" in done.stderr
    assert "Address already in use" in done.stderr


@pytest.mark.parametrize("door", ["handle", "dns", "http"])
def test_a_second_node_takes_no_share_of_the_first_ones_questions(tmp_path: Path, door: str) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for directory in (first, second):
        directory.mkdir()
    (port,) = free_ports(1)
    for directory in (first, second):
        path = config(directory, 1)
        path.write_text(path.read_text().replace(f"{door}_port = 0", f"{door}_port = {port}"))
    with running(first / "node.toml"):
        done = subprocess.run([WAYMARK, "serve", str(second / "node.toml")], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert f"{door}_port {port} of 127.0.0.1: Address already in use" in done.stderr
    with running(second / "node.toml"):  # it is free at once when the first has ended
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_table_is_told_once(tmp_path: Path, workers: int) -> None:
    path = config(tmp_path, workers)
    path.write_text(path.read_text().replace('path = "table"', 'path = "elsewhere"'))
    done = subprocess.run([WAYMARK, "serve", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert done.stderr.count("has its registry run yet?") == 1
    assert "Traceback" not in done.stderr
