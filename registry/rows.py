"""Rows of a file that a person exported: CSV or NDJSON, perhaps gzipped, in any usual encoding (see `encoding`).

NDJSON is seen by a first `{`, the delimiter of CSV by counting in the header. A row that cannot be read becomes a row with a fault,
and reading goes on behind it: an unclosed quote would swallow the rows that follow, so from the line behind the one where the
broken row began. Memory is bounded: `import_row_characters` for a row, whatever the file is.
"""

import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Self

from registry.encoding import UNREADABLE, find_encoding, open_content, reason
from resolver.core import limits
from resolver.core.errors import ConfigError, CorruptError, FormatError, LimitError

DELIMITERS = ",;\t|"

_FIRST_LINES = 100  # of an NDJSON file: their members together are its columns
_REREADS = 200  # broken rows after which the lines that they took are read again; a file of nothing else must end


class Fault(NamedTuple):
    """What is wrong in a row. `column` is empty where it is the row as a whole; `expected` says it in a few words."""

    column: str
    problem: str
    expected: str


class Row(NamedTuple):
    """One row. `number` counts rows from 1, `line` is the line of the file on which it begins, `cells` are as they stand there."""

    number: int
    line: int
    cells: dict[str, str]
    fault: Fault | None = None


class RowFile:
    """An opened file: how it was read, its columns, and its rows once over. To be used in a `with`."""

    def __init__(self, path: Path, encoding: str | None = None, delimiter: str | None = None) -> None:
        """Raises ConfigError if the file cannot be opened, FormatError if it cannot be read."""
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ConfigError(f"the delimiter must be one character other than a quote, not {delimiter!r}")
        self.encoding = find_encoding(path, encoding)
        self._raw, content = open_content(path)
        self._text = io.TextIOWrapper(content, encoding=self.encoding, newline="")
        try:
            self.octets = path.stat().st_size
            self.is_zipped = content is not self._raw
            lines = _Lines(self._text, path)
            first = lines.peek()
            self.is_ndjson = first.lstrip().startswith("{")
            self.delimiter = "," if self.is_ndjson else delimiter or _delimiter(first)
            if self.is_ndjson:
                rows = _ndjson_rows(lines)
                looked_at = list(islice(rows, _FIRST_LINES))
                self.columns = tuple(dict.fromkeys(name for row in looked_at for name in row.cells))
                self._rows = chain(looked_at, rows)
            else:
                reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
                self.columns = _header(reader, path)
                self._rows = chain(_csv_rows(reader, lines, self.columns))
        except BaseException:
            self.__exit__()
            raise

    @property
    def octets_read(self) -> int:
        """How far into the file, as it lies on the disk, reading has come."""
        return self._raw.tell()

    @property
    def description(self) -> str:
        """`CSV, gb18030, delimiter ';', gzipped`"""
        names = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "gb18030": "GB18030"}
        parts = ["NDJSON" if self.is_ndjson else "CSV", names.get(self.encoding, self.encoding)]
        if not self.is_ndjson and self.delimiter != ",":
            parts.append("delimiter tab" if self.delimiter == "\t" else f"delimiter {self.delimiter!r}")
        return ", ".join([*parts, "gzipped"] if self.is_zipped else parts)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self._raw.close()  # which closing a gzip stream does not


# ---- CSV


def _csv_rows(reader: Iterator[list[str]], lines: "_Lines", columns: tuple[str, ...]) -> Iterator[Row]:
    number = rereads = 0
    while True:
        lines.begin_row()
        line, cells, fault = lines.number + 1, [], None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, LimitError) as error:
            fault = Fault(
                "", f"the row cannot be read: {error} (line {lines.number})", 'quotes in pairs, a quote inside written ""'
            )
            if rereads < _REREADS:
                lines.go_back()
                rereads += 1
        if not cells and fault is None:
            continue  # an empty line
        number += 1
        if fault is None and len(cells) != len(columns):
            wanted = f"{len(columns)} columns"
            fault = Fault("", f"the row has {len(cells)} columns, the header has {len(columns)}", wanted)
        yield Row(number, line, dict(zip(columns, cells, strict=False)), fault)


def _header(reader: Iterator[list[str]], path: Path) -> tuple[str, ...]:
    try:
        columns = [cell.strip() for cell in next(reader)]
    except (csv.Error, LimitError, StopIteration) as error:
        raise FormatError(f"{path}: the first row must have the column names, but cannot be read: {error}") from None
    if len(columns) > limits.import_columns.default:
        raise FormatError(f"{path} has {len(columns)} columns; at most {limits.import_columns.default} are allowed")
    named = [name or f"column {place}" for place, name in enumerate(columns, 1)]
    seen: set[str] = set()
    for name in named:
        if name in seen:
            raise FormatError(f"{path}: two columns are called {name!r}; give each its own name")
        seen.add(name)
    return tuple(named)


def _delimiter(header: str) -> str:
    """The candidate that the header has most of outside quotes; a comma if it has none."""
    bare = re.sub('"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


# ---- NDJSON


def _ndjson_rows(lines: "_Lines") -> Iterator[Row]:
    number = 0
    while True:
        lines.begin_row()
        cells: dict[str, str] = {}
        fault = None
        try:
            text = next(lines)
            if not text.strip():
                continue
            cells = _cells(text)
        except StopIteration:
            return
        except FormatError as error:
            fault = Fault("", str(error), "one JSON object in a line")
        number += 1
        yield Row(number, lines.number, cells, fault)


def _cells(text: str) -> dict[str, str]:
    """Numbers keep the spelling that they have in the file; null is an empty cell; lists and objects stay JSON."""
    try:
        document = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise FormatError(f"the line is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise FormatError("the line is not JSON of any use: it is nested too deep") from None
    if not isinstance(document, dict):
        raise FormatError("the line is JSON, but not an object")
    if len(document) > limits.import_columns.default:
        raise FormatError(f"the line has {len(document)} members; at most {limits.import_columns.default} are allowed")
    return {name: _cell(value) for name, value in document.items()}


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


# ---- lines


class _Lines:
    """The lines of a text, counted. Raises LimitError where the lines of one row pass the bound; the next call goes on behind."""

    def __init__(self, stream: io.TextIOWrapper, path: Path) -> None:
        self._stream, self._path = stream, path
        self._again: deque[str] = deque()  # to be read once more
        self._row: list[str] = []
        self._room = 0
        self.number = 0

    def begin_row(self) -> None:
        self._row.clear()
        self._room = limits.import_row_characters.default

    def go_back(self) -> None:
        """To the second line of this row."""
        self._again.extendleft(reversed(self._row[1:]))
        self.number -= len(self._row[1:])

    def peek(self) -> str:
        """The first line that is not blank, which stays the next to be read."""
        self.begin_row()
        for line in self:
            if line.strip("\ufeff \t\r\n"):
                self._again.append(line)
                self.number -= 1
                self.begin_row()
                return line
            self.begin_row()
        raise FormatError(f"{self._path} is empty; the first row must have the column names")

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self._room -= len(line)
        if self._room >= 0:
            self._row.append(line)
            return line
        if len(line) <= limits.import_row_characters.default:  # it may well be a row of its own
            self._again.appendleft(line)
            self.number -= 1
        else:
            while line and line[-1] not in "\r\n":
                line = self._read()
            self._row.append("\n")
        raise LimitError(f"it passes {limits.import_row_characters.default} characters")

    def _read(self) -> str:
        try:
            return self._stream.readline(limits.import_row_characters.default + 1)
        except UNREADABLE as error:
            raise CorruptError(f"{self._path} cannot be read behind line {self.number}: {reason(error)}") from None
