"""A program that registers codes without end and says each one on its standard output once it is acknowledged, to be killed.

    python -m tests.support.registering DIRECTORY RUN

Several writers, so that commits are shared; RUN makes the names of this run different from those of the others.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from registry.service import Service, Write
from resolver.core.identifier import Identifier
from resolver.core.record import Value
from tests.support.registry import OPERATOR, URL, registry_config

_WRITERS = 4
_TOGETHER = 25


async def write_without_end(service: Service, run: str, writer: int) -> None:
    for number in count():
        names = [Identifier.parse(f"88.118/{run}-{writer}-{number}-{item}") for item in range(_TOGETHER)]
        value = Value(2, "RUN", run.encode())
        for written in await service.write([Write("register", name, (URL, value)) for name in names], OPERATOR):
            assert written.record is not None
            sys.stdout.write(f"{written.record.identifier.canonical} {written.record.serial}\n")
        sys.stdout.flush()


async def main(directory: Path, run: str) -> None:
    service = await Service.open(registry_config(directory))
    try:
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await asyncio.gather(*[write_without_end(service, run, writer) for writer in range(_WRITERS)])
    finally:
        await service.close()  # when nobody reads any more: the test itself was killed


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
