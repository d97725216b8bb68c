"""Free ports for servers that are still to be set up.

A port that the kernel picks comes from the range out of which it also serves outgoing connections. Once let go, such a port may be
anybody's before its server comes up; worse, a client that tries a server which is down may be given the server's own port, and is
then connected with itself. So these ports come from below that range, where the kernel picks none.
"""

import random
import socket
from contextlib import ExitStack

from resolver.core.errors import ConfigError

_FIRST, _END = 25_000, 32_768  # Linux picks from 32,768 up
_TRIES = 100


def free_ports(count: int) -> list[int]:
    """So many ports in a row that nobody on 127.0.0.1 has now, for UDP or TCP. Raises ConfigError if there are none."""
    for first in random.sample(range(_FIRST, _END - count), _TRIES):  # at random, so that two who look at once find different ones
        ports = [*range(first, first + count)]
        if _are_free(ports):
            return ports
    raise ConfigError(f"there are no {count} free ports in a row from {_FIRST} to {_END - 1} on 127.0.0.1")


def _are_free(ports: list[int]) -> bool:
    with ExitStack() as held:
        try:
            for port in ports:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    held.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
