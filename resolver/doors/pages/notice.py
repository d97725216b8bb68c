"""Pages without a record: not found, deleted, another node's, not an identifier, not resolved. Each names the next step."""

from resolver.core import codes
from resolver.core.codes import CodeError
from resolver.core.errors import FormatError, IdentifierError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, fold_prefix
from resolver.core.message import Failed, NotFound, Referral, Refused
from resolver.desk import Desk
from resolver.doors.http_elsewhere import http_doors
from resolver.doors.http_reply import HttpReply
from resolver.doors.http_target import quoted_path
from resolver.doors.http_view import View
from resolver.doors.pages import Reader, page
from resolver.doors.pages.record import chain_of, verdict_tone
from resolver.doors.pages.words import reason_word, word
from resolver.table import Table, record_key

EXAMPLE = "88.101.5/6901234567892"

_DIGITS = {8: "gs1", 12: "gs1", 13: "gs1", 14: "gs1", 18: "sscc"}
_ALPHANUMERIC = {9: "orgcode", 11: "iso6346", 17: "vin", 18: "uscc"}


def notice_page(status: int, view: View, reader: Reader, desk: Desk) -> HttpReply:
    """The page of a view whose outcome is no answer."""
    name = str(view.identifier)
    content: dict[str, object] = {"ask": [], "meant": [], "since": None, "hint": None, "detail": None, "tone": "plain"}
    match view.outcome:
        case NotFound(zone, None):
            content |= {"heading": "not-found", "text": _absence(view.identifier, zone, reader.language)}
            content["hint"] = _code_hint(view.identifier.suffix, reader.language)
            content["meant"] = near(view.identifier, desk.table)
        case NotFound(_, gone_since):
            content |= {"heading": "gone", "text": word(reader.language, "gone-text"), "since": gone_since}
        case Referral(prefix, delegation):
            doors = http_doors(delegation, view.identifier)
            content |= {"heading": "elsewhere", "text": word(reader.language, "elsewhere-text", prefix=prefix)}
            content["ask"] = [(door, f"{door}{quoted_path(name)}?noredirect") for door in doors]
            content["hint"] = None if doors else word(reader.language, "elsewhere-none")
        case Refused():
            content |= {"heading": "not-here", "text": word(reader.language, "not-here-text", identifier=name)}
        case Failed(error):
            refused = verdict_tone(view) == "refused"
            content |= {"heading": "refused" if refused else "failed", "detail": str(error), "tone": verdict_tone(view)}
            content["text"] = word(reader.language, "refused-text" if refused else "failed-text")
            content["hint"] = reason_word(reader.language, view.verdict.reason) if refused else None
    chain = chain_of(view, reader.language) if view.chain else []
    return page(
        status, "notice.html", reader, node=desk.config, name=name, chain=chain, view=view, example=EXAMPLE, **content
    )  # fmt: skip


def bad_identifier_page(error: IdentifierError, reader: Reader, desk: Desk) -> HttpReply:
    return page(
        400, "notice.html", reader, node=desk.config, name=None, chain=[], view=None, example=EXAMPLE, tone="plain",
        heading="bad", text=word(reader.language, "bad-text", example=EXAMPLE), hint=None, since=None, ask=[],
        meant=[error.suggestion] if error.suggestion else [], detail=str(error),
    )  # fmt: skip


def near(identifier: Identifier, table: Table | None) -> list[str]:
    """Identifiers in our table that `identifier` may have been meant to be: other letters' size, spaces, a wrong check digit."""
    suffix, prefix = identifier.suffix, identifier.prefix
    spellings = [suffix.upper(), suffix.lower(), suffix.replace(" ", ""), suffix.replace("-", ""), suffix.rstrip(".,;:")]
    if (expected := _expected(suffix)) is not None:
        spellings.append(suffix[:-1] + expected)
    found = []
    for spelling in dict.fromkeys(spellings):
        try:
            meant = Identifier(prefix, spelling)
        except IdentifierError:
            continue
        octets = None if table is None else table.get(record_key(meant.key))
        if meant != identifier and octets is not None:
            found.append(str(meant))
    return found


def _code_error(suffix: str) -> CodeError | None:
    """What is wrong with a suffix that has the shape of a code with a check character."""
    system = _DIGITS.get(len(suffix)) if suffix.isascii() and suffix.isdigit() else None
    if system is None and suffix.isascii() and suffix.isalnum() and suffix.isupper():
        system = _ALPHANUMERIC.get(len(suffix))
    try:
        if system is not None:
            codes.check(system, suffix)
    except CodeError as error:
        return error
    except FormatError:
        return None
    return None


def _expected(suffix: str) -> str | None:
    """The check character that the others promise, where `suffix` has another one."""
    error = _code_error(suffix)
    expected = error.expected.rpartition(" ")[2] if error and error.expected.startswith("check ") else ""
    return expected if len(expected) == 1 else None


def _absence(identifier: Identifier, zone: str, language: str) -> str:
    """Whether it is the name that is missing, or its whole prefix already."""
    prefix = fold_prefix(identifier.prefix)
    if prefix == PREFIX_AUTHORITY:
        return word(language, "no-prefix-text", prefix=identifier.suffix, zone=zone)
    if prefix != zone:
        return word(language, "no-prefix-text", prefix=prefix, zone=zone)
    return word(language, "not-found-text", prefix=prefix, identifier=str(identifier))


def _code_hint(suffix: str, language: str) -> str:
    if (expected := _expected(suffix)) is not None:
        return word(language, "check-digit", code=suffix, expected=expected)
    return word(language, "not-found-next")
