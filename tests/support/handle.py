"""Asking a Handle door without sockets: requests to send, and replies read."""

import inspect
from typing import Any, NamedTuple

from resolver.core.record import Value
from resolver.core.wire.bodies import ResolutionRequest, decode_error, decode_resolution_response, encode_resolution_request
from resolver.core.wire.fragments import Reassembler
from resolver.core.wire.handle import QUERY_FLAGS, Code, Message, Op, body_after_digest, decode_message, encode_message
from resolver.doors.handle import HandleDoor
from resolver.table import Table

NOW = 1_800_000_000.0
SOURCE = ("127.0.0.1", 40_000)


class Said(NamedTuple):
    """A reply, with the body behind its digest, if it has one."""

    message: Message
    body: bytes
    datagrams: int

    @property
    def code(self) -> int:
        return self.message.code

    @property
    def text(self) -> str:
        return decode_error(self.body)


def request(name: str | bytes, indexes: tuple[int, ...] = (), types: tuple[bytes, ...] = (), **fields: Any) -> bytes:
    """A resolution as our client sends it; `fields` replace those of `Message`."""
    asked = ResolutionRequest(name.encode() if isinstance(name, str) else name, indexes, types)
    body = encode_resolution_request(asked)
    return encode_message(Message(Op.RESOLUTION, body, flags=QUERY_FLAGS, request_id=7)._replace(**fields))


def whole(reply: Any) -> bytes:
    """The message of a reply, put together from its datagrams."""
    assert isinstance(reply, bytes | tuple)
    if isinstance(reply, bytes):
        return reply
    pieces = Reassembler(1, 5)
    *early, message = [pieces.add("server", datagram, 0.0) for datagram in reply]
    assert not any(early)
    assert message is not None
    return message


def read(reply: Any, asked: bytes) -> Said:
    message = decode_message(whole(reply))
    return Said(message, body_after_digest(message, asked), len(reply) if isinstance(reply, tuple) else 1)


def ask(door: HandleDoor, asked: bytes, *, stream: bool = False, now: float = NOW) -> Said:
    """What the door says at once to one datagram, or to one message of a stream."""
    reply = (door.answer_stream if stream else door.answer_datagram)(asked, SOURCE, now)
    assert not inspect.iscoroutine(reply)
    return read(reply, asked)


def values_of(door: HandleDoor, asked: bytes, *, stream: bool = False) -> tuple[Value, ...]:
    said = ask(door, asked, stream=stream)
    assert said.code == Code.SUCCESS, said.text
    return decode_resolution_response(said.body).values


def table_of(door: HandleDoor) -> Table:
    assert door.desk.table is not None
    return door.desk.table
