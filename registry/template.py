"""Templates: text with the names of columns in braces, `88.101.5/{gtin}`, filled from the cells of a row.

Spaces around a cell are dropped. `{{` and `}}` are braces themselves. A value is written `[INDEX:]TYPE[@TTL]=TEMPLATE`:

    URL=https://example.org/{gtin}      index by its place on the command line, TTL as usual
    3:URL@3600={image_url}              index 3, one hour
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from resolver.core.errors import ConfigError

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")
_VALUE = re.compile(r"(?:([0-9]{1,10}):)?([^=@]+)(?:@([0-9]{1,10}))?=(.*)", re.DOTALL)
_INDEX_MAX, _TTL_MAX = 2**31 - 1, 2**32 - 1
_SHOWN_COLUMNS = 30


class Template:
    """Literal text and columns in turn. `columns` are those it names, in order."""

    __slots__ = ("_literals", "columns", "text")

    def __init__(self, text: str) -> None:
        """Raises ConfigError for braces that do not pair."""
        self.text = text
        literals, columns, end = [""], [], 0
        for piece in _PIECE.finditer(text):
            literals[-1] += text[end : piece.start()]
            end = piece.end()
            if piece[1] is not None:
                columns.append(piece[1].strip())
                literals.append("")
            elif piece[0] in ("{{", "}}"):
                literals[-1] += piece[0][0]
            else:
                raise ConfigError(f"{text!r}: the brace at character {piece.start() + 1} has no partner; a column is {{name}}, "
                                  "a brace itself is written twice")  # fmt: skip
        literals[-1] += text[end:]
        self._literals = tuple(literals)
        self.columns = tuple(columns)

    def fill(self, cells: Mapping[str, str]) -> str | None:
        """The text for one row, or None if a column that it names is empty or absent there."""
        parts = [self._literals[0]]
        for column, literal in zip(self.columns, self._literals[1:], strict=True):
            cell = cells.get(column, "").strip()
            if not cell:
                return None
            parts += (cell, literal)
        return "".join(parts)

    def check(self, columns: Iterable[str]) -> None:
        """Raises ConfigError for a column that the file does not have; it lists those that it has."""
        known = list(columns)
        for column in self.columns:
            check_column(column, known, repr(self.text))


class ValueTemplate(NamedTuple):
    """What becomes one value of the record; `ttl` is None for the usual one."""

    index: int  # type: ignore[assignment]  # the field's word in RFC 3651; hides tuple.index, which nobody needs here
    type: str
    ttl: int | None
    data: Template

    @classmethod
    def parse(cls, text: str, index: int) -> "ValueTemplate":
        """Reads `[INDEX:]TYPE[@TTL]=TEMPLATE`; `index` is taken if it names none. Raises ConfigError."""
        index, type_, ttl, data = _parts(text, index)
        return cls(index, type_, ttl, Template(data))

    def fill(self, cells: Mapping[str, str]) -> dict[str, Any] | None:
        """The value for one row in the API's shape, or None if a column that it names is empty or absent there."""
        data = self.data.fill(cells)
        return None if data is None else _document(self.index, self.type, self.ttl, data)


def parse_value(text: str, index: int) -> dict[str, Any]:
    """Reads `[INDEX:]TYPE[@TTL]=DATA` as a value in the API's shape; DATA is taken as it is. Raises ConfigError."""
    return _document(*_parts(text, index))


def check_column(column: str, known: list[str], place: str) -> None:
    """Raises ConfigError unless the file has this column."""
    if column in known:
        return
    same = [name for name in known if name.casefold() == column.casefold()]
    near = same or difflib.get_close_matches(column, known, 1)
    meant = f" (did you mean {{{near[0]}}}?)" if near else ""
    listed = ", ".join(known[:_SHOWN_COLUMNS]) + (", …" if len(known) > _SHOWN_COLUMNS else "")
    raise ConfigError(f"{place}: the file has no column {column!r}{meant}; it has: {listed}")


def _parts(text: str, index: int) -> tuple[int, str, int | None, str]:
    found = _VALUE.fullmatch(text)
    if found is None or not found[2].isprintable() or found[2] != found[2].strip():
        raise ConfigError(
            f"--value {text!r} must be [INDEX:]TYPE[@TTL]=TEXT, for example URL={{image_url}} or 3:NAME@3600={{name}}"
        )
    if found[1] is not None:
        index = int(found[1])
    if not 1 <= index <= _INDEX_MAX:
        raise ConfigError(f"--value {text!r}: the index must be from 1 to {_INDEX_MAX}")
    ttl = None if found[3] is None else int(found[3])
    if ttl is not None and ttl > _TTL_MAX:
        raise ConfigError(f"--value {text!r}: the TTL must be at most {_TTL_MAX} seconds")
    return index, found[2], ttl, found[4]


def _document(index: int, type_: str, ttl: int | None, data: str) -> dict[str, Any]:
    document: dict[str, Any] = {"index": index, "type": type_, "data": data}
    return document if ttl is None else document | {"ttl": ttl}
