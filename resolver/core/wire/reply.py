"""Finished replies: a response without what belongs to one request alone, so that it can be sent to the next asker too.

What differs between two askers of the same question are session and request number, in every datagram, and the request digest, in
the first. So a finished reply is the first four octets of the envelope, and then each datagram from octet 12 on. Sending it is a
few joins, whether it was made now (`addressed`) or for an earlier asker (`repeated`).
"""

from functools import lru_cache
from struct import Struct

from resolver.core import limits
from resolver.core.wire.bodies import encode_error
from resolver.core.wire.fragments import PIECE_OCTETS
from resolver.core.wire.handle import (
    ANSWER_SECONDS,
    AUTHORITATIVE,
    BODY_AT,
    ECHOED_FLAGS,
    ENVELOPE_OCTETS,
    HEADER,
    HEADER_OCTETS,
    OURS,
    PUBLIC_ONLY,
    REQUEST_DIGEST,
    STALE,
    Code,
    Version,
    code_at,
    request_digest,
    response_version,
)

Finished = tuple[bytes, ...]
MESSAGE_OCTETS = limits.handle_message_octets.default - ENVELOPE_OCTETS

_ECHOED = Struct(">I4xI2xB")  # of a request's header: operation, flags, recursion count
_PIECE = Struct(">II")  # of a response's envelope, behind the ids: sequence, length
_PIECE_AND_HEADER = Struct(_PIECE.format + HEADER.format.removeprefix(">"))
_FULL_PIECE_OCTETS = _PIECE.size + PIECE_OCTETS
_IDS = slice(4, 12)  # of an envelope: session and request
_BEHIND_IDS = _IDS.stop
_FLAGS_LOW_AT = ENVELOPE_OCTETS + 9  # the octet of a request's flags that has REQUEST_DIGEST
_REQUEST_DIGEST_LOW = REQUEST_DIGEST >> 16
_NO_CREDENTIAL = bytes(4)


def finish(
    request: bytes, code: int, body: bytes, serial: int, now: int, authoritative: bool, octets_max: int, whole: bool,
    stale: bool = False,
) -> Finished:  # fmt: skip
    """The response to `request`, of which at least the header must be there. `serial` is that of the answering site.

    `whole`: in one piece, for a stream, else in datagrams. A message (without envelope) of more than `octets_max` becomes an error
    that says so.
    """
    op, flags, recursion = _ECHOED.unpack_from(request, ENVELOPE_OCTETS)
    head, version = _response_head(request[:4])
    content = body
    if flags & REQUEST_DIGEST:
        content = request_digest(version, request) + body
    length = HEADER_OCTETS + len(content) + 4
    if length > octets_max:
        then = "ask over TCP" if length <= MESSAGE_OCTETS else "ask for some of its values, by type or index"
        text = f"the answer has {length} octets; at most {octets_max} can be sent this way: {then}"
        return finish(request, Code.ERROR, encode_error(text), serial, now, authoritative, octets_max, whole)
    flags = flags & ECHOED_FLAGS | PUBLIC_ONLY
    if authoritative:
        flags |= AUTHORITATIVE
    if stale:
        flags |= STALE
    if version < OURS:
        code = code_at(version, code)
    start = _PIECE_AND_HEADER.pack(0, length, op, code, flags, serial, recursion, 0, now + ANSWER_SECONDS, len(content))
    piece = b"".join((start, content, _NO_CREDENTIAL))
    if whole or length <= PIECE_OCTETS:
        return head, piece
    pieces = [head, piece[:_FULL_PIECE_OCTETS]]
    for at in range(_FULL_PIECE_OCTETS, len(piece), PIECE_OCTETS):
        pieces.append(_PIECE.pack(len(pieces) - 1, length) + piece[at : at + PIECE_OCTETS])
    return tuple(pieces)


def addressed(finished: Finished, request: bytes) -> bytes | tuple[bytes, ...]:
    """The datagrams, or the one whole message, with the ids of `request`."""
    head = finished[0] + request[_IDS]
    if len(finished) == 2:
        return head + finished[1]
    return tuple([head + piece for piece in finished[1:]])


def repeated(finished: Finished, request: bytes) -> bytes | tuple[bytes, ...]:
    """As `addressed`, for a reply made earlier to the same question: it gets the digest of this `request` too."""
    if request[_FLAGS_LOW_AT] & _REQUEST_DIGEST_LOW:
        digest = request_digest(_response_head(request[:4])[1], request)
        at = BODY_AT - _BEHIND_IDS
        head, first, *others = finished
        finished = (head, first[:at] + digest + first[at + len(digest) :], *others)
    return addressed(finished, request)


@lru_cache(maxsize=1024)
def _response_head(request_head: bytes) -> tuple[bytes, Version]:
    """The first four octets of the response to a request with these, and the version that the response is written in."""
    major, minor, bits, suggested_minor = request_head
    version = OURS
    if major in (2, 5):
        version = response_version((bits & 3, suggested_minor) if bits & 3 else (2, minor if major == 2 else 0))
    return bytes((*version, *OURS)), version
