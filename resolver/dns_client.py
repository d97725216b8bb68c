"""One DNS question to one server: over UDP, and over TCP if the answer is too long for a datagram or none came.

The asker's half of DNS, as the command line needs it. As in `client` a socket lives for one exchange, and datagrams that cannot be
read, or answer another question, are passed over until time is up. Each of the two ways has half of the time.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence

from resolver.client import open_socket, receive
from resolver.core import limits
from resolver.core.errors import FormatError, UnreachableError
from resolver.core.exchange import TCP, UDP, Endpoint
from resolver.core.wire import dns
from resolver.core.wire.dns_answer import DnsAnswer, answer_to, query_octets
from resolver.core.wire.framing import U16


async def ask_dns(labels: Sequence[bytes], type_: int, at: tuple[str, int], seconds: float) -> DnsAnswer:
    """What the DNS server `at` (address, port) says of a name within `seconds`.

    Raises UnreachableError, or FormatError if what came cannot be read; both name the server. FormatError too for labels that make
    no name.
    """
    query = query_octets(list(labels), type_, secrets.randbits(16), limits.dns_udp_octets.default)
    fault: UnreachableError | FormatError | None = None
    try:
        answer = await _exchange(query, Endpoint(UDP, *at), seconds / 2)
        if not answer.flags & dns.TC:
            return answer
    except (UnreachableError, FormatError) as error:
        fault = error
    try:
        return await _exchange(query, Endpoint(TCP, *at), seconds / 2)
    except UnreachableError as error:
        raise fault or error from None


async def _exchange(query: bytes, endpoint: Endpoint, seconds: float) -> DnsAnswer:
    over = _over_udp if endpoint.protocol == UDP else _over_tcp
    try:
        return await over(query, endpoint, seconds)
    except TimeoutError:
        raise UnreachableError(f"{endpoint} did not answer within {seconds:.2g} s") from None
    except FormatError as error:
        raise FormatError(f"{endpoint} answers what cannot be read: {error}") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UnreachableError(f"{endpoint} cannot be reached: {why}") from None


async def _over_udp(query: bytes, endpoint: Endpoint, seconds: float) -> DnsAnswer:
    loop = asyncio.get_running_loop()
    unreadable: FormatError | None = None
    with open_socket(endpoint, socket.SOCK_DGRAM) as sock:
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_connect(sock, (endpoint.address, endpoint.port))
                await loop.sock_sendall(sock, query)
                for _ in range(limits.exchange_datagrams.default):
                    octets = await loop.sock_recv(sock, dns.MESSAGE_OCTETS_MAX)
                    try:
                        return answer_to(query, octets)
                    except FormatError as error:
                        unreadable = error
        except TimeoutError:
            raise unreadable or TimeoutError from None
    assert unreadable is not None, "datagrams came, and none of them could be read"
    raise unreadable


async def _over_tcp(query: bytes, endpoint: Endpoint, seconds: float) -> DnsAnswer:
    loop = asyncio.get_running_loop()
    with open_socket(endpoint, socket.SOCK_STREAM) as sock:
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, (endpoint.address, endpoint.port))
            await loop.sock_sendall(sock, U16.pack(len(query)) + query)
            (octets,) = U16.unpack(await receive(sock, U16.size, endpoint))
            answer = await receive(sock, octets, endpoint)
    return answer_to(query, answer)
