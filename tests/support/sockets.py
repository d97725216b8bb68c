"""Sockets of servers that tests run."""

import socket

from resolver.server.tcp import Listener, bind_stream
from resolver.server.udp import bind_datagram


def pair() -> tuple[socket.socket, Listener]:
    """A UDP and a TCP socket at one free port of 127.0.0.1.

    The stream comes first: the kernel gives it a port that no other has, while the number of a datagram socket may be shared.
    """
    while True:
        stream = bind_stream("127.0.0.1", 0)
        try:
            return bind_datagram("127.0.0.1", stream.getsockname()[1]), stream
        except OSError:  # a client's socket has the number for UDP
            stream.close()
