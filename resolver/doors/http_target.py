"""Request targets: the path, percent-decoded once, and the parameters of the query (RFC 3986, 3.3 and 3.4).

`+` is no space, in the path or in the query: identifiers hold plus signs. A parameter that is a switch is on when it stands there
empty, or says `true` or `yes`.
"""

from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError

KEY_OCTETS_MAX = 500  # longer ones are stored under a hash
_PARAMETERS_MAX = 2 * limits.handle_filter_items.most


class Target(NamedTuple):
    path: str
    parameters: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(content for known, content in self.parameters if known == name)

    def first(self, name: str) -> str | None:
        return next((content for known, content in self.parameters if known == name), None)

    def switch(self, name: str) -> bool:
        return self.first(name) in ("", "true", "yes")


def read_target(octets: bytes) -> Target:
    """The path and parameters of a target that starts with a slash. Raises FormatError."""
    path, _, query = octets.partition(b"#")[0].partition(b"?")
    pairs = query.split(b"&", _PARAMETERS_MAX) if query else []
    if len(pairs) > _PARAMETERS_MAX:
        raise LimitError(f"more than {_PARAMETERS_MAX} parameters in the query")
    parameters = []
    for pair in pairs:
        name, _, content = pair.partition(b"=")
        parameters.append((_decoded(name, "the query"), _decoded(content, "the query")))
    return Target(_decoded(path, "the path"), tuple(parameters))


def origin_form(octets: bytes) -> bytes:
    """The target from its slash on; `http://host/path` is read as well (RFC 9112, 3.2.2). Raises FormatError."""
    if octets.startswith(b"/"):
        return octets
    scheme, _, rest = octets.partition(b"://")
    if scheme.lower() not in (b"http", b"https"):
        raise FormatError("the target of a request must start with a slash")
    return b"/" + rest.partition(b"/")[2]


def stored_key(path: bytes) -> bytes | None:
    """The key in the answer table of the identifier in a raw path; None if only reading it in full can tell.

    No syntax is checked: what is found under the key is an identifier, what is not found gets the full reading.
    """
    if b"?" in path or b"#" in path:
        return None
    name = unquote_to_bytes(path) if b"%" in path else path
    prefix, slash, suffix = name.partition(b"/")
    if not slash or len(name) > KEY_OCTETS_MAX or b"\0" in name:  # a key with NUL stands for a long identifier
        return None
    prefix = prefix.upper()
    if not suffix.isascii():
        try:
            suffix = normalize("NFC", suffix.decode()).encode()
        except UnicodeDecodeError:
            return None
    if prefix == b"0.NA":
        suffix = suffix.upper()
    return prefix + b"/" + suffix


def quoted_path(identifier: str) -> str:
    """The path under which a door of ours has `identifier`."""
    return "/" + quote(identifier, safe="/:@!$'()*,;=-._~")


def _decoded(octets: bytes, place: str) -> str:
    try:
        return unquote_to_bytes(octets).decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{place}, percent-decoded, is not UTF-8 at octet {error.start}") from None
