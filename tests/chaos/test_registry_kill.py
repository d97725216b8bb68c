"""A registry that is killed, twenty times, at whatever moment: no acknowledged record is lost, none is there twice."""

import random
import subprocess
import sys
import time
from pathlib import Path

from registry.database import open_truth
from registry.database.truth import Entry
from registry.publisher import rebuild_table
from resolver.core.wire.stored import decode_stored
from resolver.table import Table
from resolver.table_check import check_table
from tests.support.registry import registry_config, root_service

KILLS = 20
ROOT = Path(__file__).parents[2]


def register_until_killed(directory: Path, run: int, lines: int, after_seconds: float) -> list[tuple[bytes, int]]:
    """Kills a registry so long after its first `lines` acknowledgements. Key and serial of everything it acknowledged."""
    command = [sys.executable, "-m", "tests.support.registering", str(directory), f"run{run}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        said = b"".join(process.stdout.readline() for _ in range(lines))
        time.sleep(after_seconds)
        process.kill()
        said += process.stdout.read()
    whole = [line.rsplit(b" ", 1) for line in said.split(b"\n")[:-1]]  # the last line may have been cut by the kill
    return [(key, int(serial)) for key, serial in whole]


async def test_no_acknowledged_record_is_lost_and_none_is_doubled(tmp_path: Path) -> None:
    config = registry_config(tmp_path)
    await (await root_service(config)).close()
    dice = random.Random(20261120)
    acknowledged = []
    for run in range(KILLS):
        lines = dice.randrange(1, 400) if run % 2 else 0  # while it works, and while it still starts
        acknowledged += register_until_killed(tmp_path, run, lines, dice.uniform(0, 0.15))
    assert len(acknowledged) > KILLS

    service = await root_service(config)  # publishes what the killed ones did not
    await service.close()
    truth = await open_truth(config.database)
    log: list[Entry] = []
    while more := await truth.changes(log[-1].serial if log else 0, 5000):
        log += more
    await truth.close()
    assert [entry.serial for entry in log] == list(range(1, len(log) + 1))
    registered = [(entry.key, entry.serial) for entry in log if entry.action == "register"]
    assert len({key for key, _ in registered}) == len(registered)
    assert set(acknowledged) <= set(registered)
    assert len(set(acknowledged)) == len(acknowledged)

    table = Table(config.table)
    live = list(table.records())
    assert table.serial == log[-1].serial
    newest = {entry.key: entry.record for entry in log if b"/" in entry.key}
    assert dict(live) == newest
    assert all(decode_stored(key, octets).serial for key, octets in live)
    assert list(check_table(config.table)) == [len(live)]
    await rebuild_table(config)
    assert table.refresh() is None
    assert list(table.records()) == live
    table.close()
    assert list(check_table(config.table)) == [len(live)]
