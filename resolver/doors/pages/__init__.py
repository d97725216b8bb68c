"""Pages for people: templates, style and words. Chinese and English, without scripts, without anything fetched from elsewhere.

A page is one self-contained document. Its policy (CSP) allows the one style sheet it carries, named by its hash, and nothing else,
so that even a value that got past the escaping could run nothing and call nobody.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from resolver.core.wire.json import iso_time
from resolver.doors.http_reply import HTML, HttpReply, reply
from resolver.doors.http_target import quoted_path
from resolver.doors.pages.words import LANGUAGES, word

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "style.css").read_text("utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
VARY = ("Vary", "Accept, Accept-Language")
ICON = (_FOLDER / "icon.svg").read_bytes()


class Reader(NamedTuple):
    """Who a page is for. `chosen`: the language was asked for with `?lang=`, so links keep it."""

    language: str
    chosen: bool
    path: str  # what was asked, percent-encoded, for the language switch
    switches: str = ""  # other parameters to keep, `&noredirect`


def page(status: int, template: str, reader: Reader, *headers: tuple[str, str], **content: object) -> HttpReply:
    """The reply that shows `template`, rendered for `reader`."""
    text = _TEMPLATES.get_template(template).render(
        reader=reader,
        languages=LANGUAGES,
        say=lambda name, /, **parts: word(reader.language, name, **parts),
        path_of=lambda identifier: _path(reader, identifier),
        home=f"/?lang={reader.language}" if reader.chosen else "/",
        **content,
    )
    return reply(
        status, text.encode("utf-8", "replace"), HTML,
        ("Content-Language", {"zh": "zh-CN"}.get(reader.language, reader.language)),
        ("Content-Security-Policy", POLICY),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
        VARY,
        *headers,
    )  # fmt: skip


def reader_of(accept_language: str, lang: str | None, path: str, switches: str = "") -> Reader:
    """The language that `?lang=` or else Accept-Language (RFC 9110, 12.5.4) asks for; English for anything else."""
    if lang in LANGUAGES:
        return Reader(lang, True, path, switches)
    best, best_weight = "en", 0.0
    for part in accept_language.split(",")[:32]:
        tag, _, parameter = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        weight = weight_of(parameter)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return Reader(best, False, path, switches)


def weight_of(parameter: str) -> float:
    """The weight in `q=0.8`, 1 if there is none, 0 if it is no number."""
    name, _, number = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(number)))
    except ValueError:
        return 0.0


def _path(reader: Reader, identifier: str) -> str:
    """The address of an identifier's record page here."""
    return f"{quoted_path(identifier)}?noredirect" + (f"&lang={reader.language}" if reader.chosen else "")


def _moment(seconds: int) -> Markup:
    text = iso_time(seconds)
    return Markup('<time datetime="{}">{} UTC</time>').format(text, text[:19].replace("T", " "))


_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.globals["style"] = Markup(_STYLE)  # noqa: S704  # our own file
_TEMPLATES.filters["moment"] = _moment
_TEMPLATES.filters["day"] = lambda seconds: iso_time(seconds)[:10]
