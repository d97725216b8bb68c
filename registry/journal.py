"""The journal of an import: how many rows are settled, so that a run that was killed is taken up behind them.

It is one small file, replaced as a whole (write, rename) after rows were acknowledged and never before, and removed when all are. A
fingerprint binds it to the content of the imported file and to the options that decide what becomes of a row: with another file or
other options the import begins at the first row. That is always right, since registering the same twice changes nothing; the
journal saves time, and keeps the error file free of doubles.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from resolver.core.errors import ConfigError

_FORMAT = 1
_HEAD = b'{"format": '
_FIELDS = ("rows", "registered", "replaced", "unchanged", "rejected", "error_octets")


class Settled(NamedTuple):
    """How far an import has come: rows in file order of which all is known, by outcome, and the length of the error file then."""

    rows: int = 0
    registered: int = 0
    replaced: int = 0
    unchanged: int = 0
    rejected: int = 0
    error_octets: int = 0


class Journal:
    """The journal at `path` for one import."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self._fingerprint = fingerprint
        self._new = path.with_name(path.name + ".new")

    def read(self) -> Settled | None:
        """What an earlier run of the same import left; None if there is nothing that fits.

        Raises ConfigError if something else stands at `path`: it would be overwritten.
        """
        try:
            octets = self.path.read_bytes()
        except OSError:
            return None
        if octets and not octets.startswith(_HEAD):  # a power cut may leave it empty
            raise ConfigError(f"{self.path} exists and is not the journal of an import; name another with --journal")
        try:
            document = json.loads(octets)
            if document["format"] != _FORMAT or document["fingerprint"] != self._fingerprint:
                return None
            counts = [document[field] for field in _FIELDS]
        except (ValueError, KeyError, TypeError):
            return None
        return Settled(*counts) if all(type(count) is int and count >= 0 for count in counts) else None

    def write(self, settled: Settled) -> None:
        """Raises ConfigError if it cannot be written."""
        document = {"format": _FORMAT, "fingerprint": self._fingerprint} | settled._asdict()
        try:
            self._new.write_text(json.dumps(document) + "\n", "ascii")
            os.replace(self._new, self.path)
        except OSError as error:
            raise ConfigError(f"the journal {self.path} cannot be written: {error.strerror}; name another with --journal") from None

    def remove(self) -> None:
        with suppress(OSError):
            self._new.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)


def fingerprint(path: Path, options: object) -> str:
    """SHA-256 over the content of the file and the options, which must be JSON."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps([content, options]).encode()).hexdigest()
