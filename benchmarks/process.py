"""Servers under measurement as child processes: started on their core, waited for, ended by process id."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.machine import SERVER_CORE, on_cores

_END_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.002


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], ready: Callable[[], bool], seconds: float = 60.0, cores: Iterable[int] = (SERVER_CORE,)
) -> Iterator[int]:
    """Runs a server until the block ends. Yields its process id once `ready` says that it answers.

    Raises RuntimeError, with the end of what the server printed, if it does not come up within `seconds`.
    """
    with tempfile.TemporaryFile() as said:
        with on_cores(cores):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + seconds
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    text = said.read()[-2000:].decode("utf-8", "replace")
                    ended = f"ended with {process.poll()}" if process.poll() is not None else f"was not ready in {seconds:.0f} s"
                    raise RuntimeError(f"{' '.join(map(str, command))} {ended}: {text}")
                time.sleep(_LOOK_EVERY_SECONDS)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"{command[0]} did not end in {_END_SECONDS:.0f} s; it is killed", file=sys.stderr)
                process.kill()
                process.wait()


def answers_datagram(port: int, question: bytes, right: Callable[[bytes], bool]) -> bool:
    """Whether the UDP server at `port` gives the right answer now; waits at most 20 ms for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.02)
        asker.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            asker.send(question)
            return right(asker.recv(65_535))
    return False


def accepts(port: int) -> bool:
    """Whether something accepts TCP connections at `port`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
