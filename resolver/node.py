"""A node: one program at any depth of the tree. This file is the composition; a packet's way reads

    datagram  -> server.udp                            -> door.answer_datagram
    message   -> server.tcp, server.message_connection -> door.answer_stream
    request   -> server.tcp, server.http_connection    -> door.answer
    a door:      answer cache -> table.find, or on a recursive node the walk (resolution) -> encode -> answer cache

and the doors (`doors.handle`, `doors.dns`, `doors.http`) share nothing but the `Desk`. The table moves on by itself: every few tens
of milliseconds a worker looks for a newer snapshot and its doors forget exactly the answers whose records changed.
"""

import asyncio
import errno
import logging
import mmap
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from resolver.anchor import read_anchor
from resolver.config import NodeConfig
from resolver.core import limits
from resolver.core.errors import ConfigError, StoreError
from resolver.core.wire.site import Site, one_server_site
from resolver.desk import Desk
from resolver.doors.dns import DnsDoor
from resolver.doors.handle import HandleDoor
from resolver.doors.http import HttpDoor
from resolver.metrics import Metrics, shared_cells
from resolver.resolution import Resolver
from resolver.server.http_connection import http_server
from resolver.server.message_connection import message_server
from resolver.server.tcp import Listener, StreamServer, bind_stream
from resolver.server.udp import DatagramServer, bind_datagram
from resolver.table import Table

log = logging.getLogger("waymark.node")
_RESTART_SECONDS = 1.0
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PORT_ADVICE = {
    errno.EADDRINUSE: "another program has it, perhaps this node already: stop that one, or choose another port",
    errno.EACCES: "a port below 1024 takes root or CAP_NET_BIND_SERVICE; or choose a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 or :: are all that it has",
}
_HANDLE_PIECE_OCTETS = limits.handle_fragment_octets.default


class Sockets(NamedTuple):
    """What one worker listens on. All workers share the addresses (SO_REUSEPORT), the kernel spreads the load."""

    handle_udp: socket.socket
    handle_tcp: Listener
    dns_udp: socket.socket
    dns_tcp: Listener
    http: Listener


class Addresses(NamedTuple):
    """Where a node listens, once bound."""

    handle: str
    dns: str
    http: str


class Worker:
    """Everything that one process of a node does."""

    def __init__(self, config: NodeConfig, sockets: Sockets, metrics: Metrics) -> None:
        """Raises ConfigError or StoreError: nothing is half open then."""
        bounds = config.limits
        anchor = read_anchor(config.anchor)
        table = Table(config.table) if config.table is not None else None
        self.recursion = Resolver(anchor, bounds)
        self.desk = Desk(config, own_site(config, sockets), table, self.recursion, metrics, time.time)
        self.handle = HandleDoor(self.desk)
        self.dns = DnsDoor(self.desk)
        self.http = HttpDoor(self.desk, self._figures)
        self._refresh_seconds = bounds[limits.refresh_milliseconds] / 1000
        self._timer: asyncio.TimerHandle | None = None
        self._streams: dict[str, StreamServer] = {
            "handle": message_server(sockets.handle_tcp, "handle-tcp", self.handle, metrics, bounds),
            "dns": message_server(sockets.dns_tcp, "dns-tcp", self.dns, metrics, bounds),
            "http": http_server(sockets.http, self.http, metrics, bounds),
        }
        self._servers: tuple[DatagramServer | StreamServer, ...] = (
            DatagramServer(sockets.handle_udp, "handle-udp", self.handle.answer_datagram, metrics, bounds, _HANDLE_PIECE_OCTETS),
            DatagramServer(sockets.dns_udp, "dns-udp", self.dns.answer_datagram, metrics, bounds),
            *self._streams.values(),
        )

    def start(self) -> None:
        for server in self._servers:
            server.start()
        if self.desk.table is not None:
            self._refresh()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for server in self._servers:
            server.close()
        if self.desk.table is not None:
            self.desk.table.close()

    def _figures(self) -> dict[str, float]:
        """What /metrics shows of this worker beside its counters."""
        figures = {f"{name}_connections": float(len(server)) for name, server in self._streams.items()}
        for name, cache in (("handle", self.handle.cache), ("dns", self.dns.cache)):
            figures[f"{name}_answer_cache_entries"] = float(len(cache))
            figures[f"{name}_answer_cache_octets"] = float(cache.octets)
        return figures

    def _refresh(self) -> None:
        assert self.desk.table is not None
        try:
            changed = self.desk.table.refresh()
            if changed is None or changed:
                for door in (self.handle, self.dns, self.http):
                    door.forget(changed)
        except StoreError:
            log.exception("the answer table cannot be refreshed; answering from the last snapshot")
        self._timer = asyncio.get_running_loop().call_later(self._refresh_seconds, self._refresh)


def run(config: NodeConfig, ready: Callable[[Addresses], None]) -> int:
    """Serves until SIGTERM or SIGINT; calls `ready` once every door is open. Returns the exit status."""
    _raise_descriptor_limit()
    refuse_taken(config)
    all_sockets = [bind(config)]
    bound = with_ports(config, all_sockets[0])
    all_sockets += [bind(bound) for _ in range(1, config.workers)]
    cells = shared_cells(config.workers)
    if config.workers == 1:
        return asyncio.run(_work(bound, all_sockets[0], Metrics(cells), lambda: ready(addresses(bound))))
    return _supervise(bound, all_sockets, cells, ready)


