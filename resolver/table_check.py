"""The check that proves an answer table whole, designed before what writes it.

Checked are the pages of the file (`table_pages`), and then, of what they hold:

    every record     its checksum, its layout, its canonical key; that a look-up finds what the walk finds
    every signature  made by the key of the homed prefix that the record belongs to, over exactly these values, not expired
    every delegation keys and servers that can be read; the key of a prefix homed here as well is the one it is homed with
    hashed           leads to a record for every name whose DNS label is a hash, and to nothing else
    homed            readable; at the root, the keys are those of the trust anchor if one is given
    serials          no record is newer than the table; the newest changes lead up to the table's serial without a gap

Any octet of these that changes is found. An octet in which nothing is stored (a free page, the gap within a page) can change
without consequence and is not found. LMDB may end the process over a damaged file, so all this happens in child processes, and a
child that dies is a finding too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from resolver.anchor import Anchor
from resolver.core import trust
from resolver.core.errors import CorruptError, StoreError, WaymarkError
from resolver.core.identifier import PREFIX_AUTHORITY, ROOT, fold_prefix, scope
from resolver.core.owner import is_hashed
from resolver.core.record import TYPE_SITE, Record
from resolver.core.wire.site import decode_site
from resolver.core.wire.stored import decode_stored, encode_stored, read_stored
from resolver.table import Homed, Table, current_generation, record_key, stored_at, unsealed
from resolver.table_pages import Pages

_PROGRESS_RECORDS = 10_000
_SEVERAL_OCTETS = 32 * 2**20  # a larger file is checked by several processes
_PROCESSES = 4
_PROBLEMS = 1000  # shown of one process; after that the table is known to be broken
_NO_KEYS = (ROOT, "0.NA/0.0")  # prefix records of the root itself: they name servers, the anchor names the keys


class Problem(NamedTuple):
    """One thing that is not as it should be. `place`: an identifier, a prefix, a database, or the file."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def check_table(path: Path, progress: Callable[[int], None] | None = None, anchor: Anchor | None = None) -> Iterator[Problem | int]:
    """Everything that is wrong with the table at `path`; at the end the number of records that were checked.

    The table may be in use and may be written meanwhile. `progress` is told how many records are done. Never raises for a damaged
    table; raises StoreError if there is none.
    """
    parts = min(os.cpu_count() or 1, _PROCESSES) if _data_file(path).stat().st_size > _SEVERAL_OCTETS else 1
    keys = None if anchor is None else {str(index): trust.jwk(key) for index, key in anchor.keys.public.items()}
    children = []
    for part in range(parts):
        settings = json.dumps({"path": str(path), "part": part, "parts": parts, "anchor": keys})
        command = [sys.executable, "-m", "resolver.table_check", settings]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
    try:
        yield from _listen(children, progress)
    finally:
        for child in children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()


def _listen(children: Sequence["subprocess.Popen[str]"], progress: Callable[[int], None] | None) -> Iterator[Problem | int]:
    done = [0] * len(children)
    for number, child in enumerate(children):
        assert child.stdout is not None
        finished = False
        for line in child.stdout:
            kind, *rest = json.loads(line)
            if kind == "problem":
                yield Problem(*rest)
                continue
            done[number] = rest[0]
            finished = kind == "done"
            if progress is not None:
                progress(sum(done))
        status = child.wait()
        if not finished:
            yield Problem("file", f"the check itself ended with status {status} over it: its pages are damaged")
    yield sum(done)


def _data_file(path: Path) -> Path:
    file = path / current_generation(path) / "data.mdb"
    try:
        file.stat()
    except (OSError, ValueError) as error:
        raise StoreError(f"answer table {path}: {file} cannot be read: {error}") from None
    return file


# ---- in the child


