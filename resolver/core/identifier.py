"""Identifiers: `prefix/suffix`, read, printed, compared (RFC 3651, 2; deployed practice where it is narrower).

The first slash splits; later ones belong to the suffix. A prefix is dotted labels, and labels are strings: `0042` is not `42`.
Prefixes compare without regard to ASCII case, suffixes exactly. So that equal identifiers have equal spellings there is one
*canonical* spelling: prefix in ASCII upper case, suffix in Unicode normal form C. The canonical spelling is what is signed, and
its UTF-8 octets are the key under which a record is stored.

Three names are fixed. `0.0/0.0` is the trust anchor. `0.NA/<prefix>` is the prefix record, kept by the parent: since its suffix
is a prefix, it too compares without case. `0.NA/0.NA` is the root of resolution.
"""

import unicodedata
from functools import cached_property
from urllib.parse import unquote

from resolver.core import limits
from resolver.core.errors import IdentifierError

PREFIX_AUTHORITY = "0.NA"
ANCHOR = "0.0/0.0"
ROOT = "0.NA/0.NA"

# Zero-width and invisible characters that Unicode does not file under "format" (category Cf).
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0") | frozenset(
    map(chr, range(0xFE00, 0xFE10))
)
_REFUSED_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "a bidirectional, zero-width or other format character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_LABEL_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")
_UPPER = {c: c - 32 for c in range(ord("a"), ord("z") + 1)}


class Identifier:
    """A valid identifier. Immutable; equal and hashed by its canonical spelling, printed as it was spelled."""

    __slots__ = ("__dict__", "prefix", "suffix")

    def __init__(self, prefix: str, suffix: str) -> None:
        """Raises IdentifierError. `suffix` is taken in any Unicode normal form and kept in form C."""
        check_prefix(prefix)
        self.prefix = prefix
        self.suffix = _checked_suffix(prefix, suffix)

    @classmethod
    def parse(cls, text: str) -> "Identifier":
        """The identifier that `text` spells. Raises IdentifierError, which suggests what was probably meant."""
        prefix, slash, suffix = text.partition("/")
        try:
            if not slash:
                raise IdentifierError(f"{_shown(text)} has no slash between prefix and suffix")
            return cls(prefix, suffix)
        except IdentifierError as error:
            if error.suggestion is None and (meant := _suggestion(text)) is not None:
                raise IdentifierError(str(error), meant) from None
            raise

    @classmethod
    def decode(cls, octets: bytes) -> "Identifier":
        """As `parse`, from UTF-8 octets as they stand on a wire."""
        if len(octets) > limits.identifier_octets.default:
            raise IdentifierError(f"identifier of {len(octets)} octets; at most {limits.identifier_octets.default} are allowed")
        try:
            return cls.parse(octets.decode())
        except UnicodeDecodeError as error:
            raise IdentifierError(f"identifier is not UTF-8 at octet {error.start}") from None

    @classmethod
    def parse_or_prefix(cls, text: str) -> "Identifier":
        """As `parse`, but a bare prefix (`88.118`) stands for its prefix record (`0.NA/88.118`), as deployed clients ask it."""
        if "/" not in text and text and _LABEL_CHARACTERS.issuperset(text.replace(".", "")):
            return prefix_record(text)
        return cls.parse(text)

    @cached_property
    def canonical(self) -> str:
        """The one spelling that is signed and stored."""
        prefix = fold_prefix(self.prefix)
        return f"{prefix}/{fold_prefix(self.suffix) if prefix == PREFIX_AUTHORITY else self.suffix}"

    @cached_property
    def key(self) -> bytes:
        """The canonical spelling in UTF-8."""
        return self.canonical.encode()

    def is_answered_by(self, name: "Identifier") -> bool:
        """Whether the record of `name` is the one asked for by this name. Not only equal names: see `owner.HashedName`."""
        return self == name

    @property
    def is_prefix_record(self) -> bool:
        return fold_prefix(self.prefix) == PREFIX_AUTHORITY

    def __str__(self) -> str:
        return f"{self.prefix}/{self.suffix}"

    def __repr__(self) -> str:
        return f"Identifier({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identifier) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)


# ---- prefixes


