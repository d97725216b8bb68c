"""A process that has imported the command line once and then forks: a `waymark` command that starts in milliseconds.

It lets a test run a command many times, and kill it at any moment of its life rather than while Python still starts.

with Zygote(tmp_path) as zygote:
    command = zygote.start("registry", "serve", "registry.toml")
    command.kill()
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

_WAIT_SECONDS = 60.0


class Ended(NamedTuple):
    """How a command ended: its exit status (the negative number of a signal that ended it), and what it printed."""

    status: int
    out: str
    err: str


class Command:
    """A running command."""

    def __init__(self, zygote: "Zygote", pid: int, output: Path) -> None:
        self._zygote, self.pid, self._output = zygote, pid, output
        self._ended: Ended | None = None

    @property
    def out(self) -> str:
        return self._output.with_suffix(".out").read_text()

    def poll(self) -> Ended | None:
        """How it ended, None while it runs."""
        if self._ended is None:
            status = self._zygote.ask({"poll": self.pid})["status"]
            if status is not None:
                self._ended = Ended(status, self.out, self._output.with_suffix(".err").read_text())
        return self._ended

    def wait(self) -> Ended:
        deadline = time.monotonic() + _WAIT_SECONDS
        while (ended := self.poll()) is None:
            assert time.monotonic() < deadline, f"a command did not end; it printed {self.out}"
            time.sleep(0.005)
        return ended

    def send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> Ended:
        """kill -9."""
        self.send(signal.SIGKILL)
        return self.wait()


class Zygote:
    def __init__(self, directory: Path) -> None:
        """`directory` is where commands run and where their output is kept."""
        self._directory = directory
        self._commands: list[Command] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            cwd=self._directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for command in self._commands:
            command.kill()
        self._process.communicate(timeout=_WAIT_SECONDS)

    def start(self, *arguments: object) -> Command:
        """Starts `waymark ARGUMENTS`."""
        output = self._directory / f"command-{len(self._commands)}"
        pid = self.ask({"run": [str(argument) for argument in arguments], "output": str(output)})["pid"]
        self._commands.append(Command(self, pid, output))
        return self._commands[-1]

    def run(self, *arguments: object) -> Ended:
        """Runs `waymark ARGUMENTS` to its end."""
        return self.start(*arguments).wait()

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


# ---- inside the process


def _serve() -> None:
    from registry import api, import_command  # noqa: F401  # what commands import when they run, imported beforehand
    from registry.cli import main

    for line in sys.stdin:
        question = json.loads(line)
        if "run" in question:
            pid = os.fork()
            if pid == 0:
                _become(question["run"], Path(question["output"]))
                main()
            print(json.dumps({"pid": pid}), flush=True)
        else:
            ended, status = os.waitpid(question["poll"], os.WNOHANG)
            print(json.dumps({"status": os.waitstatus_to_exitcode(status) if ended else None}), flush=True)


def _become(arguments: Sequence[str], output: Path) -> None:
    """Gives a fork the look of a program that was just started."""
    for number, name in ((0, os.devnull), (1, output.with_suffix(".out")), (2, output.with_suffix(".err"))):
        file = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # as long as the program
    sys.argv = ["waymark", *arguments]


if __name__ == "__main__":
    _serve()
