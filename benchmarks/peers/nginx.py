"""nginx serving one static JSON file over HTTP/1.1 kept open, one worker, no log: its cheapest answer."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import AbsentError
from benchmarks.process import accepts, running
from registry.ports import free_ports

PATH = "/answer.json"

_CONFIG = """\
daemon off;
{user}worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    types {{ application/json json; }}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/files;
    }}
}}
"""


class Nginx(NamedTuple):
    pid: int
    port: int


@contextlib.contextmanager
def serving(answer: bytes) -> Iterator[Nginx]:
    """nginx with `answer` at PATH. Raises AbsentError without the Debian package `nginx`."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise AbsentError("nginx is not installed (Debian package nginx): no figures of nginx, no ratios to it")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="waymark-nginx-") as name:
        directory = Path(name)
        files = directory / "files"
        files.mkdir()
        (files / PATH[1:]).write_bytes(answer)
        config = directory / "nginx.conf"
        user = f"user {directory.owner()};\n" if directory.owner() == "root" else ""
        config.write_text(_CONFIG.format(directory=directory, port=port, user=user), "utf-8")
        with running((program, "-c", config, "-e", "stderr"), lambda: accepts(port)) as pid:
            yield Nginx(pid, port)
