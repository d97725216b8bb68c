"""Signing many records: in a child process, so that a bulk registration has a second core and the event loop stays free.

One Ed25519 signature costs 20 us and one RS256 signature 210 us. A thread would not help: it has to take the interpreter's lock
again after each signature, and beside a busy event loop it gets it every 5 ms. The child (`python -m registry.keys DIR`) loads the
keys itself and ends with its standard input, so it never outlives the registry, however that ends. A few are signed in place.

A message is its length in 4 octets, then its parts, each behind its length: key, octets, key, octets, ... there; signatures back.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Protocol

from resolver.core.errors import StoreError
from resolver.core.wire.framing import pack_data

_U32 = Struct(">I")
_IN_PLACE_MICROSECONDS = 1000  # what may be signed in the event loop at once
_ED25519_MICROSECONDS, _RSA_MICROSECONDS = 20, 210
_END_SECONDS = 5

Request = tuple[str, bytes]  # the name of a key (`keys.key_name`), the octets to sign


class Signer(Protocol):
    def sign(self, key: str, octets: bytes) -> bytes: ...


class Signing:
    """Signs for one registry. The child is started when it is first worth it, and again if it died."""

    def __init__(self, in_place: Signer, directory: Path) -> None:
        self._in_place = in_place
        self._directory = directory
        self._child: Process | None = None
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()

    async def sign(self, requests: Sequence[Request]) -> list[bytes]:
        """The signatures, in the order of the requests. Raises StoreError if the child dies of them."""
        if len(requests) * _RSA_MICROSECONDS <= _IN_PLACE_MICROSECONDS or self._cost(requests) <= _IN_PLACE_MICROSECONDS:
            return [self._in_place.sign(key, octets) for key, octets in requests]
        async with self._writing:
            child = await self._started()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(_message(chain.from_iterable((key.encode(), octets) for key, octets in requests)))
        try:
            async with self._reading:  # locks are taken in the order in which they are asked for, and so were the messages
                (length,) = _U32.unpack(await child.stdout.readexactly(4))
                return _parts(await child.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError):
            await self._end(child)
            raise StoreError(f"the signing process ended; is every key in {self._directory} readable?") from None
        except BaseException:
            await self._end(child)  # its answer would be taken for that of the next message
            raise

    async def close(self) -> None:
        if self._child is not None:
            await self._end(self._child)

    def _cost(self, requests: Sequence[Request]) -> int:
        rsa = sum(key.endswith("@300") for key, _ in requests)
        return rsa * _RSA_MICROSECONDS + (len(requests) - rsa) * _ED25519_MICROSECONDS

    async def _started(self) -> Process:
        if self._child is None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "registry.keys", str(self._directory), stdin=PIPE, stdout=PIPE
            )
        return self._child

    async def _end(self, child: Process) -> None:
        if self._child is child:
            self._child = None
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await child.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


# ---- messages; the child reads and writes them in `keys`


def read_requests(stream: BinaryIO) -> list[Request] | None:
    """The next message's requests, None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    parts = _parts(stream.read(_U32.unpack(head)[0]))
    return [(key.decode(), octets) for key, octets in zip(parts[::2], parts[1::2], strict=True)]


def write_signatures(stream: BinaryIO, signatures: Sequence[bytes]) -> None:
    stream.write(_message(signatures))
    stream.flush()


def _message(parts: Iterable[bytes]) -> bytes:
    body = b"".join(map(pack_data, parts))
    return _U32.pack(len(body)) + body


def _parts(body: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(body):
        start = position + 4
        position = start + int(_U32.unpack_from(body, position)[0])
        found.append(body[start:position])
    return found
