"""A question, and the outcomes that answer it: plain values that every door understands.

A door decodes octets to a `Query`; the table, or a recursive node's walk, turns it into an `Outcome`; the door encodes that. None
of these outcomes is an error of ours: breakage is an exception (see `errors`), and becomes `Failed` only at the door.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from resolver.core.errors import WaymarkError
from resolver.core.identifier import Identifier

_GONE_TIME = "%Y-%m-%dT%H:%M:%SZ"
_GONE = re.compile(r"gone since ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)")


class Query(NamedTuple):
    """What is asked. `indexes` and `types` are or-ed, both empty means all values; see `record.selected`."""

    identifier: Identifier
    indexes: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    authoritative: bool = False  # the asker wants no cached answer
    recursive: bool = True  # the asker allows us to ask others


class AnsweringRecord(Protocol):
    """A record ready to be answered from. `wire.stored.Stored` (from the table) and `cache.Held` (from the net) are such."""

    @property
    def key(self) -> bytes: ...  # canonical identifier, UTF-8

    @property
    def count(self) -> int: ...  # number of values in `encoded`

    @property
    def encoded(self) -> bytes:  # the values in wire form, signature value left out
        ...

    @property
    def flags(self) -> int: ...  # stored.ALL_PUBLIC when no value need be filtered

    @property
    def serial(self) -> int: ...

    @property
    def expires(self) -> int: ...  # seconds since 1970; the signature's end

    @property
    def signature_octets(self) -> bytes: ...  # the encoded value 402


class Answer(NamedTuple):
    """The record exists. Whether any of its values is asked for and public, the door sees when it selects."""

    record: AnsweringRecord
    authoritative: bool = True
    stale: bool = False  # every server was down; past its TTL, within its signature
    ttl_limit: int | None = None  # seconds: what is left in a cache, None when authoritative


class Referral(NamedTuple):
    """Others know: `delegation` is the record `0.NA/<prefix>` of the nearest prefix that is delegated away."""

    prefix: str
    delegation: AnsweringRecord


class NotFound(NamedTuple):
    """There is no such identifier. `zone` is the homed prefix that says so; `gone_since` when it was deleted, else None."""

    zone: str
    gone_since: int | None = None
    authoritative: bool = True


def gone_text(since: int) -> str:
    """How the Handle door says that an identifier was deleted, at `since` (seconds since 1970)."""
    return f"gone since {datetime.fromtimestamp(since, UTC):{_GONE_TIME}}: deleted, and not given away again"


def gone_since(text: str) -> int | None:
    """When, if `text` is such a `gone_text`: so that a recursive node can pass on that a name is not merely absent."""
    found = _GONE.match(text)
    try:
        return None if found is None else int(datetime.strptime(found[1], _GONE_TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:  # no such day
        return None


class Refused(NamedTuple):
    """Not homed here and not delegated from here; or, with another reason, not for this asker."""

    reason: str = "this prefix is not homed here"


class Failed(NamedTuple):
    """Something broke on the way; `error` carries the code of each door."""

    error: WaymarkError


Outcome = Answer | Referral | NotFound | Refused | Failed
