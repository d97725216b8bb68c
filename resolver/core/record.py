"""Handle values and records (RFC 3651, 3; RFC 3652, 2.1; deployed numerics where the RFC is wrong).

A *value* is one typed datum with an index. A *record* is all values of one identifier together with what vouches for them: a
serial that grows with every version, a validity period, and one Ed25519 signature made when the record was written.
"""

from typing import NamedTuple

from resolver.core.identifier import Identifier

ADMIN_READ, ADMIN_WRITE, PUBLIC_READ, PUBLIC_WRITE = 0x08, 0x04, 0x02, 0x01
DEFAULT_PERMISSIONS = ADMIN_READ | ADMIN_WRITE | PUBLIC_READ
DEFAULT_TTL_SECONDS = 86_400

TTL_RELATIVE, TTL_ABSOLUTE = 0, 1

# The indexes at which a record keeps what vouches for it, and a prefix record its keys.
INDEX_ADMIN = 100
INDEX_SITE, INDEX_SITE_PREFIX = 10, 11
INDEX_PUBKEY, INDEX_KEY, INDEX_NEXT_KEY = 300, 302, 303
INDEX_ENVELOPE, INDEX_CERTIFICATE, INDEX_SIGNATURE = 400, 401, 402

TYPE_SIGNATURE = "HS_SIGNATURE.ED25519"  # ours; deployed verifiers skip it
TYPE_ENVELOPE = "HS_SIGNATURE"  # RS256, what deployed verifiers read
TYPE_CERTIFICATE = "HS_CERT"
TYPE_KEY = "JWK"
TYPE_SITE, TYPE_SITE_PREFIX = "HS_SITE", "HS_SITE.PREFIX"


class Reference(NamedTuple):
    """A pointer to a value of another identifier, written `index:identifier`."""

    identifier: str
    index: int  # type: ignore[assignment]  # the field's word in RFC 3651; hides tuple.index, which nobody needs here


class Value(NamedTuple):
    """One handle value. `ttl` is seconds when relative, seconds since 1970 when absolute; `timestamp` is since 1970."""

    index: int  # type: ignore[assignment]  # as in Reference
    type: str
    data: bytes
    ttl: int = DEFAULT_TTL_SECONDS
    ttl_type: int = TTL_RELATIVE
    timestamp: int = 0
    permissions: int = DEFAULT_PERMISSIONS
    references: tuple[Reference, ...] = ()

    @property
    def is_public(self) -> bool:
        return bool(self.permissions & PUBLIC_READ)

    @property
    def is_signature(self) -> bool:
        return is_signature_type(self.type)

    @property
    def text(self) -> str | None:
        """The data as text, or None if it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return None


class Record(NamedTuple):
    """What the truth and the answer table hold of an identifier. Times are whole seconds since 1970.

    `values` are in ascending index and leave the Ed25519 signature value out: it is made from the fields here when answering.
    A `gone` record has no values; it says that the identifier was deleted and is not to be given away again.
    """

    identifier: Identifier
    values: tuple[Value, ...]
    serial: int
    issued: int
    not_before: int
    expires: int
    signature: bytes  # 64 octets; all zero on a gone record
    key_index: int = INDEX_KEY
    gone: bool = False


def is_signature_type(type_: str) -> bool:
    """Whether a value of this type is a signature over the others, and so not itself among what is signed."""
    return type_ == TYPE_ENVELOPE or type_.startswith(TYPE_ENVELOPE + ".")


def type_matches(asked: str, type_: str) -> bool:
    """Whether a value of type `type_` is meant by `asked`: equal without ASCII case, or below it if it ends in a dot."""
    asked, type_ = asked.lower(), type_.lower()
    return type_ == asked or (asked.endswith(".") and (type_.startswith(asked) or type_ == asked[:-1]))


def selected(values: tuple[Value, ...], indexes: tuple[int, ...], types: tuple[str, ...]) -> tuple[Value, ...]:
    """The values that a question asks for: index list and type list are or-ed, both empty means all."""
    if not indexes and not types:
        return values
    return tuple(v for v in values if v.index in indexes or any(type_matches(asked, v.type) for asked in types))


def remaining_ttl(value: Value, now: int) -> int:
    """Seconds for which `value` may be kept from `now` on, never negative."""
    return max(0, value.ttl - now if value.ttl_type == TTL_ABSOLUTE else value.ttl)
