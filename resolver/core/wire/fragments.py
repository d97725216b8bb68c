"""Handle messages in datagrams (RFC 3652, 2.3): cut into pieces for UDP, and put together again.

A datagram is an envelope and at most 492 octets of the message; all but the last have exactly 492. Every envelope tells the length
of the whole, and its sequence the place of the piece: octet sequence x 492. Clients set the bit "truncated" when there are several
pieces; the reference server does not set it on its answers, and neither do we: the length says it all.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.wire.framing import U32
from resolver.core.wire.handle import ENVELOPE_OCTETS, TRUNCATED, decode_envelope

PIECE_OCTETS = limits.handle_fragment_octets.default - ENVELOPE_OCTETS
_SEQUENCE_AT, _LENGTH_AT, _BITS_AT = 12, 16, 2


def fragment(message: bytes, truncated: bool = False) -> tuple[bytes, ...]:
    """The datagrams of a whole message. `truncated` sets that bit in each if there are several, as clients do."""
    if len(message) <= ENVELOPE_OCTETS + PIECE_OCTETS:
        return (message,)
    bits = message[_BITS_AT] | (TRUNCATED if truncated else 0)
    head = message[:_BITS_AT] + bytes((bits,)) + message[_BITS_AT + 1 : _SEQUENCE_AT]
    length = message[_LENGTH_AT:ENVELOPE_OCTETS]
    return tuple(
        head + U32.pack(sequence) + length + message[start : start + PIECE_OCTETS]
        for sequence, start in enumerate(range(ENVELOPE_OCTETS, len(message), PIECE_OCTETS))
    )


class _Set(NamedTuple):
    """The pieces of one message that have come so far."""

    deadline: float
    total: int
    pieces: dict[int, bytes]


class Reassembler:
    """Messages of which some datagrams are missing. Bounded in number, size and time; what does not fit drops the oldest."""

    def __init__(self, sets_max: int, seconds: float, octets_max: int = limits.handle_message_octets.default) -> None:
        """`octets_max`: of one message. The clock of `add` must be in seconds."""
        self._sets: OrderedDict[Hashable, _Set] = OrderedDict()  # oldest first, so ascending by deadline
        self._sets_max = sets_max
        self._seconds = seconds
        self._octets_max = octets_max

    def __len__(self) -> int:
        return len(self._sets)

    def add(self, source: Hashable, datagram: bytes, now: float) -> bytes | None:
        """The whole message, once this datagram completes it; None before. Raises FormatError for one that can be no piece."""
        envelope = decode_envelope(datagram)
        size = len(datagram) - ENVELOPE_OCTETS
        if envelope.length == size and envelope.sequence == 0:
            return datagram
        if envelope.length > self._octets_max:
            raise LimitError(f"message of {envelope.length} octets in datagrams; at most {self._octets_max}, longer ones over TCP")
        count = -(-envelope.length // PIECE_OCTETS)
        expected = PIECE_OCTETS if envelope.sequence < count - 1 else envelope.length - (count - 1) * PIECE_OCTETS
        if envelope.sequence >= count or size != expected:
            raise FormatError(
                f"datagram {envelope.sequence} of a message of {envelope.length} octets has {size} octets; "
                f"{'there is no such datagram' if envelope.sequence >= count else f'{expected} were expected'}"
            )
        self._drop_expired(now)
        key = (source, datagram[:_BITS_AT], datagram[_BITS_AT + 1 : _SEQUENCE_AT], envelope.length)
        waiting = self._sets.get(key)
        if waiting is None:
            if len(self._sets) >= self._sets_max:
                self._sets.popitem(last=False)
            waiting = self._sets[key] = _Set(now + self._seconds, count, {})
        waiting.pieces.setdefault(envelope.sequence, datagram[ENVELOPE_OCTETS:])
        if len(waiting.pieces) < waiting.total:
            return None
        del self._sets[key]
        bits = bytes((datagram[_BITS_AT] & ~TRUNCATED & 0xFF,))
        head = datagram[:_BITS_AT] + bits + datagram[_BITS_AT + 1 : _SEQUENCE_AT] + bytes(4) + U32.pack(envelope.length)
        return b"".join((head, *(waiting.pieces[sequence] for sequence in range(count))))

    def _drop_expired(self, now: float) -> None:
        while self._sets:
            key, oldest = next(iter(self._sets.items()))
            if oldest.deadline >= now:
                break
            del self._sets[key]
