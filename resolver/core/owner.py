"""Owner names: the DNS name under which an identifier is found, and back.

    88.118.8/ABC   ->   _41_42_43.8.118.88.<apex>

The first label is the suffix's octets with `a-z 0-9` and inner hyphens kept and every other octet written `_` and two lower-case
hex digits, so that DNS, which does not tell case apart, cannot confuse two suffixes. A label longer than 60 octets becomes `_h` and
the suffix's SHA-256 in base32hex. `h` is no hex digit, so the two forms never meet and the mapping is injective. The labels of the
prefix follow, reversed, in lower case. What belongs to a record but is not a value of it lives below it (`_sig`) or beside it
(`_ns`): neither can be the label of a suffix.

A node finds the identifier behind a hash in its table. A node without one asks for it over Handle by a *hashed name*: prefix, `/`,
NUL, the 32 octets of the hash. NUL can stand in no identifier, so the two are never confused, and a server that knows nothing of
this refuses the name. Ours answer with the record under its true name, whose hash the asker compares before it believes anything.
"""

import re
from base64 import b32hexdecode, b32hexencode
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256

from resolver.core import limits
from resolver.core.errors import IdentifierError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, check_prefix, fold_prefix

LABEL_OCTETS_MAX = 60
SIGNATURE_LABEL = b"_sig"
NAME_SERVER_LABEL = b"_ns"
HASHED = b"_h"
_HASHED_OCTETS = 2 + 52
_DIGEST_OCTETS = 32
_HASH_FOLLOWS = b"\0"

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


# ---- names whose label is a hash


class HashedName(Identifier):
    """What may be asked for in place of an identifier: its prefix, and the SHA-256 of the suffix that its label leaves unknown.

    No record has this name. Its canonical spelling has no slash, so it equals no identifier's.
    """

    def __init__(self, prefix: str, digest: bytes) -> None:
        """Raises IdentifierError. For a prefix record too: which node keeps that, only its whole name tells."""
        check_prefix(prefix)
        if fold_prefix(prefix) == PREFIX_AUTHORITY:
            raise IdentifierError(f"a prefix record is not found by a hash; ask for {PREFIX_AUTHORITY}/ and the prefix")
        if len(digest) != _DIGEST_OCTETS:
            raise IdentifierError(f"hash of {len(digest)} octets; SHA-256 has {_DIGEST_OCTETS}")
        self.prefix = prefix
        self.suffix = f"SHA-256:{digest.hex()}"
        self.digest = digest

    @cached_property
    def canonical(self) -> str:
        return f"{fold_prefix(self.prefix)} {self.suffix}"

    @cached_property
    def key(self) -> bytes:
        """The name as it is asked for over Handle."""
        return fold_prefix(self.prefix).encode() + b"/" + _HASH_FOLLOWS + self.digest

    def is_answered_by(self, name: Identifier) -> bool:
        prefix, _, suffix = name.key.partition(b"/")
        return prefix == fold_prefix(self.prefix).encode() and is_hashed(suffix) and sha256(suffix).digest() == self.digest

    def __str__(self) -> str:
        return self.canonical


def name_of(labels: Sequence[bytes]) -> Identifier | None:
    """What to ask for to learn what this owner name holds: its identifier, or a hashed name. None if it can hold nothing.

    Also None for a prefix record whose label is a hash.
    """
    digest, prefix = digest_of(labels[0]), zone_prefix(labels[1:])
    if digest is None or prefix is None:
        return identifier_of(labels)
    try:
        return HashedName(prefix, digest)
    except IdentifierError:
        return None


def decode_name(octets: bytes) -> Identifier:
    """What is asked for over Handle: an identifier, or a hashed name. Raises IdentifierError."""
    prefix, _, suffix = octets.partition(b"/")
    if len(suffix) == len(_HASH_FOLLOWS) + _DIGEST_OCTETS and suffix.startswith(_HASH_FOLLOWS):
        return HashedName(prefix.decode("ascii", "replace"), suffix[len(_HASH_FOLLOWS) :])
    return Identifier.decode(octets)
