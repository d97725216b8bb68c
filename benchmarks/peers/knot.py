"""Knot DNS serving the same names as our node: a zone file of TXT records, one UDP worker."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import data
from benchmarks.load import questions
from benchmarks.peers import AbsentError
from benchmarks.process import answers_datagram, running
from registry.ports import free_ports

ZONE = ".".join(reversed(data.PREFIX.split("."))) + ".id.test"
ANSWER_OCTETS = 252  # the whole message without EDNS: what our node sends for one of these records, within a few octets

_QUESTION_OCTETS = 1 + 13 + len(ZONE) + 2 + 4
_TEXT_OCTETS = ANSWER_OCTETS - 12 - _QUESTION_OCTETS - 12 - 1
_LOAD_SECONDS = 120.0

_CONFIG = """\
server:
    rundir: "{directory}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{directory}"
log:
  - target: stderr
    any: error
template:
  - id: default
    storage: "{storage}"
    semantic-checks: off
    journal-content: none
    zonefile-sync: -1
zone:
  - domain: {zone}
    file: "{file}"
"""


class Knot(NamedTuple):
    pid: int
    port: int


@contextlib.contextmanager
def serving(records: int) -> Iterator[Knot]:
    """Knot with the first `records` names of the data. Raises AbsentError without the Debian package `knot`."""
    program = shutil.which("knotd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise AbsentError("knotd is not installed (Debian package knot): no figures of Knot, no ratios to it")
    zone_file = _zone_file(records)
    (port,) = free_ports(1)
    question = questions.dns([data.digits(0).encode(), *(label.encode() for label in ZONE.split("."))], 1)
    with tempfile.TemporaryDirectory(prefix="waymark-knot-") as directory:
        config = Path(directory) / "knot.conf"
        config.write_text(
            _CONFIG.format(directory=directory, port=port, storage=zone_file.parent, zone=ZONE, file=zone_file.name), "utf-8"
        )
        command = (program, "--config", config)
        with running(command, lambda: answers_datagram(port, question, _is_answer), _LOAD_SECONDS) as pid:
            yield Knot(pid, port)


def _is_answer(message: bytes) -> bool:
    return message[3] & 0x0F == 0 and message[6:8] == b"\0\1"


def _zone_file(records: int) -> Path:
    """The zone's file, written once."""
    path = data.BUILD / f"knot-{records}-{ANSWER_OCTETS}-{data.digits(0)}.zone"
    if not path.exists():
        data.BUILD.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="ascii") as file:
            file.write(f"$ORIGIN {ZONE}.\n$TTL 86400\n@ SOA ns hostmaster 1 3600 600 604800 60\n@ NS ns\nns A 127.0.0.1\n")
            for i in range(records):
                suffix = data.digits(i)
                file.write(f'{suffix} TXT "{suffix.ljust(_TEXT_OCTETS, ".")}"\n')
        draft.rename(path)
    return path
