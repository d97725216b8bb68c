"""Registration: may this actor write this, and what becomes of the record. Decisions are pure: state in, `Plan` or `Rejected` out."""

from typing import NamedTuple

from resolver.core.identifier import Identifier
from resolver.core.record import Value


class Actor(NamedTuple):
    """Who writes. An operator may write everywhere, a registrant only at or below its prefixes (folded)."""

    name: str
    role: str  # "operator" or "registrant"
    prefixes: tuple[str, ...] = ()


class Write(NamedTuple):
    """One change that is asked for. Values come without timestamps; the service stamps what is new or changed.

    register  makes the record; an identical one (timestamps apart) is "unchanged", a different one is rejected as "exists"
    replace   puts these values in place of all values, and makes the record if there is none
    patch     puts each value in place of the one with its index, or adds it; takes the indexes in `remove` away
    delete    marks the identifier as gone, for good
    """

    action: str
    identifier: Identifier
    values: tuple[Value, ...] = ()
    remove: tuple[int, ...] = ()
    if_match: int | None = None  # the serial that the record must have now


class Rejected(NamedTuple):
    """Why a change was not made: a word for programs, a sentence for people, the HTTP status, and the place of the fault."""

    code: str
    text: str
    http_status: int
    place: str = ""
