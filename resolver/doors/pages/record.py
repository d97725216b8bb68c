"""The page of one record: verdict first, then its content, who holds it, the chain of trust, and how the answer was found."""

from typing import NamedTuple

from resolver.core.identifier import ANCHOR, Identifier, fold_prefix, signer
from resolver.core.record import Value
from resolver.core.trust import Trusted
from resolver.desk import Desk
from resolver.doors.http_reply import HttpReply
from resolver.doors.http_target import quoted_path
from resolver.doors.http_view import View
from resolver.doors.pages import Reader, page
from resolver.doors.pages.shown import Shown, shown
from resolver.doors.pages.words import reason_word, word

_NAMES = ("NAME", "DESC")  # types that say in a word what a record is about


class Link(NamedTuple):
    """One level of the chain as drawn: the anchor first, the record last."""

    kind: str  # "anchor", "prefix", "record"
    title: str
    identifier: str
    name: str  # what the level calls itself, or nothing
    issuer: str
    serial: int
    expires: int
    holds: bool


class Owner(NamedTuple):
    text: str
    identifier: str


def record_page(status: int, view: View, reader: Reader, desk: Desk) -> HttpReply:
    """The page of a view whose outcome is an answer."""
    assert view.record is not None
    believed = view.verdict.verified
    values = [shown(value, reader.language) for value in view.values]
    if not believed:  # nothing of it is to lead anywhere
        values = [value._replace(link=None, identifiers=()) for value in values]
    return page(
        status,
        "record.html",
        reader,
        node=desk.config,
        view=view,
        tone="stale" if view.verdict.verified and view.stale else verdict_tone(view),
        title=(believed and _name(view.values)) or str(view.identifier),
        kept_here=view.url is not None and not believed and not reader.switches,
        reason=reason_word(reader.language, view.verdict.reason),
        content=[value for value in values if not value.technical],
        technical=[value for value in values if value.technical],
        owner=_owner(view, values, reader.language),
        serial=view.record.serial,
        expires=view.record.expires,
        chain=chain_of(view, reader.language),
        json_path=f"/api/handles{quoted_path(str(view.identifier))}?pretty",
    )


def verdict_tone(view: View) -> str:
    """`verified`, `refused`, or `unproven` when nobody could be asked."""
    if view.verdict.verified:
        return "verified"
    return "unproven" if view.verdict.reason == "unreachable" else "refused"


def chain_of(view: View, language: str) -> list[Link]:
    """The levels from the anchor to the record; if the chain does not hold, the level at which it broke comes last."""
    links = [_link(trusted, view.identifier, language) for trusted in reversed(view.chain)]
    if not view.verdict.verified:
        known = {link.identifier for link in links}
        broken = next((i for i in _way(view.identifier) if i.canonical not in known), view.identifier)
        links = [link for link in links if link.identifier != broken.canonical]
        kind, title = _kind(broken, view.identifier, language)
        links.append(Link(kind, title, broken.canonical, "", "", 0, 0, holds=False))
    return links


def _way(identifier: Identifier) -> list[Identifier]:
    """The records that vouch for `identifier`, from the anchor down to itself."""
    way = [identifier]
    while way[0].canonical != ANCHOR:
        way.insert(0, signer(way[0]))
    return way


def _link(trusted: Trusted, record: Identifier, language: str) -> Link:
    kind, title = _kind(trusted.identifier, record, language)
    name = _name(trusted.values) if kind == "prefix" else ""
    return Link(
        kind, title, trusted.identifier.canonical, name, trusted.issuer, trusted.serial, trusted.expires, holds=True
    )  # fmt: skip


def _kind(identifier: Identifier, record: Identifier, language: str) -> tuple[str, str]:
    if identifier.canonical == ANCHOR:
        return "anchor", word(language, "anchor")
    if identifier == record:
        return "record", word(language, "this-record")
    return "prefix", word(language, "prefix", prefix=fold_prefix(identifier.suffix))


def _name(values: tuple[Value, ...]) -> str:
    texts = {value.type.upper(): value.text for value in reversed(values)}
    return next((text for name in _NAMES if (text := texts.get(name)) and len(text) <= 120 and text.isprintable()), "")


def _owner(view: View, values: list[Shown], language: str) -> Owner:
    """Who holds the record: the administrator it names, or else the holder of its prefix."""
    admin = next((value for value in values if value.type == "HS_ADMIN" and value.identifiers), None)
    own = view.identifier if view.identifier.is_prefix_record else signer(view.identifier)
    holder = Identifier.parse(admin.identifiers[0]) if admin else own
    above = next((trusted for trusted in view.chain if trusted.identifier == holder), None)
    name = _name(above.values) if above else ""
    prefix = fold_prefix(holder.suffix if holder.is_prefix_record else holder.prefix)
    if holder.canonical == ANCHOR:
        return Owner(word(language, "anchor"), ANCHOR)
    if not holder.is_prefix_record:
        return Owner(str(holder), str(holder))
    text = word(language, "held-by", name=name, prefix=prefix) if name else word(language, "holder-of", prefix=prefix)
    return Owner(text, holder.canonical)
