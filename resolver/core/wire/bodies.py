"""Bodies of Handle messages: the two operations that resolve, and what is said when an answer is something else.

    resolution, request    name, indexes, types; one deployed client adds a token of its user
    resolution, response   name as asked, values
    site info, request     a name, always "/"
    site info, response    a site record (`site.encode_site`) up to the end of the body
    302, 303 referral      name of the delegation's record; its values, unless the body ends before them
    any other code         a text, which may be empty or missing

Octets after the last field are ignored in requests: a younger peer may have added a field. A request digest is not part of the
body here, see `handle.body_after_digest`.
"""

from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.record import Value
from resolver.core.wire.framing import U32, Reader, pack_data, pack_text
from resolver.core.wire.values import VALUE_OCTETS_MIN, encode_values, read_value


class ResolutionRequest(NamedTuple):
    """`name` is in octets since it is answered as asked, and may be anything. Types are as written."""

    name: bytes
    indexes: tuple[int, ...] = ()
    types: tuple[bytes, ...] = ()
    token: bytes | None = None


class ResolutionResponse(NamedTuple):
    name: bytes
    values: tuple[Value, ...]


class ReferralResponse(NamedTuple):
    """`name` is the delegation's record, e.g. `0.NA/88.118`; `values` are its public values, None where they were left out."""

    name: bytes
    values: tuple[Value, ...] | None


# ---- resolution


def encode_resolution_request(request: ResolutionRequest) -> bytes:
    parts = [pack_data(request.name), U32.pack(len(request.indexes)), *map(U32.pack, request.indexes)]
    parts += [U32.pack(len(request.types)), *map(pack_data, request.types)]
    return b"".join(parts) if request.token is None else b"".join((*parts, pack_data(request.token)))


def decode_resolution_request(body: bytes, filter_items: int = limits.handle_filter_items.default) -> ResolutionRequest:
    """Raises FormatError; for more than `filter_items` indexes, or types, LimitError."""
    reader = Reader(body, "resolution request")
    name = reader.data("identifier")
    indexes, types, end = read_filter(body, reader.position, len(body), filter_items)
    reader.position = end
    return ResolutionRequest(name, indexes, types, reader.data("token") if reader.remaining >= U32.size else None)


def read_filter(octets: bytes, position: int, end: int, most: int) -> tuple[tuple[int, ...], tuple[bytes, ...], int]:
    """Indexes and types at `position`, at most `most` of each, and where they end, at most at `end`. Raises FormatError.

    Written without a Reader, since it stands on the way of every resolution that asks for some values only.
    """
    try:
        (count,) = U32.unpack_from(octets, position)
        position += 4
        if count > most:
            raise LimitError(f"resolution request: {count} indexes; at most {most} are allowed")
        indexes: tuple[int, ...] = ()
        if count:
            indexes = Struct(f">{count}I").unpack_from(octets, position)
            position += 4 * count
        (count,) = U32.unpack_from(octets, position)
        position += 4
        if count > most:
            raise LimitError(f"resolution request: {count} types; at most {most} are allowed")
        types = []
        while count:
            start = position + 4
            position = start + U32.unpack_from(octets, position)[0]
            types.append(octets[start:position])
            count -= 1
    except struct_error:
        position = end + 1
    if position > end:
        raise FormatError("resolution request: the lists of indexes and types are longer than the body")
    return indexes, tuple(types), position


def encode_resolution_response(response: ResolutionResponse) -> bytes:
    return b"".join((pack_data(response.name), U32.pack(len(response.values)), encode_values(response.values)))


def decode_resolution_response(body: bytes) -> ResolutionResponse:
    reader = Reader(body, "resolution response")
    response = ResolutionResponse(reader.data("identifier"), _read_values(reader))
    reader.done()
    return response


# ---- site info


def decode_site_info_request(body: bytes) -> bytes:
    """The name in the request: deployed clients send "/", and nothing depends on it."""
    return Reader(body, "site info request").data("name")


# ---- what is not an answer


def encode_referral(response: ReferralResponse) -> bytes:
    if response.values is None:
        return pack_data(response.name)
    return b"".join((pack_data(response.name), U32.pack(len(response.values)), encode_values(response.values)))


def decode_referral(body: bytes) -> ReferralResponse:
    reader = Reader(body, "referral")
    name = reader.data("name of the delegation")
    if not reader.remaining:
        return ReferralResponse(name, None)
    response = ReferralResponse(name, _read_values(reader))
    reader.done()
    return response


def encode_error(text: str) -> bytes:
    return pack_text(text)


def decode_error(body: bytes) -> str:
    """The text for people in a response that is an error. What is not UTF-8 in it is replaced; what follows it is ignored."""
    return Reader(body, "error response").data("text").decode(errors="replace") if body else ""


def _read_values(reader: Reader) -> tuple[Value, ...]:
    count = reader.count("values", limits.record_values.most, VALUE_OCTETS_MIN)
    return tuple(read_value(reader) for _ in range(count))
