"""DNS messages as octets (RFC 1035, 4), with EDNS (RFC 6891) and extended errors (RFC 8914).

A query is judged by its header before anything else is read: one question, no answer, no authority, at most one additional record,
which must be OPT. What the counts promise must then be all there is. So the work for one query is bounded by one name of 255 octets
and the options behind it, whatever the packet claims.

Names are kept in wire form: labels behind their length octets, up to the root's zero. `bytes.lower` folds a whole name at once, as
no length octet (0..63) is an upper-case letter. A question has no compression pointers, there being nothing to point to; in answers
ours are placed by hand, as we know what stands where: the question's name always begins at octet 12.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.wire.framing import U16

HEADER_OCTETS = 12
NAME_OCTETS_MAX = 255
LABEL_OCTETS_MAX = 63
MESSAGE_OCTETS_MAX = 65_535
UDP_OCTETS_LEAST = 512  # what every asker can take, EDNS or not

# Types and classes (IANA registry "DNS Parameters").
A, NS, SOA, HINFO, TXT, AAAA, OPT, DS, IXFR, AXFR, ANY, URI = 1, 2, 6, 13, 16, 28, 41, 43, 251, 252, 255, 256
CLASS_IN = 1

# Response codes. BADVERS does not fit the header's four bits: its upper part stands in OPT.
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

# Extended errors: why, beside the response code.
ERROR_OTHER, ERROR_STALE, ERROR_NOT_AUTHORITATIVE, ERROR_NOT_SUPPORTED = 0, 3, 20, 21

# Bits of the header's second pair of octets.
QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
_OPCODE = 0x7800

OPT_OCTETS = 11  # without options
POINTER_TO_QUESTION = b"\xc0\x0c"
_DO = 0x8000
_EDNS_VERSION = 0
_OPTION_ERROR = 15
_ONE_QUESTION = b"\0\1\0\0\0\0"  # QDCOUNT, ANCOUNT, NSCOUNT
_MOST_ADDITIONAL = b"\0\1"

_TYPE_CLASS = Struct(">HH")
_OPT_HEAD = Struct(">BHHBBHH")  # root, type, payload size, upper response code, version, flags, length of the options
_OPTION = Struct(">HH")
_RR_FIXED = Struct(">HHIH")  # type, class, TTL, length of the data
_HEAD = Struct(">HHHHH")  # flags, then the four counts
_SOA_NUMBERS = Struct(">IIIII")
_URI_NUMBERS = Struct(">HH")


class Edns(NamedTuple):
    """What an asker says of itself: the longest datagram it takes, the EDNS version, whether it wants DNSSEC records."""

    payload_octets: int
    version: int
    dnssec_ok: bool
    options_octets: int = 0


class Question(NamedTuple):
    """A query that may be answered. `end` is the offset behind the question; `edns` is None where the asker has none."""

    name: bytes  # wire form, lower case
    type: int
    class_: int
    end: int
    edns: Edns | None


# ---- reading a query


def is_answerable(packet: bytes) -> bool:
    """Whether a packet is a request at all: a whole header that is not that of a response. Anything else gets no reply."""
    return len(packet) >= HEADER_OCTETS and packet[2] < 0x80


def opcode(packet: bytes) -> int:
    """The opcode of a packet that has a whole header; 0 is QUERY."""
    return packet[2] >> 3 & 0x0F


def decode_query(packet: bytes, octets_max: int) -> Question:
    """The question of a QUERY packet of at most `octets_max` octets. Raises FormatError, or LimitError for a longer one."""
    if len(packet) < HEADER_OCTETS or packet[2] & 0xF8:
        raise FormatError(f"DNS query must have a header of {HEADER_OCTETS} octets, no response's, with opcode 0")
    if len(packet) > octets_max:
        raise LimitError(f"DNS query of {len(packet)} octets; at most {octets_max} are read")
    if packet[4:10] != _ONE_QUESTION or packet[10:12] > _MOST_ADDITIONAL:
        raise FormatError("DNS query must have one question, no answer, no authority, and at most one additional record")
    end = name_end(packet, HEADER_OCTETS)
    try:
        type_, class_ = _TYPE_CLASS.unpack_from(packet, end)
    except struct_error:
        raise FormatError("DNS query ends before the type and class of its question") from None
    name = packet[HEADER_OCTETS:end].lower()
    end += _TYPE_CLASS.size
    if packet[11]:
        return Question(name, type_, class_, end, _read_edns(packet[end:]))
    if end != len(packet):
        raise FormatError(f"DNS query has {len(packet) - end} octets behind its question")
    return Question(name, type_, class_, end, None)


def name_end(octets: bytes, start: int) -> int:
    """Offset behind the name that begins at `start`. Raises FormatError for a pointer, or a name too long or cut off."""
    position = start
    try:
        while length := octets[position]:
            if length > LABEL_OCTETS_MAX:
                raise FormatError(
                    f"DNS name has a label type or pointer {length:#04x} at offset {position}; plain labels are allowed"
                )
            position += length + 1
    except IndexError:
        raise FormatError(f"DNS name at offset {start} is cut off") from None
    if position - start >= NAME_OCTETS_MAX:
        raise LimitError(f"DNS name of {position - start + 1} octets; at most {NAME_OCTETS_MAX} are allowed")
    return position + 1


@lru_cache(maxsize=64)  # a server's askers send few different ones: their software decides
def _read_edns(octets: bytes) -> Edns:
    """The OPT record that these octets are, all of them."""
    try:
        root, type_, payload_octets, _, version, flags, options_octets = _OPT_HEAD.unpack_from(octets)
    except struct_error:
        raise FormatError("DNS query ends before its additional record does") from None
    if root or type_ != OPT:
        raise FormatError("the additional record of a DNS query must be OPT, owned by the root")
    if OPT_OCTETS + options_octets != len(octets):
        raise FormatError(f"the options of a DNS query have {len(octets) - OPT_OCTETS} octets; OPT claims {options_octets}")
    position = OPT_OCTETS
    while position < len(octets):
        if len(octets) - position < _OPTION.size:
            raise FormatError(f"EDNS option at octet {position} of OPT is cut off")
        position += _OPTION.size + int(U16.unpack_from(octets, position + 2)[0])
    if position != len(octets):
        raise FormatError("the last EDNS option is longer than the options are")
    return Edns(payload_octets, version, bool(flags & _DO), options_octets)


# ---- writing an answer


def reply_head(
    packet: bytes, rcode: int, flags: int, answers: int, authorities: int, additionals: int, questions: int = 1
) -> bytes:
    """Octets 2..11 of the header that answers `packet`: RD, CD and opcode are its own. `flags` are AA, TC and RA as they apply."""
    echoed = packet[2] << 8 & (_OPCODE | RD) | packet[3] & CD
    return _HEAD.pack(QR | echoed | flags | rcode & 0x0F, questions, answers, authorities, additionals)


def error_reply(packet: bytes, rcode: int) -> bytes:
    """A bare header, for a packet whose question could not be read."""
    return packet[:2] + reply_head(packet, rcode, 0, 0, 0, 0, questions=0)


def encode_edns(edns: Edns, payload_octets: int, rcode: int = NOERROR, error: tuple[int, str] | None = None) -> bytes:
    """The OPT record of an answer: our longest datagram, and an extended error (code and sentence) if there is one to tell."""
    option = b""
    if error is not None:
        code, sentence = error
        text = sentence.encode("utf-8", "replace")[: limits.dns_error_text_octets.default].decode("utf-8", "ignore").encode()
        option = _OPTION.pack(_OPTION_ERROR, 2 + len(text)) + U16.pack(code) + text
    flags = _DO if edns.dnssec_ok else 0
    return _OPT_HEAD.pack(0, OPT, payload_octets, rcode >> 4, _EDNS_VERSION, flags, len(option)) + option


def rr(owner: bytes, type_: int, ttl: int, rdata: bytes) -> bytes:
    """A resource record of class IN. `owner` is a name in wire form or a pointer. Raises LimitError for too much data."""
    if len(rdata) > MESSAGE_OCTETS_MAX:
        raise LimitError(f"a resource record of {len(rdata)} octets of data; at most {MESSAGE_OCTETS_MAX} are possible")
    return owner + _RR_FIXED.pack(type_, CLASS_IN, ttl, len(rdata)) + rdata


def soa_rdata(server: bytes, mailbox: bytes, serial: int, refresh: int, retry: int, expire: int, negative_ttl: int) -> bytes:
    """`server` and `mailbox` are names in wire form, or ended by a pointer. Times in seconds (RFC 1035, 3.3.13; RFC 2308, 4)."""
    return server + mailbox + _SOA_NUMBERS.pack(serial & 0xFFFFFFFF, refresh, retry, expire, negative_ttl)


def uri_rdata(priority: int, weight: int, target: bytes) -> bytes:
    """RFC 7553, 4.5: the target is the URI itself, neither counted nor quoted."""
    return _URI_NUMBERS.pack(priority, weight) + target


def string(octets: bytes) -> bytes:
    """A character-string (RFC 1035, 3.3): at most 255 octets behind their length."""
    return bytes((len(octets),)) + octets


def address_type(address: str) -> int:
    return AAAA if ":" in address else A


def address_rr(owner: bytes, address: str, ttl: int) -> bytes:
    """An A or AAAA record, whichever `address` calls for."""
    return rr(owner, address_type(address), ttl, ipaddress.ip_address(address).packed)


# ---- names


def encode_name(labels: Sequence[bytes]) -> bytes:
    """Labels as a name in wire form. Raises FormatError for one that DNS cannot hold."""
    if not all(0 < len(label) <= LABEL_OCTETS_MAX for label in labels):
        raise FormatError(f"a DNS label has 1 to {LABEL_OCTETS_MAX} octets, in {labels!r} one has not")
    name = b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"
    if len(name) > NAME_OCTETS_MAX:
        raise LimitError(f"DNS name of {len(name)} octets; at most {NAME_OCTETS_MAX} are allowed")
    return name


def labels_of(name: bytes) -> list[bytes]:
    """The labels of a valid name in wire form, the root's left out."""
    labels, position = [], 0
    while length := name[position]:
        position += 1
        labels.append(name[position : position + length])
        position += length
    return labels


def pointer(offset: int) -> bytes:
    """A compression pointer to a name at `offset` of the message (RFC 1035, 4.1.4)."""
    return U16.pack(0xC000 | offset)


def compressed(name: bytes, tail: bytes, offset: int) -> bytes:
    """`name` with its end replaced by a pointer, if `tail`, a name that stands at `offset`, ends it."""
    cut = len(name) - len(tail)
    position = 0
    while position < cut:
        position += 1 + name[position]
    return name[:cut] + pointer(offset) if position == cut and name.endswith(tail) else name
