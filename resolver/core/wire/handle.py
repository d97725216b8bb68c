"""Handle messages (RFC 3652, 2; where deployed software differs from the RFC, as deployed software does it).

A message is an envelope of 20 octets, a header of 24, a body and a credential. All integers are big-endian.

    offset  size   envelope: how the message travels. Never signed, never encrypted
       0      2    version it is written in
       2      1    bits: 0x80 compressed, 0x40 encrypted, 0x20 in several datagrams; low two: highest major version spoken
       3      1    highest minor version spoken
       4      4    session, 0 for none
       8      4    request: the response has the number of its request
      12      4    sequence: which datagram of a message in several, from 0
      16      4    length of the whole message without envelope
                   header: what the message is
      20      4    operation
      24      4    response code, 0 in a request
      28      4    flags
      32      2    serial of the site that the asker knows, or the answering one has; 0xffff unknown
      34      2    recursion count, and a zero octet
      36      4    expiration, seconds since 1970; clients refuse a response that has expired
      40      4    length of the body

The credential is a length-prefixed string, empty unless the message is signed; one deployed client leaves out even its length.

*Versions.* A request says which version it is written in and which is the highest its sender speaks. The response is written in the
lower of that and ours, 2.11. Low bits of zero in octet 2 mean a sender that knows only the version it writes. Version 5 is an alias
of 2.0 from before the protocol had a number.

*Digests.* Where a request asks for it, the response's body begins with a digest of the request's header and body as received; what
form it has depends on the response's version. So an answer cannot be passed off as that to another question.
"""

from enum import IntEnum
from hashlib import md5, sha1, sha256
from struct import Struct
from typing import NamedTuple

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.wire.framing import U32, Reader, pack_data, pack_text

Version = tuple[int, int]
OURS: Version = (2, 11)
LOWEST: Version = (2, 0)

ENVELOPE = Struct(">BBBBIIII")
HEADER = Struct(">IIIHBBII")
ENVELOPE_OCTETS, HEADER_OCTETS = ENVELOPE.size, HEADER.size
BODY_AT = ENVELOPE_OCTETS + HEADER_OCTETS

COMPRESSED, ENCRYPTED, TRUNCATED = 0x80, 0x40, 0x20  # bits of the envelope
SERIAL_UNKNOWN = 0xFFFF
ANSWER_SECONDS = 43_200  # what clients are told about how long a response is good

AUTHORITATIVE = 0x80000000  # asked: from a primary server, not a cache; answered: this is one
CERTIFIED = 0x40000000  # sign the response with the server's key
ENCRYPT = 0x20000000
RECURSIVE = 0x10000000  # the server may ask others
CACHE_CERTIFY = 0x08000000
KEEP_ALIVE = 0x02000000
PUBLIC_ONLY = 0x01000000
REQUEST_DIGEST = 0x00800000
DO_NOT_REFER = 0x00100000
STALE = 0x00000001  # ours, answered: every server was down, and this is older than its TTL; deployed clients pass over it
QUERY_FLAGS = RECURSIVE | CACHE_CERTIFY | PUBLIC_ONLY  # what deployed clients set when they resolve
ECHOED_FLAGS = (
    CERTIFIED | ENCRYPT | RECURSIVE | CACHE_CERTIFY | PUBLIC_ONLY | REQUEST_DIGEST | DO_NOT_REFER
)  # a response repeats these


class Op(IntEnum):
    """Operations that this program answers or sends; all others are answered `Code.NOT_SUPPORTED`."""

    RESOLUTION = 1
    SITE_INFO = 2


class Code(IntEnum):
    """Response codes, by their deployed numbers. Clients refuse a response whose code they do not know: there are no others."""

    SUCCESS = 1
    ERROR = 2
    TOO_BUSY = 3
    PROTOCOL_ERROR = 4
    NOT_SUPPORTED = 5
    RECURSION_TOO_HIGH = 6
    SERVER_BACKUP = 7
    NOT_FOUND = 100
    EXISTS = 101
    INVALID_NAME = 102
    VALUES_NOT_FOUND = 200
    VALUE_EXISTS = 201
    INVALID_VALUE = 202
    OUT_OF_DATE_SITE = 300
    NOT_RESPONSIBLE = 301
    SERVICE_REFERRAL = 302
    PREFIX_REFERRAL = 303
    INVALID_ADMIN = 400
    INSUFFICIENT_PERMISSION = 401
    AUTHENTICATION_NEEDED = 402
    AUTHENTICATION_FAILED = 403
    INVALID_CREDENTIAL = 404
    AUTHENTICATION_TIMEOUT = 405
    UNABLE_TO_AUTHENTICATE = 406
    SESSION_UNKNOWN = 500
    SESSION_FAILED = 501
    INVALID_SESSION_KEY = 502
    RSA_KEY_NEEDED = 503
    INVALID_SESSION_SETUP = 504
    SESSION_MESSAGE_REJECTED = 505


class Envelope(NamedTuple):
    """How a message, or one datagram of it, travels. `flags` are the bits COMPRESSED, ENCRYPTED, TRUNCATED."""

    version: Version
    suggested: Version
    flags: int
    session_id: int
    request_id: int
    sequence: int
    length: int


class Message(NamedTuple):
    """A whole message, request or response. `credential` is None where even its length is left out."""

    op: int
    body: bytes = b""
    code: int = 0
    flags: int = 0
    request_id: int = 0
    session_id: int = 0
    version: Version = OURS
    suggested: Version = OURS
    serial: int = SERIAL_UNKNOWN
    recursion: int = 0
    expires: int = 0
    credential: bytes | None = b""


