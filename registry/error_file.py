"""The error file of an import: the rows that were refused, as they stood, and behind them what is wrong with each.

A clerk opens it in a spreadsheet, mends the cells and imports it again: the columns that were added are not named by any template.
It is UTF-8 with a byte order mark, without which Excel guesses wrongly, and has the delimiter of the imported file. It is made with
the first refused row, not before.
"""

import csv
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from registry.rows import Fault, Row
from resolver.core.errors import ConfigError, StoreError

ADDED_COLUMNS = ("import_line", "import_column", "import_problem", "import_expected")


class ErrorFile:
    """Opened for writing at most once, by the first row."""

    def __init__(self, path: Path, columns: Sequence[str], delimiter: str) -> None:
        """Raises ConfigError if something stands at `path` that is not an error file: it would be overwritten."""
        self.path = path
        self._columns = [column for column in columns if column not in ADDED_COLUMNS]
        self._delimiter = delimiter
        self._file: IO[str] | None = None
        self._writer: Any = None
        if path.exists() and not _is_error_file(path):
            raise ConfigError(f"{path} exists and is not the error file of an import; name another one with --errors")

    def resume(self, octets: int) -> bool:
        """Goes on behind the first `octets` of what an earlier run left. False if that is not there any more."""
        if octets == 0:
            self.start()
            return True
        if not self.path.exists() or self.path.stat().st_size < octets:
            return False
        self._open("a")
        assert self._file is not None
        self._file.truncate(octets)
        return True

    def start(self) -> None:
        """Nothing of an earlier run is to stay. Raises ConfigError if it cannot be removed."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def write(self, row: Row, fault: Fault) -> None:
        """Adds a refused row. Raises ConfigError if the file cannot be made, StoreError if it cannot be written."""
        if self._file is None:
            self._open("w")
            self._writer.writerow([*self._columns, *ADDED_COLUMNS])
        cells = [row.cells.get(column, "") for column in self._columns]
        try:
            self._writer.writerow([*cells, row.line, *fault])
        except OSError as error:
            raise self._unwritable(error) from None

    def flush(self) -> int:
        """Puts what was written into the file. Its length in octets. Raises StoreError if it cannot be written."""
        if self._file is None:
            return 0
        try:
            self._file.flush()
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(f"the error file {self.path} cannot be written: {error.strerror}; name another with --errors")

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"the error file {self.path} cannot be written: {error.strerror}; make room and give the command again")

    def _open(self, mode: str) -> None:
        encoding = "utf-8-sig" if mode == "w" else "utf-8"
        try:
            self._file = self.path.open(mode, encoding=encoding, errors="backslashreplace", newline="")
        except OSError as error:
            raise ConfigError(
                f"the error file {self.path} cannot be written: {error.strerror}; name another with --errors"
            ) from None
        self._writer = csv.writer(self._file, delimiter=self._delimiter)


def _is_error_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.readline(1 << 20)
    except OSError as error:
        raise ConfigError(f"the error file {path} cannot be used: {error.strerror}; name another with --errors") from None
    return not head or ADDED_COLUMNS[0].encode() in head
