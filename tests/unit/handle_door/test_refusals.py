"""What the Handle door refuses, and with which code: what it does not do, what is no request, what broke."""

from collections.abc import Callable
from pathlib import Path

import pytest

from resolver.core.errors import OverloadError, StoreError, WaymarkError
from resolver.core.message import Outcome, Query
from resolver.core.wire.bodies import (
    ResolutionRequest,
    encode_resolution_request,
)
from resolver.core.wire.handle import (
    Code,
    Message,
    Op,
    Version,
    encode_message,
)
from resolver.core.wire.stored import encode_stored
from resolver.doors.handle import HandleDoor
from resolver.table import Change, TableWriter
from tests.support.dns import NoRecursion, node
from tests.support.handle import NOW, SOURCE, ask, request
from tests.support.world import World


@pytest.mark.parametrize(
    "op", [3, 100, 101, 102, 103, 104, 105, 106, 200, 201, 300, 301, 302, 400, 401, 402, 1000, 1001, 1002, 1003, 2001, 2**32 - 1]
)
def test_operation_that_is_not_supported(door: HandleDoor, op: int) -> None:
    said = ask(door, encode_message(Message(op, b"whatever", request_id=11, session_id=10_001, credential=None)))
    assert (said.code, said.message.op, said.message.request_id) == (Code.NOT_SUPPORTED, op, 11)
    assert str(op) in said.text


def test_malformed_messages(door: HandleDoor) -> None:
    good = request("88.118/ABC")
    body = encode_resolution_request(ResolutionRequest(b"88.118/ABC", (1,), (b"URL",)))
    many = encode_resolution_request(ResolutionRequest(b"88.118/ABC", tuple(range(300))))
    bad = [
        good[:20] + good[24:],  # shorter than its envelope tells
        good[:16] + (8).to_bytes(4, "big") + good[20:28],  # shorter than a header
        good[:40] + (2**31).to_bytes(4, "big") + good[44:],  # body longer than the message
        good[:44] + (2**31 - 1).to_bytes(4, "big") + good[48:],  # name longer than the body
        good[:2] + b"\x82" + good[3:],  # compressed
        good[:20] + bytes(4) + good[24:],  # no operation
        request("", body=body[:-1]),
        request("", body=body[:-9]),
        request("", body=many),
        request("88.118/ABC", credential=None) + b"\0",
    ]
    for packet in bad:
        for stream in (False, True):
            said = ask(door, packet, stream=stream)
            assert (said.code, said.message.request_id) == (Code.PROTOCOL_ERROR, 7), packet
            assert said.text


def test_octets_that_are_no_message(door: HandleDoor) -> None:
    assert ask(door, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", stream=True).code == Code.PROTOCOL_ERROR
    assert ask(door, b"", stream=True).code == Code.PROTOCOL_ERROR
    assert door.answer_datagram(b"\x02\x0b", SOURCE, NOW) is None
    assert door.answer_datagram(b"", SOURCE, NOW) is None
    assert door.desk.metrics.total("query", "handle-udp", "dropped") == 2


def test_a_response_is_not_answered(door: HandleDoor) -> None:
    response = encode_message(Message(Op.RESOLUTION, bytes(4), code=Code.NOT_FOUND))
    assert door.answer_datagram(response, SOURCE, NOW) is None
    assert door.answer_stream(response, SOURCE, NOW) is None


def test_sessions_are_unknown(door: HandleDoor) -> None:
    good = request("88.118/ABC", session_id=3)
    encrypted = good[:2] + b"\x42" + good[3:]
    signed = request("88.118/ABC", session_id=3, credential=b"HS_MAC...")
    for packet in (encrypted, signed):
        said = ask(door, packet)
        assert (said.code, said.message.session_id, said.message.request_id) == (Code.SESSION_UNKNOWN, 3, 7)


def test_handed_on_too_often(door: HandleDoor) -> None:
    assert ask(door, request("88.118/ABC", recursion=16)).code == Code.SUCCESS
    said = ask(door, request("88.118/ABC", recursion=17))
    assert (said.code, said.message.recursion) == (Code.RECURSION_TOO_HIGH, 17)


class Breaking(NoRecursion):
    """In place of a recursion: fails."""

    def __init__(self, error: WaymarkError) -> None:
        self._error = error

    def known(self, query: Query) -> Outcome | None:  # noqa: ARG002
        raise self._error


@pytest.mark.parametrize(
    ("error", "version", "code"),
    [
        (StoreError("disk"), (2, 11), Code.SERVER_BACKUP),
        (StoreError("disk"), (2, 4), Code.PREFIX_REFERRAL),  # what that was called before 2.5
        (OverloadError("full"), (2, 11), Code.TOO_BUSY),
        (WaymarkError("broken"), (2, 11), Code.ERROR),
    ],
)
def test_breakage_has_a_code(error: WaymarkError, version: Version, code: int) -> None:
    door = HandleDoor(node(None, Breaking(error)))
    said = ask(door, request("88.118/ABC", suggested=version))
    assert (said.code, said.text) == (code, str(error))


def test_corrupt_record_is_an_error(world: World, tmp_path: Path, doors: Callable[..., HandleDoor]) -> None:
    path = world.publish("88.118", tmp_path / "table")
    writer = TableWriter(path)
    octets = encode_stored(world.records[b"88.118/ABC"])
    writer.apply([Change(900, b"88.118/ABC", octets[:-30]), Change(901, b"88.118/X", b"\x09" + octets[1:])])
    writer.close()
    door = doors(world)
    for name, types in (("88.118/ABC", ()), ("88.118/ABC", (b"NAME",)), ("88.118/X", ())):
        said = ask(door, request(name, types=types))
        assert said.code == Code.SERVER_BACKUP
        assert "stored record" in said.text


# ---- framing


def test_message_octets(door: HandleDoor) -> None:
    first, second = request("88.118/ABC"), request("88.118/NO")
    stream = first + second
    assert [door.message_octets(stream[:length]) for length in (0, 1, 19)] == [0, 0, 0]
    assert door.message_octets(stream[:20]) == len(first)
    assert door.message_octets(stream) == len(first)
    assert door.message_octets(stream[len(first) :]) == len(second)


@pytest.mark.parametrize("start", [b"G", b"\x16\x03\x01", b"\x02\x0b\x02\x0b" + bytes(12) + b"\x00\x04\x00\x00", b"\xff" * 20])
def test_what_can_never_be_a_message(door: HandleDoor, start: bytes) -> None:
    with pytest.raises(WaymarkError, match="Handle"):
        door.message_octets(start)
