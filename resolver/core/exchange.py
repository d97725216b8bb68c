"""Exchange: one question to one server over the Handle protocol, as octets, without a socket.

    exchange = Exchange(identifier, request_id, now)
    ... send `exchange.datagrams`, or `exchange.request` over a connection ...
    told = exchange.take_datagram(octets, now)      # None: not ours, or not all of it yet
    told = exchange.take_message(octets, now)       # a whole message from a connection

An answer over UDP is believed to be one to this question only if all of this agrees: it came from the address and port that were
asked (the socket is connected), to the port of ours that the kernel chose at random, with the request number chosen at random, and
with the digest of the request. All of a record is asked for whatever the asker wanted of it: no less can be verified.
"""

from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError
from resolver.core.identifier import Identifier
from resolver.core.record import Value
from resolver.core.wire.bodies import (
    ResolutionRequest,
    decode_error,
    decode_referral,
    decode_resolution_response,
    encode_resolution_request,
)
from resolver.core.wire.fragments import Reassembler, fragment
from resolver.core.wire.framing import U32
from resolver.core.wire.handle import (
    ANSWER_SECONDS,
    CACHE_CERTIFY,
    PUBLIC_ONLY,
    RECURSIVE,
    REQUEST_DIGEST,
    Code,
    Message,
    Op,
    body_after_digest,
    decode_message,
    encode_message,
)

UDP, TCP = "udp", "tcp"
_REQUEST_ID_AT = 8
_ANSWERS = (Code.SUCCESS, Code.NOT_FOUND, Code.VALUES_NOT_FOUND, Code.PREFIX_REFERRAL)  # what a resolver acts upon
_SETS_MAX = 2  # messages in part; a second one can only come from somebody who guesses
_TEXT_CHARACTERS = 200


class Endpoint(NamedTuple):
    """One port of one server. `protocol` is UDP or TCP."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {host}:{self.port}"


class Told(NamedTuple):
    """What a server said. `code` is a Handle response code; `name` the identifier that `values` are of, None on an error."""

    code: int
    name: Identifier | None = None
    values: tuple[Value, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        if self.code == Code.SUCCESS:
            return f"{len(self.values)} values"
        if self.code == Code.PREFIX_REFERRAL:
            return f"{self.code} the servers of {self.name} know"
        return f"{self.code} {self.text}".rstrip()


class Exchange:
    """One question, and the reading of what comes back. `now` is in seconds since 1970."""

    def __init__(self, identifier: Identifier, request_id: int, now: float, recursive: bool = False) -> None:
        """`request_id` must be random, 0..2^32-1. `recursive`: the server may ask others."""
        self.identifier = identifier
        flags = PUBLIC_ONLY | REQUEST_DIGEST | (RECURSIVE | CACHE_CERTIFY if recursive else 0)
        body = encode_resolution_request(ResolutionRequest(identifier.key))
        self.request = encode_message(
            Message(Op.RESOLUTION, body, flags=flags, request_id=request_id, expires=int(now) + ANSWER_SECONDS)
        )
        self._number = U32.pack(request_id)
        self._pieces = Reassembler(_SETS_MAX, limits.handle_fragment_seconds.most)

    @property
    def datagrams(self) -> tuple[bytes, ...]:
        return fragment(self.request, truncated=True)

    @property
    def partial(self) -> bool:
        """Whether some datagrams of an answer came and others did not."""
        return len(self._pieces) > 0

    def take_datagram(self, octets: bytes, now: float) -> Told | None:
        """What the server said, once this datagram completes it. None for one that is not ours, and before it is all there.

        Raises FormatError for one with our number that cannot be read; a better one may still come.
        """
        if octets[_REQUEST_ID_AT : _REQUEST_ID_AT + 4] != self._number:
            return None
        whole = self._pieces.add(None, octets, now)
        return None if whole is None else self.take_message(whole, now)

    def take_message(self, octets: bytes, now: float) -> Told:
        """What the server said. Raises FormatError."""
        message = decode_message(octets)
        if octets[_REQUEST_ID_AT : _REQUEST_ID_AT + 4] != self._number:
            raise FormatError("the response has the number of another request")
        if message.code == 0:
            raise FormatError("the response has response code 0, which is that of a request")
        if message.expires < now - limits.clock_skew_seconds.default:
            raise FormatError(f"the response expired at {message.expires}, {int(now) - message.expires} s ago")
        if message.code in _ANSWERS and not message.flags & REQUEST_DIGEST:
            raise FormatError("the response lacks the digest of the request, which was asked for")
        body = body_after_digest(message, self.request)
        if message.code == Code.SUCCESS:
            if message.op != Op.RESOLUTION:
                raise FormatError(f"the response is to operation {message.op}; a resolution was asked for")
            answer = decode_resolution_response(body)
            return Told(message.code, Identifier.decode(answer.name), answer.values)
        if message.code == Code.PREFIX_REFERRAL:
            referral = decode_referral(body)
            return Told(message.code, Identifier.decode(referral.name), referral.values or ())
        if message.code == Code.VALUES_NOT_FOUND:  # all were asked for, so there is none that is public
            return Told(message.code, self.identifier)
        if message.code == Code.AUTHENTICATION_NEEDED:
            return Told(message.code, text="it wants to know who asks")
        return Told(message.code, text=_printable(decode_error(body)))


def _printable(text: str) -> str:
    """A stranger's text, fit to be shown: one short line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_CHARACTERS]).strip()
