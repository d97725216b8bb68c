"""What the HTTP door answers with: a status, headers and a body, ready to be sent but for what only the connection knows.

`head` holds the status line and the header lines; the server adds Date, Connection and the empty line (RFC 9112, 2.1).
"""

import json
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

JSON = "application/json;charset=UTF-8"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
PROBLEM = "application/problem+json"
STALE = '110 - "Response is Stale"'  # Warning header: every server was down, the answer is an older one (RFC 7234, 5.5.1)

Headers = Mapping[bytes, bytes]  # of a request: names in lower case, a repeated one joined with commas


class HttpReply(NamedTuple):
    head: bytes
    body: bytes

    def with_header(self, name: str, content: str) -> "HttpReply":
        return self._replace(head=self.head + f"{name}: {content}\r\n".encode("latin-1", "replace"))


HttpAnswer = HttpReply | Coroutine[Any, Any, HttpReply]


def reply(status: int, body: bytes, content_type: str, *headers: tuple[str, str]) -> HttpReply:
    """Header contents must be without line ends: what comes from outside is percent-encoded by who puts it there."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n",
        "X-Content-Type-Options: nosniff\r\n",
        *(f"{name}: {content}\r\n" for name, content in headers),
    ]
    return HttpReply("".join(lines).encode("latin-1"), body)


def json_text_reply(status: int, text: str) -> HttpReply:
    """`json_reply` of a text that is JSON already: on the way of every answer to a program."""
    body = text.encode()
    return HttpReply(_JSON_HEADS[status] + b"%d\r\n" % len(body), body)


def json_reply(status: int, document: object, *headers: tuple[str, str], pretty: bool = False) -> HttpReply:
    return reply(status, encode_json(document, pretty), JSON, *headers)


def problem(status: int, detail: str, *headers: tuple[str, str], **more: object) -> HttpReply:
    """A problem document (RFC 9457). `detail` names the place, the rule and the next step; `more` are further members."""
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return reply(status, encode_json(document), PROBLEM, *headers)


_JSON_HEADS = {
    status: f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {JSON}\r\n"
    "X-Content-Type-Options: nosniff\r\nContent-Length: ".encode()
    for status in (200, 300)
}


def encode_json(document: object, pretty: bool = False) -> bytes:
    text = json.dumps(document, ensure_ascii=False, indent=2 if pretty else None, separators=None if pretty else (",", ":"))
    return text.encode("utf-8", "backslashreplace") + (b"\n" if pretty else b"")