async def _work(config: NodeConfig, sockets: Sockets, metrics: Metrics, ready: Callable[[], None]) -> int:
    worker = Worker(config, sockets, metrics)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _END_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    worker.start()
    ready()
    await stop.wait()
    worker.close()
    await worker.recursion.close()
    return 0


def _supervise(config: NodeConfig, all_sockets: list[Sockets], cells: mmap.mmap, ready: Callable[[Addresses], None]) -> int:
    """One process for each worker; one that dies is started again, and says so in the log."""
    Table(config.table).close() if config.table is not None else None  # a wrong path is told once, before any worker starts
    read_anchor(config.anchor)
    running: dict[int, int] = {}
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in running:
            os.kill(pid, signal.SIGTERM)

    def start(number: int, report: Callable[[], None]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)  # none gets lost between the fork and who is to be told of it
        pid = -1 if stopping else os.fork()
        if pid:
            if pid > 0:
                running[pid] = number
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)
            return
        for signal_number in _END_SIGNALS:
            signal.signal(signal_number, signal.SIG_DFL)  # until the worker's own loop takes over
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)
        status = 1
        with suppress(KeyboardInterrupt):
            try:
                status = asyncio.run(_work(config, all_sockets[number], Metrics(cells, number), report))
            except (ConfigError, StoreError) as error:
                print(f"waymark: worker {number}: {error}", file=sys.stderr)
        os._exit(status)

    reports, report_to = os.pipe()

    def report() -> None:
        os.write(report_to, b".")
        os.close(report_to)

    for signal_number in _END_SIGNALS:
        signal.signal(signal_number, stop)
    for number in range(config.workers):
        start(number, report)
    os.close(report_to)
    up = 0
    while octets := os.read(reports, config.workers):  # ends when each worker has reported or died
        up += len(octets)
    os.close(reports)
    if up == config.workers:
        ready(addresses(config))
    while running:
        pid, status = os.wait()
        number = running.pop(pid)
        if not stopping:
            log.error("worker %d ended with status %d; starting it again", number, os.waitstatus_to_exitcode(status))
            time.sleep(_RESTART_SECONDS)
            start(number, lambda: None)
    return 0


def _raise_descriptor_limit() -> None:
    """Connections and walks are bounded by `limits`; the usual soft limit of 1,024 descriptors would stop them sooner."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# ---- sockets and addresses


def refuse_taken(config: NodeConfig) -> None:
    """Raises ConfigError naming the first port that cannot be ours alone.

    Workers share their ports with SO_REUSEPORT. Another node of the same user would thereby get a share of the questions, and
    neither of the two would notice; so each port is first asked for without it.
    """
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    doors = (("handle", config.handle_port, (stream, datagram)), ("dns", config.dns_port, (stream, datagram)))
    for door, port, kinds in (*doors, ("http", config.http_port, (stream,))):
        for kind in kinds:
            with socket.socket(socket.AF_INET6 if ":" in config.listen else socket.AF_INET, kind) as probe:
                if kind == stream:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that end do not count
                try:
                    probe.bind((config.listen, port))
                except OSError as error:
                    what = f"{config.path}: {door}_port {port} of {config.listen}: {error.strerror}"
                    raise ConfigError(f"{what}; {_PORT_ADVICE.get(error.errno or 0, 'choose another')}") from None


def bind(config: NodeConfig) -> Sockets:
    """The sockets of one worker. Raises ConfigError. Port 0 takes a free one, the same for UDP and TCP."""
    try:
        http = bind_stream(config.listen, config.http_port)
        handle_tcp, handle_udp = _bind_pair(config.listen, config.handle_port)
        dns_tcp, dns_udp = _bind_pair(config.listen, config.dns_port)
    except OSError as error:
        ports = f"{config.handle_port} (Handle), {config.dns_port} (DNS), {config.http_port} (HTTP)"
        raise ConfigError(f"{config.path}: cannot listen on {config.listen}, ports {ports}: {error.strerror}") from None
    return Sockets(handle_udp, handle_tcp, dns_udp, dns_tcp, http)


def _bind_pair(host: str, port: int) -> tuple[Listener, socket.socket]:
    for _ in range(16):
        stream = bind_stream(host, port)
        try:
            return stream, bind_datagram(host, stream.getsockname()[1])
        except OSError:
            stream.close()
            if port:
                raise
    raise ConfigError(f"no port of {host} is free for both UDP and TCP")


def with_ports(config: NodeConfig, sockets: Sockets) -> NodeConfig:
    """The configuration with the ports that were really bound."""
    return config._replace(
        handle_port=sockets.handle_udp.getsockname()[1],
        dns_port=sockets.dns_udp.getsockname()[1],
        http_port=sockets.http.getsockname()[1],
    )


def addresses(config: NodeConfig) -> Addresses:
    host = f"[{config.listen}]" if ":" in config.listen else config.listen
    return Addresses(f"{host}:{config.handle_port}", f"{host}:{config.dns_port}", f"http://{host}:{config.http_port}")


def own_site(config: NodeConfig, sockets: Sockets) -> Site:
    """What the node says of itself (op 2): one server with its Handle and HTTP doors."""
    bound = with_ports(config, sockets)
    return one_server_site(config.public_address, bound.handle_port, bound.http_port, (("desc", config.name),))
