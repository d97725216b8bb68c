"""Questions as octets, written out here independently of the code under measurement."""

import time
from collections.abc import Sequence
from struct import Struct

from benchmarks.load.datagrams import Expected

_DNS_HEAD = Struct(">HHHHHH")
_DNS_OPT = b"\0" + Struct(">HHIH").pack(41, 1232, 0, 0)  # EDNS with 1,232 octets, as every resolver in the field sends it
_END_TXT_IN = b"\0\0\x10\0\x01"  # the root label, type TXT, class IN
_RECURSION_DESIRED = 0x0100

_HANDLE_ENVELOPE = Struct(">BBBBIIII")
_HANDLE_HEADER = Struct(">IIIHBxII")
_RESOLVE = 1
_RECURSE_CACHE_PUBLIC = 0x19000000  # the flags that deployed clients set
_EXPIRES_SECONDS = 43_200
_FRAGMENT_OCTETS = 512
_U32 = Struct(">I")


def dns(name: Sequence[bytes], number: int, *, recurse: bool = False) -> bytes:
    """A DNS query for the TXT records of a name of labels, with EDNS."""
    labels = b"".join(bytes((len(label),)) + label for label in name)
    return _DNS_HEAD.pack(number & 0xFFFF, _RECURSION_DESIRED if recurse else 0, 1, 0, 0, 1) + labels + _END_TXT_IN + _DNS_OPT


def dns_expected(rcode: int = 0) -> Expected:
    return Expected(code_at=3, code=rcode, code_mask=0x0F)


def handle(identifier: bytes, number: int, indexes: Sequence[int] = (), types: Sequence[bytes] = ()) -> bytes:
    """A Handle resolution, protocol 2.11, of values by index and type; of all public values without either.

    Its expiration is set from the clock, as deployed clients do: a question asked again differs in that field as well.
    """
    filters = (len(indexes), *indexes, len(types))
    body = b"".join((_U32.pack(len(identifier)), identifier, *map(_U32.pack, filters)))
    body += b"".join(_U32.pack(len(kind)) + kind for kind in types)
    header = _HANDLE_HEADER.pack(_RESOLVE, 0, _RECURSE_CACHE_PUBLIC, 0xFFFF, 0, int(time.time()) + _EXPIRES_SECONDS, len(body))
    message = header + body + _U32.pack(0)
    return _HANDLE_ENVELOPE.pack(2, 11, 2, 11, 0, number, 0, len(message)) + message


def handle_expected(answer: Sequence[bytes]) -> Expected:
    """What answers like this one look like: a success, in as many datagrams as its length says."""
    octets = int.from_bytes(answer[0][16:20], "big")
    fragments = -(-octets // (_FRAGMENT_OCTETS - 20))
    assert len(answer) == fragments, f"{len(answer)} datagrams came for a message of {octets} octets"
    return Expected(code_at=27, code=1, fragments=fragments, number_at=15)


def http_get(path: str, host: str = "localhost") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


def http_post(path: str, body: bytes, headers: dict[str, str], host: str = "localhost") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