def fold_prefix(text: str) -> str:
    """`text` in ASCII upper case; other letters stay. This is how prefixes are compared and stored."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


def check_prefix(text: str) -> None:
    """Raises IdentifierError unless `text` is dotted labels of letters, digits and inner hyphens, each a possible DNS label."""
    if not text:
        raise IdentifierError("the prefix is empty")
    if len(text.encode("utf-8", "surrogatepass")) > limits.prefix_octets.default:
        raise IdentifierError(f"prefix of more than {limits.prefix_octets.default} octets")
    labels = text.split(".")
    if len(labels) > limits.prefix_labels.default:
        raise IdentifierError(f"prefix of {len(labels)} labels; at most {limits.prefix_labels.default} are allowed")
    for label in labels:
        if not label:
            raise IdentifierError(f"prefix {_shown(text)} has an empty label: two dots, or a dot at an end")
        if len(label) > limits.prefix_label_octets.default:
            raise IdentifierError(f"prefix label of more than {limits.prefix_label_octets.default} octets")
        if not _LABEL_CHARACTERS.issuperset(label) or label[0] == "-" or label[-1] == "-":
            raise IdentifierError(f"prefix label {_shown(label)} must be ASCII letters, digits and inner hyphens")


def parent_prefix(prefix: str) -> str:
    """The prefix under which `prefix` is delegated: `88.118` for `88.118.8`, `0.NA` for a top prefix."""
    parent = prefix.rpartition(".")[0]
    return parent if parent and parent != "0" else PREFIX_AUTHORITY


def prefix_record(prefix: str) -> Identifier:
    """The identifier of the delegation of `prefix`: `0.NA/<prefix>`."""
    check_prefix(prefix)
    return Identifier(PREFIX_AUTHORITY, prefix)


def signer(identifier: Identifier) -> Identifier:
    """The record that holds the key which signs `identifier`: the names alone say who may sign what.

    An identifier is signed by its own prefix, a prefix record by the prefix above it, everything at the root by the anchor.
    """
    prefix = fold_prefix(identifier.prefix)
    if prefix == "0.0":
        return Identifier("0.0", "0.0")
    if prefix == PREFIX_AUTHORITY:
        prefix = parent_prefix(fold_prefix(identifier.suffix))
        if prefix == PREFIX_AUTHORITY:
            return Identifier("0.0", "0.0")
    return Identifier(PREFIX_AUTHORITY, prefix)


def scope(identifier: Identifier) -> str:
    """The folded prefix whose servers know `identifier`: its own, or for a prefix record the parent's."""
    prefix = fold_prefix(identifier.prefix)
    return parent_prefix(fold_prefix(identifier.suffix)) if prefix == PREFIX_AUTHORITY else prefix


# ---- helpers


def _checked_suffix(prefix: str, suffix: str) -> str:
    if not suffix:
        raise IdentifierError(f"{_shown(prefix + '/')} has an empty suffix")
    if not suffix.isascii():
        suffix = unicodedata.normalize("NFC", suffix)
    if len(prefix) + 1 + len(suffix) > limits.identifier_characters.default:
        raise IdentifierError(f"identifier of {len(prefix) + 1 + len(suffix)} characters; at most "
                              f"{limits.identifier_characters.default} are allowed")  # fmt: skip
    if not (suffix.isascii() and suffix.isprintable()):
        for place, character in enumerate(suffix, 1):
            kind = _REFUSED_CATEGORIES.get(unicodedata.category(character))
            if kind is not None or character in _INVISIBLE:
                raise IdentifierError(
                    f"suffix has {kind or 'an invisible character'}, U+{ord(character):04X}, at character {place}"
                )
    return suffix


def _suggestion(text: str) -> str | None:
    """The identifier that a person or a scanner probably meant, if a usual slip explains `text`."""
    meant = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in ("Cc", "Cf"))
    meant = meant.strip().replace("／", "/").replace("．", ".").replace("。", ".").replace("\\", "/")
    for scheme in ("https://", "http://"):
        if meant.lower().startswith(scheme):
            meant = unquote(meant[len(scheme) :].partition("?")[0].partition("/")[2])
    if meant.lower().startswith(("hdl:", "id:")):
        meant = meant.partition(":")[2]
    if "/" not in meant and "%2f" in meant.lower():
        meant = unquote(meant)
    if "/" not in meant and " " in meant:
        meant = meant.replace(" ", "/", 1)
    head, slash, tail = meant.partition("/")
    meant = unicodedata.normalize("NFKC", head).strip(". ") + slash + tail
    if meant == text:
        return None
    try:
        prefix, slash, suffix = meant.partition("/")
        return str(Identifier(prefix, suffix))
    except IdentifierError:
        return None


def _shown(text: str) -> str:
    """`text` for an error: quoted, escaped, and cut."""
    return ascii(text if len(text) <= 60 else text[:57] + "...") if not text.isprintable() else repr(text[:60])
