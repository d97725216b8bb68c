"""The client: one exchange with one server, over UDP or TCP. What is asked and how answers are read is `core.exchange`.

A socket lives for one exchange, so that each question leaves from a new random port and no late answer to an old one can meet it.
Over UDP, datagrams that are not ours or cannot be read are passed over until time is up: whoever guesses addresses cannot end an
exchange early. What is told in the end then names the better reason: an answer that could not be read, else silence.
"""

import asyncio
import errno
import os
import secrets
import socket
import time
from collections.abc import Callable

from resolver.core import limits
from resolver.core.errors import FormatError, OverloadError, UnreachableError
from resolver.core.exchange import UDP, Endpoint, Exchange, Told
from resolver.core.identifier import Identifier
from resolver.core.wire.handle import ENVELOPE_OCTETS, decode_envelope

_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # errors that say nothing about the server
_AT_ONCE = 64  # datagrams read before others get their turn
_DATAGRAM_OCTETS = 65_535


def _request_id() -> int:
    return secrets.randbits(32)


class Client:
    """`random_id` gives request numbers, 0..2^32-1; `clock` seconds since 1970."""

    def __init__(self, random_id: Callable[[], int] = _request_id, clock: Callable[[], float] = time.time) -> None:
        self._random_id = random_id
        self._clock = clock

    async def ask(self, identifier: Identifier, endpoint: Endpoint, patience: float, recursive: bool = False) -> Told:
        """What the server at `endpoint` says of `identifier` within `patience` seconds.

        Raises UnreachableError, or FormatError if what came cannot be read; both name the server. OverloadError if it is this
        machine that has no socket left.
        """
        exchange = Exchange(identifier, self._random_id(), self._clock(), recursive)
        try:
            over = self._over_udp if endpoint.protocol == UDP else self._over_tcp
            return await over(exchange, endpoint, patience)
        except FormatError as error:
            raise FormatError(f"{endpoint} answers what cannot be read: {error}") from None
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            if error.errno in _OURS:
                raise OverloadError(
                    f"no socket is left to ask {endpoint}: {why}; see `ulimit -n`, or lower recursion_walks"
                ) from None
            raise UnreachableError(f"{endpoint} cannot be reached: {why}") from None

    async def _over_udp(self, exchange: Exchange, endpoint: Endpoint, patience: float) -> Told:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Told] = loop.create_future()
        unreadable: FormatError | None = None
        left = limits.exchange_datagrams.default

        def readable() -> None:
            nonlocal unreadable, left
            for _ in range(_AT_ONCE):
                try:
                    octets = sock.recv(_DATAGRAM_OCTETS)
                    told = exchange.take_datagram(octets, self._clock())
                except BlockingIOError:
                    return
                except FormatError as error:
                    unreadable, told = error, None
                except OSError as error:  # an ICMP message: nobody listens there
                    told = None
                    if not result.done():
                        result.set_exception(error)
                left -= 1
                if told is not None and not result.done():
                    result.set_result(told)
                if result.done() or not left:
                    loop.remove_reader(descriptor)
                    return

        with open_socket(endpoint, socket.SOCK_DGRAM) as sock:
            descriptor = sock.fileno()
            sock.connect((endpoint.address, endpoint.port))
            loop.add_reader(descriptor, readable)
            try:
                for datagram in exchange.datagrams:
                    sock.send(datagram)
                async with asyncio.timeout(patience):
                    return await result
            except TimeoutError:
                if unreadable is not None:
                    raise unreadable from None
                if exchange.partial:
                    raise FormatError(f"only some datagrams of the answer came within {patience:.2g} s") from None
                raise UnreachableError(f"{endpoint} did not answer within {patience:.2g} s") from None
            finally:
                loop.remove_reader(descriptor)

    async def _over_tcp(self, exchange: Exchange, endpoint: Endpoint, patience: float) -> Told:
        loop = asyncio.get_running_loop()
        with open_socket(endpoint, socket.SOCK_STREAM) as sock:
            try:
                async with asyncio.timeout(patience):
                    await loop.sock_connect(sock, (endpoint.address, endpoint.port))
                    await loop.sock_sendall(sock, exchange.request)
                    envelope = await receive(sock, ENVELOPE_OCTETS, endpoint)
                    message = await receive(sock, decode_envelope(envelope).length, endpoint)
            except TimeoutError:
                raise UnreachableError(f"{endpoint} did not answer within {patience:.2g} s") from None
        return exchange.take_message(envelope + message, self._clock())


def open_socket(endpoint: Endpoint, kind: int) -> socket.socket:
    """A socket that does not block, of the family of the address; not yet connected."""
    sock = socket.socket(socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


async def receive(sock: socket.socket, octets: int, endpoint: Endpoint) -> bytes:
    """Exactly `octets` octets, which the caller has bounded."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < octets:
        part = await loop.sock_recv(sock, octets - len(received))
        if not part:
            raise UnreachableError(f"{endpoint} closed the connection after {len(received)} of {octets} octets")
        received += part
    return bytes(received)