class _Check:
    """One pass over the table. Part 0 checks everything that is not a record's own, and each part its share of the records."""

    def __init__(self, path: Path, part: int, parts: int, anchor: dict[int, bytes] | None) -> None:
        self._table = Table(path)
        self._part = part
        self._parts = parts
        self._anchor = anchor
        self._now = int(time.time())
        self._keys: dict[str, dict[int, Ed25519PublicKey]] = {}
        self._homed: dict[str, Homed] = {}
        self.records = 0

    def problems(self) -> Iterator[Problem]:
        fault = self._page_fault()
        if fault is not None:  # LMDB must not walk such a file: it may go in circles
            if self._part == 0:
                yield Problem("file", fault)
            return
        try:
            yield from self._read_homed()
            yield from self._walk_records()
            if self._part == 0:
                yield from self._walk_hashed()
                yield from self._walk_changes()
        except (WaymarkError, lmdb.Error) as error:
            yield Problem("file", str(error))

    def _page_fault(self) -> str | None:
        try:
            with closing(Pages(self._table.data_file, self._table.transaction)) as pages:
                pages.check()
        except (CorruptError, OSError) as error:
            return str(error)
        return None

    def _read_homed(self) -> Iterator[Problem]:
        for prefix, octets in self._table.entries(b"homed"):
            try:
                inner = unsealed(prefix, octets)
                homed = Homed.decode(inner)
                if homed.encode() != inner or homed.prefix.encode() != prefix or not homed.keys:
                    raise CorruptError("it is not written as the publisher writes it")
            except CorruptError as error:
                yield Problem(f"homed prefix {prefix.decode('utf-8', 'replace')}", str(error))
                continue
            self._homed[homed.prefix] = homed
            self._keys[homed.prefix] = {i: Ed25519PublicKey.from_public_bytes(key) for i, key in homed.keys.items()}
            if (
                self._anchor is not None
                and homed.prefix in ("0.0", PREFIX_AUTHORITY)
                and not homed.keys.items() <= self._anchor.items()
            ):
                yield Problem(homed.prefix, "is homed with other keys than those of the trust anchor")

    def _walk_records(self) -> Iterator[Problem]:
        previous = b""
        for number, (stored_key, octets) in enumerate(self._table.records()):
            if stored_key <= previous:
                yield Problem(_shown(stored_key), "stands out of order")
            previous = stored_key
            if number % self._parts != self._part:
                continue
            try:
                self._check_record(stored_key, octets)
            except WaymarkError as error:
                yield Problem(_shown(stored_key), str(error))
            self.records += 1
            if self.records % _PROGRESS_RECORDS == 0:
                _say("progress", self.records)

    def _check_record(self, stored_key: bytes, octets: bytes) -> None:
        """Raises WaymarkError for whatever is wrong with one record."""
        key = stored_at(self._table, stored_key, octets).key
        record = decode_stored(key, octets)
        name = record.identifier
        if name.key != key or record_key(key) != stored_key:
            raise CorruptError(f"its canonical spelling is {name.canonical}")
        if self._table.get(stored_key) != octets:
            raise CorruptError("a look-up finds something else than the walk")
        if encode_stored(record) != octets:
            raise CorruptError("it is not written as the registry writes it")
        if record.serial > self._table.serial:
            raise CorruptError(f"has serial {record.serial}; the table only goes up to {self._table.serial}")
        prefix, _, suffix = key.partition(b"/")
        if is_hashed(suffix) and self._table.unhashed(prefix.decode(), sha256(suffix).digest()) != name:
            raise CorruptError("its DNS label is a hash, and no entry leads from there to it")
        if not record.gone:
            self._check_signature(record, octets)
            if name.is_prefix_record and name.canonical not in _NO_KEYS:
                self._check_delegation(record)

    def _check_signature(self, record: Record, octets: bytes) -> None:
        name = record.identifier
        keys = self._keys.get(scope(name))
        if keys is None:
            raise CorruptError(f"{scope(name)} is not homed in this table")
        key = keys.get(record.key_index)
        if key is None:
            raise CorruptError(f"is signed by key {record.key_index}, which {scope(name)} does not have")
        stored = read_stored(name.key, octets)
        signed = stored.jws.rpartition(b".")[0]
        try:
            key.verify(record.signature, signed)
        except InvalidSignature:
            raise CorruptError(f"key {record.key_index} of {scope(name)} did not make its signature") from None
        if record.expires <= self._now:
            raise CorruptError(f"its signature expired {self._now - record.expires} s ago")
        if any(one.index >= other.index for one, other in pairwise(record.values)):
            raise CorruptError("its values are not in ascending order of their indexes")

    def _check_delegation(self, record: Record) -> None:
        keys = trust.public_keys(record.values, record.identifier.canonical)
        sites = [decode_site(value.data) for value in record.values if value.type == TYPE_SITE]
        if not any(site.servers for site in sites):
            raise CorruptError("names no server")
        homed = self._homed.get(fold_prefix(record.identifier.suffix))
        if homed is not None and not homed.keys.items() <= keys.items():
            raise CorruptError("names other keys than those with which the prefix is homed here")

    def _walk_hashed(self) -> Iterator[Problem]:
        for place, key in self._table.entries(b"hashed"):
            prefix, _, suffix = key.partition(b"/")
            if place != prefix + b"/" + sha256(suffix).digest() or self._table.get(record_key(key)) is None:
                yield Problem(
                    f"hashed name {place!r}", f"leads to {_shown(key)}, which it is not the hash of, or which does not exist"
                )

    def _walk_changes(self) -> Iterator[Problem]:
        expected, newest = None, 0
        for number, octets in self._table.entries(b"changes"):
            newest = int.from_bytes(number, "big")
            if expected is not None and newest != expected:
                yield Problem("changes", f"change {newest} follows change {expected - 1}")
            expected = newest + 1
            try:
                self._check_change(newest, unsealed(number, octets))
            except CorruptError as error:
                yield Problem(f"change {newest}", str(error))
        if expected is not None and newest != self._table.serial:
            yield Problem("changes", f"they end with {newest}; the table's serial is {self._table.serial}")

    def _check_change(self, serial: int, key: bytes) -> None:
        if b"/" not in key:
            return
        octets = self._table.get(record_key(key))
        if octets is None or read_stored(key, octets).serial < serial:
            raise CorruptError(f"is of {_shown(key)}, which has no record of that serial or a later one")


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _say(*line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _main(settings: dict[str, Any]) -> None:
    anchor = settings["anchor"]
    keys = None if anchor is None else {int(i): trust.read_jwk(key, f"anchor key {i}") for i, key in anchor.items()}
    check = None
    try:
        check = _Check(Path(settings["path"]), settings["part"], settings["parts"], keys)
        for problem in islice(check.problems(), _PROBLEMS):
            _say("problem", *problem)
    except (WaymarkError, lmdb.Error) as error:
        _say("problem", "file", str(error))
    _say("done", 0 if check is None else check.records)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
