"""The asker's side of DNS: a query as octets, and the answer section of what came back.

An answer comes from anywhere, so it is read with suspicion: a compression pointer must lead backward, one name follows at most
`dns_answer_pointers` of them, and a whole message has at most `dns_answer_labels` labels to read. Else 64 KiB of records that
all point to one long name would cost half a million steps.
"""

from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.wire.dns import CLASS_IN, HEADER_OCTETS, LABEL_OCTETS_MAX, NAME_OCTETS_MAX, RD, Edns, encode_edns, encode_name

_HEADER = Struct(">HHHHHH")
_TYPE_CLASS = Struct(">HH")
_RR_FIXED = Struct(">HHIH")
_QR = 0x8000
_RCODE = 0x000F


class ResourceRecord(NamedTuple):
    """`owner` are the labels, lower case; `rdata` is as it came, names in it still compressed."""

    owner: tuple[bytes, ...]
    type: int
    ttl: int
    rdata: bytes


class DnsAnswer(NamedTuple):
    """`flags` is the header's second pair of octets: see `dns.AA`, `dns.TC`. `records` are those of the answer section."""

    id: int
    flags: int
    question: tuple[bytes, ...]
    records: tuple[ResourceRecord, ...]

    @property
    def rcode(self) -> int:
        return self.flags & _RCODE


def query_octets(labels: list[bytes], type_: int, id_: int, payload_octets: int, recursive: bool = True) -> bytes:
    """A query for one name, with EDNS. Raises FormatError for labels that make no name."""
    head = _HEADER.pack(id_, RD if recursive else 0, 1, 0, 0, 1)
    return head + encode_name(labels) + _TYPE_CLASS.pack(type_, CLASS_IN) + encode_edns(Edns(0, 0, False), payload_octets)


def answer_to(query: bytes, octets: bytes) -> DnsAnswer:
    """The answer in a response to `query` (from `query_octets`). Raises FormatError; also for a response to another query."""
    answer = read_answer(octets)
    if octets[:2] != query[:2] or _Names(octets).question()[0] != _Names(query).question()[0]:
        raise FormatError("DNS answer is one to another question")
    return answer


def read_answer(octets: bytes) -> DnsAnswer:
    """The answer in a response. Raises FormatError; its subclass LimitError where reading would take too much work."""
    try:
        id_, flags, questions, answers, _, _ = _HEADER.unpack_from(octets)
    except struct_error:
        raise FormatError(f"DNS answer of {len(octets)} octets; its header alone has {HEADER_OCTETS}") from None
    if not flags & _QR or questions != 1:
        raise FormatError("DNS answer must be a response with one question")
    names = _Names(octets)
    (question, _, _), position = names.question()
    records = []
    for number in range(answers):
        owner, position = names.read(position)
        try:
            type_, class_, ttl, data_octets = _RR_FIXED.unpack_from(octets, position)
        except struct_error:
            raise FormatError(f"DNS answer: record {number} is cut off at octet {position}") from None
        position += _RR_FIXED.size + data_octets
        if position > len(octets):
            raise FormatError(f"DNS answer: the data of record {number} ends at octet {position} of {len(octets)}")
        if class_ == CLASS_IN:
            records.append(ResourceRecord(owner, type_, ttl, octets[position - data_octets : position]))
    return DnsAnswer(id_, flags, question, tuple(records))


class _Names:
    """Reads the names of one message. `labels_read` counts the work."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.labels_read = 0

    def question(self) -> tuple[tuple[tuple[bytes, ...], int, int], int]:
        """Name, type and class of the question, and the offset behind it."""
        name, position = self.read(HEADER_OCTETS)
        try:
            type_, class_ = _TYPE_CLASS.unpack_from(self._octets, position)
        except struct_error:
            raise FormatError(f"DNS answer: its question is cut off at octet {position}") from None
        return (name, type_, class_), position + _TYPE_CLASS.size

    def read(self, start: int) -> tuple[tuple[bytes, ...], int]:
        """The name at `start`, in lower case, and the offset behind it."""
        octets, position, lowest = self._octets, start, start
        labels: list[bytes] = []
        name_octets, pointers, end = 1, 0, 0
        while True:
            length = self._octet(position)
            if length > LABEL_OCTETS_MAX:
                target = (length & 0x3F) << 8 | self._octet(position + 1)
                pointers += 1
                if length < 0xC0 or target >= lowest:
                    raise FormatError(f"DNS answer: at octet {position} a name must go on with a label, or a pointer backward")
                if pointers > limits.dns_answer_pointers.default:
                    raise LimitError(f"DNS answer: the name at octet {start} has more than {pointers - 1} pointers")
                end = end or position + 2
                position = lowest = target
                continue
            if not length:
                return tuple(labels), end or position + 1
            self.labels_read += 1
            name_octets += length + 1
            if self.labels_read > limits.dns_answer_labels.default:
                raise LimitError(f"DNS answer: more than {limits.dns_answer_labels.default} labels to read")
            if name_octets > NAME_OCTETS_MAX or position + 1 + length > len(octets):
                raise FormatError(f"DNS answer: the name at octet {start} is too long or cut off")
            labels.append(octets[position + 1 : position + 1 + length].lower())
            position += length + 1

    def _octet(self, position: int) -> int:
        if position >= len(self._octets):
            raise FormatError(f"DNS answer: a name is cut off at octet {position}")
        return self._octets[position]