class Credential(NamedTuple):
    """A signature over a message. `kind` is HS_SIGNED (the server's key) or HS_MAC (a session's key)."""

    kind: str
    hash_name: str
    signature: bytes
    counter: int = 0
    signer: str = ""


# ---- messages


def encode_message(message: Message) -> bytes:
    """The octets of `message` in one piece, as they travel over TCP; see `fragments` for datagrams."""
    credential = b"" if message.credential is None else pack_data(message.credential)
    (major, minor), (suggested_major, suggested_minor) = message.version, message.suggested
    length = HEADER_OCTETS + len(message.body) + len(credential)
    return b"".join((
        ENVELOPE.pack(major, minor, suggested_major & 3, suggested_minor, message.session_id, message.request_id, 0, length),
        HEADER.pack(message.op, message.code, message.flags, message.serial, message.recursion, 0, message.expires,
                    len(message.body)),
        message.body,
        credential,
    ))  # fmt: skip


def decode_envelope(octets: bytes) -> Envelope:
    """The envelope at the start of `octets`. Raises FormatError unless it is of a version that we read."""
    if len(octets) < ENVELOPE_OCTETS:
        raise FormatError(f"a Handle message begins with an envelope of {ENVELOPE_OCTETS} octets; {len(octets)} came")
    major, minor, bits, suggested_minor, session_id, request_id, sequence, length = ENVELOPE.unpack_from(octets)
    if major not in (2, 5):
        raise FormatError(f"Handle protocol version {major}.{minor}; this program speaks 2.0 to {OURS[0]}.{OURS[1]}")
    if length > limits.handle_message_octets.default - ENVELOPE_OCTETS:
        raise LimitError(f"Handle message of {length} octets; at most {limits.handle_message_octets.default} are allowed")
    version = LOWEST if major == 5 else (major, minor)
    suggested = (bits & 3, suggested_minor) if bits & 3 else version
    return Envelope(version, suggested, bits & 0xE0, session_id, request_id, sequence, length)


def decode_message(octets: bytes) -> Message:
    """One whole message that is not encrypted. Raises FormatError; octets after the credential are refused."""
    envelope = decode_envelope(octets)
    if envelope.flags & (COMPRESSED | ENCRYPTED):
        raise FormatError(f"Handle message is {'encrypted' if envelope.flags & ENCRYPTED else 'compressed'}, and cannot be read")
    if envelope.length != len(octets) - ENVELOPE_OCTETS:
        raise FormatError(f"envelope tells of {envelope.length} octets; {len(octets) - ENVELOPE_OCTETS} follow it")
    reader = Reader(octets, "Handle message", ENVELOPE_OCTETS)
    header = HEADER.unpack(reader.take(HEADER_OCTETS, "header"))
    op, code, flags, serial, recursion, _, expires, body_octets = header
    body = reader.take(body_octets, "body")
    credential = None
    if reader.remaining >= U32.size:
        credential = reader.data("credential")
    reader.done()
    return Message(op, body, code, flags, envelope.request_id, envelope.session_id, envelope.version, envelope.suggested,
                   serial, recursion, expires, credential)  # fmt: skip


def encode_credential(credential: Credential) -> bytes:
    rest = pack_text(credential.hash_name) + pack_data(credential.signature)
    return b"".join(
        (bytes(4), pack_text(credential.signer), U32.pack(credential.counter), pack_text(credential.kind), pack_data(rest))
    )


def decode_credential(octets: bytes) -> Credential:
    """The credential of a message that has one. Raises FormatError."""
    reader = Reader(octets, "credential")
    if reader.take(4, "version and options") != bytes(4):
        raise FormatError("credential: version and options must be zero")
    signer, counter, kind = reader.text("signer"), reader.u32("counter"), reader.text("kind")
    inner = Reader(reader.data("signature part"), "signature part of a credential")
    reader.done()
    hash_name, signature = inner.text("hash algorithm"), inner.data("signature")
    inner.done()
    return Credential(kind, hash_name, signature, counter, signer)


# ---- versions


def response_version(suggested: Version) -> Version:
    """The version to answer in, given the highest that the asker speaks."""
    return max(LOWEST, min(suggested, OURS))


def code_at(version: Version, code: int) -> int:
    """`code` as a peer of `version` knows it: two codes are younger than the protocol."""
    if version < (2, 5):
        return {int(Code.SERVER_BACKUP): int(Code.PREFIX_REFERRAL), int(Code.INVALID_VALUE): int(Code.VALUE_EXISTS)}.get(code, code)
    return code


def follows_referrals(message: Message) -> bool:
    """Whether the sender of a request makes something of a prefix referral.

    Those that know 2.10 do. One deployed client always writes 2.10 and fails on a referral, so that version counts as a no.
    """
    return message.suggested >= (2, 10) and message.version != (2, 10) and not message.flags & DO_NOT_REFER


# ---- request digests


def request_digest(version: Version, request: bytes) -> bytes:
    """What the body of a response in `version` begins with when it repeats the digest of `request` (a whole message)."""
    (body_octets,) = U32.unpack_from(request, BODY_AT - 4)
    digested = request[ENVELOPE_OCTETS : BODY_AT + body_octets]
    if version >= (2, 7):
        return b"\x03" + sha256(digested).digest()
    if version >= (2, 1):
        return b"\x02" + sha1(digested, usedforsecurity=False).digest()
    return pack_data(md5(digested, usedforsecurity=False).digest())


def body_after_digest(response: Message, request: bytes) -> bytes:
    """The body of `response` behind the digest, if there is one, which must be that of `request`. Raises FormatError."""
    if not response.flags & REQUEST_DIGEST:
        return response.body
    expected = request_digest(response.version, request)
    if not response.body.startswith(expected):
        raise FormatError("the response does not begin with the digest of the request: it answers another question")
    return response.body[len(expected) :]
