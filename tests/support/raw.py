"""HTTP over a bare socket, for requests that no client library would send."""

import asyncio

from multidict import CIMultiDict

from tests.support.api import Reply

SECONDS = 20.0  # for one exchange, however it goes


async def exchange(address: str, octets: bytes) -> Reply:
    """Sends `octets` and reads the first reply."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(octets)
            status, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
            return Reply(status, headers, await reader.readexactly(int(headers["Content-Length"])))
    finally:
        writer.close()


def parse_head(head: bytes) -> tuple[int, CIMultiDict[str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in filter(None, lines):
        name, _, text = line.partition(":")
        headers[name] = text.strip()
    return int(first.split(" ")[1]), headers
