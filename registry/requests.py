"""What a request says beside its body: the token, the identifier in its address, conditions, paging.

Everything here either returns what was asked for or raises `Refusal` with the place and the rule.
"""

import re
from base64 import b64decode, urlsafe_b64encode
from itertools import count
from secrets import token_hex
from urllib.parse import unquote_to_bytes

from aiohttp import web

from registry.problems import Refusal
from resolver.core import limits
from resolver.core.errors import IdentifierError
from resolver.core.identifier import Identifier, check_prefix, fold_prefix

JSON = "application/json"
NDJSON = "application/x-ndjson"
NDJSON_NAMES = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines")

_ENTITY_TAG = re.compile(r'"([1-9][0-9]{0,18})"')
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_THIS_PROCESS, _REQUESTS = token_hex(4), count(1)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


# ---- headers


def bearer_secret(request: web.Request) -> str:
    """The secret of `Authorization: Bearer <secret>` (RFC 6750, 2.1)."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Refusal("no-token", "the header Authorization: Bearer <token> is missing", "Authorization", _challenge())
    return secret.strip()


def _challenge(*more: str) -> dict[str, str]:
    return {"WWW-Authenticate": ", ".join(('Bearer realm="waymark"', *more))}


def refused_secret() -> Refusal:
    return Refusal("bad-token", "the token is unknown or was revoked", "Authorization", _challenge('error="invalid_token"'))


def request_id(request: web.BaseRequest) -> str:
    """The client's own name for this request, if it gave one that is safe to repeat; else a new one, unique over restarts."""
    sent = request.headers.get("X-Request-Id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else f"{_THIS_PROCESS}-{next(_REQUESTS):x}"


def entity_tag(serial: int) -> str:
    """A record's ETag: its serial."""
    return f'"{serial}"'


def if_match(request: web.Request) -> int | None:
    """The serial that the record must have; None without the header, and for "*", see `any_match`."""
    sent = request.headers.get("If-Match", "*").strip()
    if sent == "*":
        return None
    tag = _ENTITY_TAG.fullmatch(sent)
    if tag is None:
        raise Refusal(
            "bad-header", f'If-Match must be one ETag as a GET gave it, such as "17", or *; not {sent[:60]!r}', "If-Match"
        )
    return int(tag[1])


def any_match(request: web.Request) -> bool:
    """Whether If-Match asks for any record that exists. Where there must be one anyway this says nothing (RFC 9110, 13.2.1)."""
    return request.headers.get("If-Match", "").strip() == "*"


def none_match(request: web.Request, serial: int | None) -> bool:
    """Whether If-None-Match rules out a record with this serial (RFC 9110, 13.1.2)."""
    sent = request.headers.get("If-None-Match", "")
    tags = [tag.strip().removeprefix("W/") for tag in sent.split(",")]
    return serial is not None and ("*" in tags or entity_tag(serial) in tags)


def idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= limits.idempotency_key_octets.default and key.isascii() and key.isprintable()):
        most = limits.idempotency_key_octets.default
        raise Refusal("bad-header", f"Idempotency-Key must be 1 to {most} printable ASCII characters", "Idempotency-Key")
    return key


def check_media_type(request: web.Request, *names: str) -> None:
    if request.content_type not in names or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        sent = request.headers.get("Content-Type", "nothing")[:60]
        raise Refusal(
            "bad-media-type", f"Content-Type must be {names[0]} in UTF-8, not {sent}", "Content-Type", {"Accept": names[0]}
        )


# ---- address


def identifier_in(request: web.Request, resource: str) -> Identifier:
    """The identifier behind `resource` in the address: a literal slash, the suffix percent-decoded once and never again."""
    raw = request.rel_url.raw_path.removeprefix(resource)
    prefix, slash, suffix = raw.partition("/")
    if bad := _BAD_ESCAPE.search(raw):
        raise Refusal(
            "bad-identifier", f"% without two hexadecimal digits at character {bad.start() + 1} of {raw[:60]!r}", "address"
        )
    try:
        return Identifier.parse(prefix + slash + unquote_to_bytes(suffix).decode())
    except UnicodeDecodeError as error:
        raise Refusal("bad-identifier", f"the suffix is not UTF-8 at octet {error.start}", "address") from None
    except IdentifierError as error:
        raise Refusal("bad-identifier", str(error), "address") from None


def prefix_in(text: str, place: str) -> str:
    """A prefix, folded."""
    try:
        check_prefix(text)
    except IdentifierError as error:
        raise Refusal("bad-identifier", str(error), place) from None
    return fold_prefix(text)


def number_in(request: web.Request, name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` among the query parameters."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and 1 <= int(text) <= most):
        raise Refusal("bad-parameter", f"{name} must be a whole number from 1 to {most}, not {text[:40]!r}", name)
    return int(text)


def check_parameters(request: web.Request, *known: str) -> None:
    """Refuses a query parameter that nobody reads: a misspelt filter must not pass in silence."""
    for name in request.query:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise Refusal("bad-parameter", f"there is no parameter {name[:40]!r} here; known: {listed}", name[:40])


def cursor_after(request: web.Request) -> str | None:
    """The canonical spelling behind which a page begins. A cursor is opaque to clients, and nothing but this spelling to us: so it
    stays good whatever is written, also when its record is deleted."""
    cursor = request.query.get("cursor")
    if cursor is None:
        return None
    try:
        return b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise Refusal("bad-parameter", "cursor must be what the page before gave as next", "cursor") from None


def cursor_of(spelling: str) -> str:
    return urlsafe_b64encode(spelling.encode()).rstrip(b"=").decode()
