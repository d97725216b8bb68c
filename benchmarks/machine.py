"""The machine under measurement: which core does what, how much CPU a process has used, and what to write above the figures."""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

SERVER_CORE, CLIENT_CORE = 0, 1


_AVAILABLE = os.sched_getaffinity(0)


@contextlib.contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Runs the block, and the processes that it starts, on these cores. A machine that lacks them uses what it has."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores) & _AVAILABLE or _AVAILABLE)  # not those of a block around it, which may be fewer
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that these processes and their living children have used so far.

    Read from each process's CPU clock (clock_getcpuclockid(3)), to the nanosecond: the same figure as in /proc/<pid>/stat, which
    counts in hundredths of a second.
    """
    family: list[int] = [
        member.pid for pid in pids for member in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    ]
    return sum((time.clock_gettime((~member << 3) | 2) for member in family), 0.0)


def private_octets(pid: int) -> int:
    """Resident memory of one process that is its own: anonymous pages, mapped files left out."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} tells no RssAnon; this needs Linux 4.5 or later")


def disk_octets(path: Path) -> int:
    """What a file, or all files of a directory, take on the disk: blocks, not lengths."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def description() -> dict[str, str]:
    """What a reader needs to know before comparing figures."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}",
    }


def commit() -> str:
    """The commit that was measured, marked when the work tree differed from it. Files of measured figures do not count."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/RESULTS.md"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git here)"
    return f"{name}{' with changes' if changed else ''}"


def busy_share(seconds: float = 1.0) -> float:
    """How much of the machine others are using just now, 0 to 1: figures from a busy machine are not worth keeping."""
    return float(psutil.cpu_percent(seconds)) / 100
