"""A load of registrations: many lines in one request, both ways at once; or a request for each."""

import http.client
import json
import threading
import time
from collections.abc import Iterable, Sequence

from benchmarks import data
from benchmarks.load.datagrams import Turn

_LINES_A_CHUNK = 200
_CREATED = b'"status":"created"'


def line(i: int) -> bytes:
    """Record `i` of the data as one line of NDJSON, as a client would write it."""
    suffix = data.digits(i)
    values = [{"index": index, "type": kind, "data": text} for index, kind, text in data.texts(suffix)]
    return json.dumps({"identifier": f"{data.PREFIX}/{suffix}", "values": values}, separators=(",", ":")).encode()


def chunks(lines: Iterable[bytes]) -> list[bytes]:
    """The lines as pieces of a chunked body, ready to send."""
    listed = list(lines)
    made = []
    for start in range(0, len(listed), _LINES_A_CHUNK):
        piece = b"\n".join(listed[start : start + _LINES_A_CHUNK]) + b"\n"
        made.append(b"%x\r\n%s\r\n" % (len(piece), piece))
    return [*made, b"0\r\n\r\n"]


def post_bulk(address: tuple[str, int], token: str, lines: int, pieces: Sequence[bytes]) -> Turn:
    """Sends the pieces as one bulk request while reading its result lines. An answer is a line that says "created"."""
    client = http.client.HTTPConnection(*address, timeout=60)
    began = time.perf_counter()
    client.putrequest("POST", "/v1/bulk", skip_accept_encoding=True)
    for name, text in {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}.items():
        client.putheader(name, text)
    client.putheader("Transfer-Encoding", "chunked")
    client.endheaders()
    sender = threading.Thread(target=_send_all, args=(client, pieces), daemon=True)
    sender.start()
    created = other = 0
    with client.getresponse() as response:
        for result in response:
            if _CREATED in result:
                created += 1
            else:
                other += 1
    seconds = time.perf_counter() - began
    sender.join()
    client.close()
    return Turn(created, other, lines - created - other, seconds)


def _send_all(client: http.client.HTTPConnection, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        client.send(piece)
