"""Owner names: the DNS name under which an identifier is found, and back.

    88.118.8/ABC   ->   _41_42_43.8.118.88.<apex>

The first label is the suffix's octets with `a-z 0-9` and inner hyphens kept and every other octet written `_` and two lower-case
hex digits, so that DNS, which does not tell case apart, cannot confuse two suffixes. A label longer than 60 octets becomes `_h` and
the suffix's SHA-256 in base32hex. `h` is no hex digit, so the two forms never meet and the mapping is injective. The labels of the
prefix follow, reversed, in lower case. What belongs to a record but is not a value of it lives below it (`_sig`) or beside it
(`_ns`): neither can be the label of a suffix.
"""

import re
from base64 import b32hexdecode, b32hexencode
from collections.abc import Sequence
from hashlib import sha256

from resolver.core import limits
from resolver.core.errors import IdentifierError
from resolver.core.identifier import Identifier, fold_prefix

LABEL_OCTETS_MAX = 60
SIGNATURE_LABEL = b"_sig"
NAME_SERVER_LABEL = b"_ns"
HASHED = b"_h"
_HASHED_OCTETS = 2 + 52

_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_ESCAPED = [bytes((octet,)) if octet in _KEPT else b"_%02x" % octet for octet in range(256)]
_PLAIN = re.compile(rb"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LABEL = re.compile(rb"(?:[a-z0-9-]|_[0-9a-f]{2})+")
_ESCAPE = re.compile(rb"_([0-9a-f]{2})")


def label_of(suffix: bytes) -> bytes:
    """The label of a suffix (UTF-8, form C): at most 60 octets of `a-z 0-9 - _`."""
    if len(suffix) <= LABEL_OCTETS_MAX and _PLAIN.fullmatch(suffix):
        return suffix
    label = escaped(suffix)
    return label if len(label) <= LABEL_OCTETS_MAX else HASHED + b32hexencode(sha256(suffix).digest()).rstrip(b"=").lower()


def is_hashed(suffix: bytes) -> bool:
    """Whether the label of `suffix` is its hash, so that only an index leads back from the label."""
    return len(suffix) > LABEL_OCTETS_MAX or len(escaped(suffix)) > LABEL_OCTETS_MAX


def escaped(suffix: bytes) -> bytes:
    """The label of a suffix before it is judged too long."""
    label = b"".join([_ESCAPED[octet] for octet in suffix])
    if label[:1] == b"-":
        label = b"_2d" + label[1:]
    if label[-1:] == b"-":
        label = label[:-1] + b"_2d"
    return label


def suffix_of(label: bytes) -> bytes | None:
    """The suffix of a lower-case label that is not a hash; None if no suffix has this label."""
    if _PLAIN.fullmatch(label):
        return label if len(label) <= LABEL_OCTETS_MAX else None
    if len(label) > LABEL_OCTETS_MAX or not _LABEL.fullmatch(label):
        return None
    suffix = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), label)
    return suffix if escaped(suffix) == label else None


def digest_of(label: bytes) -> bytes | None:
    """The SHA-256 that a lower-case `_h` label holds; None if it is not one."""
    if len(label) != _HASHED_OCTETS or not label.startswith(HASHED):
        return None
    try:
        digest = b32hexdecode(label[2:].upper() + b"====")
    except ValueError:
        return None
    return digest if b32hexencode(digest).rstrip(b"=").lower() == label[2:] else None


def zone_labels(prefix: str) -> list[bytes]:
    """The labels of a prefix's zone below the apex: reversed, lower case. `0.NA` -> [b"na", b"0"]."""
    return [label.encode() for label in reversed(prefix.lower().split("."))]


def zone_prefix(labels: Sequence[bytes]) -> str | None:
    """The folded prefix whose zone has these lower-case labels below the apex; None if no prefix has. Undoes `zone_labels`."""
    if not 0 < len(labels) <= limits.prefix_labels.default or not all(map(_PLAIN.fullmatch, labels)):
        return None
    return fold_prefix(b".".join(reversed(labels)).decode())


def owner_labels(identifier: Identifier) -> list[bytes]:
    """The labels, below the apex, of the name under which `identifier` is found."""
    prefix, _, suffix = identifier.key.partition(b"/")
    return [label_of(suffix), *zone_labels(prefix.decode())]


def identifier_of(labels: Sequence[bytes]) -> Identifier | None:
    """The identifier that has this owner name (lower-case labels below the apex); None if there is none, or its label is a hash."""
    prefix = zone_prefix(labels[1:])
    suffix = suffix_of(labels[0]) if prefix is not None else None
    if prefix is None or suffix is None:
        return None
    key = prefix.encode() + b"/" + suffix
    try:
        identifier = Identifier.decode(key)
    except IdentifierError:
        return None
    return identifier if identifier.key == key else None
