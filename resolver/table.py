"""The answer table: what resolvers serve from. LMDB: memory-mapped, many readers, no lock on the way of an answer.

It is derived. The registry's publisher writes it from the truth, `waymark table rebuild` makes it again, `waymark table check`
proves it whole. A table is a directory; the file `CURRENT` names the generation in force, so that a rebuilt table takes the place
of the old one in one rename while workers serve. Each generation is an LMDB environment with five databases:

    records   key (canonical identifier) -> stored record (`core.wire.stored`); a key over 500 octets is prefix, slash, NUL, SHA-256
    hashed    prefix, slash, SHA-256 of the suffix -> canonical identifier, where the DNS label is a hash or the key is
    homed     prefix -> JSON: the prefixes this node answers for, and the keys that sign them
    changes   change serial, 8 octets -> key: the newest changes, so that workers forget just those answers
    meta      `serial`: the change serial of the truth up to which this table is complete

What stands in `homed`, `changes` and `meta` ends with a CRC-32 over key and value, as a stored record has one in its head.
"""

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

import lmdb

from resolver.core import limits, trust
from resolver.core.errors import CorruptError, StoreError
from resolver.core.identifier import PREFIX_AUTHORITY, Identifier, fold_prefix, parent_prefix
from resolver.core.message import Answer, NotFound, Outcome, Referral, Refused
from resolver.core.owner import HashedName, is_hashed
from resolver.core.wire.stored import GONE, Stored, read_stored

_MAP_OCTETS = 2**40  # address space, not memory: no table can grow past it, and a process has room for about 100 of them
_FILL_CHANGES = 50_000  # in one transaction of a rebuild: bounds the dirty pages in memory
_LONG_KEY_OCTETS = 500  # LMDB keys end at 511
_SERIAL = Struct(">Q")
_CHECKSUM = Struct(">I")
_DATABASES = (b"records", b"hashed", b"homed", b"changes", b"meta")


class Homed(NamedTuple):
    """A prefix this node answers for. `keys` are the Ed25519 public keys (32 octets) that sign its records, by index."""

    prefix: str
    keys: dict[int, bytes]

    def encode(self) -> bytes:
        return json.dumps({"prefix": self.prefix, "keys": {str(i): trust.jwk(k) for i, k in self.keys.items()}}).encode()

    @classmethod
    def decode(cls, octets: bytes) -> "Homed":
        try:
            document = json.loads(octets)
            keys = {int(i): trust.read_jwk(k, f"key {i} of {document['prefix']}") for i, k in document["keys"].items()}
            return cls(document["prefix"], keys)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptError(f"homed prefix {octets[:80]!r} cannot be read: {error}") from None


class Change(NamedTuple):
    """One change to publish. `key` without a slash is a prefix that is homed (`octets` is `Homed.encode`) or not (None)."""

    serial: int
    key: bytes
    octets: bytes | None


class TableStat(NamedTuple):
    records: int
    homed: int
    serial: int
    octets: int
    generation: str


class Table:
    """A reader. It sees one snapshot until `refresh`."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError if there is no table at `path`."""
        self.path = path
        self._open()

    def _open(self) -> None:
        self._current = current_generation(self.path)
        self._env = _environment(self.path / self._current, readonly=True)
        self._databases = {name: self._env.open_db(name, create=False) for name in _DATABASES}
        self._begin()

    def _begin(self) -> None:
        self._txn = self._env.begin(db=self._databases[b"records"])
        self.get = self._txn.get  # the hot path: key (not longer than 500 octets) -> stored octets, or None
        self.serial = self._read_serial()

    def close(self) -> None:
        self._txn.abort()
        _release(self.path / self._current)

    def refresh(self) -> list[bytes] | None:
        """Moves on to the newest snapshot. Returns the keys that changed; None if they are too many: forget everything."""
        if current_generation(self.path) != self._current:
            self.close()
            self._open()
            return None
        before = self.serial
        self._txn.abort()
        self._begin()
        if self.serial == before:
            return []
        changed = []
        cursor = self._txn.cursor(db=self._databases[b"changes"])
        if not cursor.set_range(_SERIAL.pack(before + 1)) or cursor.key() != _SERIAL.pack(before + 1):
            return None
        for serial, octets in cursor:
            changed.append(unsealed(serial, octets))
        return changed

    def find(self, identifier: Identifier) -> Outcome:
        """What this node says of `identifier`, from the table alone."""
        if isinstance(identifier, HashedName):
            meant = self.unhashed(fold_prefix(identifier.prefix), identifier.digest)
            if meant is None:
                return self.find_absent(fold_prefix(identifier.prefix))
            identifier = meant
        key = identifier.key
        octets = self.get(key if len(key) <= _LONG_KEY_OCTETS else record_key(key))
        if octets is not None:
            stored = read_stored(key, octets)
            return NotFound(self.zone_of(stored.key), stored.issued) if stored.flags & GONE else Answer(stored)
        prefix = fold_prefix(identifier.prefix)
        return self.find_absent(parent_prefix(fold_prefix(identifier.suffix)) if prefix == PREFIX_AUTHORITY else prefix)

    def find_absent(self, prefix: str) -> Outcome:
        """What this node says of a name that it has no record of and whose servers are those of `prefix` (folded)."""
        zone = prefix
        while True:
            if self.is_homed(zone):
                return NotFound(zone)
            octets = self.get(b"0.NA/" + zone.encode())
            if octets is not None and not octets[1] & GONE:
                return Referral(zone, read_stored(b"0.NA/" + zone.encode(), octets))
            if zone == PREFIX_AUTHORITY or zone == "0.0":
                return Refused()
            zone = parent_prefix(zone)

    def is_homed(self, prefix: str) -> bool:
        return self._txn.get(prefix.encode(), db=self._databases[b"homed"]) is not None

    def has_prefixes_below(self, prefix: str) -> bool:
        """Whether a prefix below `prefix` (folded) is homed here, or delegated from here."""
        for database, below in ((b"homed", prefix.encode() + b"."), (b"records", f"{PREFIX_AUTHORITY}/{prefix}.".encode())):
            cursor = self._txn.cursor(db=self._databases[database])
            if cursor.set_range(below) and bytes(cursor.key()).startswith(below):
                return True
        return False

    def zone_of(self, key: bytes) -> str:
        """The homed prefix that a key in the table belongs to."""
        prefix, _, suffix = key.decode().partition("/")
        return parent_prefix(suffix) if prefix == PREFIX_AUTHORITY else prefix

    def unhashed(self, prefix: str, digest: bytes) -> Identifier | None:
        """The identifier below `prefix` (folded) whose suffix has this SHA-256, if its label is a hash."""
        key = self._txn.get(prefix.encode() + b"/" + digest, db=self._databases[b"hashed"])
        return None if key is None else Identifier.decode(key)

    def homed(self) -> list[Homed]:
        return [Homed.decode(unsealed(key, octets)) for key, octets in self._txn.cursor(db=self._databases[b"homed"])]

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every record in key order: the key as stored (long ones hashed), the stored octets."""
        yield from self._txn.cursor(db=self._databases[b"records"])

    def entries(self, database: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Everything in one of the databases, in key order, as it is stored."""
        yield from self._txn.cursor(db=self._databases[database])

    @property
    def data_file(self) -> Path:
        return self.path / self._current / "data.mdb"

    @property
    def transaction(self) -> int:
        """The number of the LMDB transaction whose snapshot this is."""
        return int(self._txn.id())

    def stat(self) -> TableStat:
        entries = {name: int(self._txn.stat(db)["entries"]) for name, db in self._databases.items()}
        return TableStat(entries[b"records"], entries[b"homed"], self.serial, self.data_file.stat().st_blocks * 512, self._current)

    def _read_serial(self) -> int:
        return read_serial(self._txn, self._databases[b"meta"])


class TableWriter:
    """The one writer of a table: the registry's publisher, or a rebuild."""

    def __init__(self, path: Path, bounds: limits.Limits | None = None, generation: str | None = None) -> None:
        """Opens the table at `path`, and makes an empty one if there is none. `generation`: one that is being rebuilt."""
        self.path = path
        self._feed = (bounds or limits.Limits())[limits.change_feed]
        if generation is None and not (path / "CURRENT").exists():
            _make_generation(path, "g000001")
            _set_current(path, "g000001")
        self._generation = path / (generation or current_generation(path))
        self._env = _environment(self._generation, readonly=False, fast=generation is not None)
        self._databases = {name: self._env.open_db(name) for name in _DATABASES}

    def close(self) -> None:
        self._env.sync(True)
        _release(self._generation)

    @property
    def serial(self) -> int:
        with self._env.begin() as txn:
            return read_serial(txn, self._databases[b"meta"])

    def apply(self, changes: Iterable[Change]) -> int:
        """Publishes changes, ascending by serial, in one transaction. Returns the serial that the table now has."""
        try:
            with self._env.begin(write=True) as txn:
                serial = 0
                for serial, key, octets in changes:
                    self._put(txn, key, octets)
                    number = _SERIAL.pack(serial)
                    txn.put(number, sealed(number, key), db=self._databases[b"changes"])
                if serial:
                    txn.put(b"serial", sealed(b"serial", _SERIAL.pack(serial)), db=self._databases[b"meta"])
                    self._prune(txn, serial)
            return serial
        except lmdb.Error as error:
            raise StoreError(f"answer table {self.path} could not be written: {error}") from error

    def fill(self, changes: Iterable[Change], serial: int) -> int:
        """Fills an empty table; see `rebuild`. Ascending keys make full pages, so the table comes out small."""
        written, pending = 0, iter(changes)
        while portion := list(islice(pending, _FILL_CHANGES)):
            with self._env.begin(write=True) as txn:
                for change in portion:
                    self._put(txn, change.key, change.octets, append=True)
                    written += b"/" in change.key
        with self._env.begin(write=True) as txn:
            txn.put(b"serial", sealed(b"serial", _SERIAL.pack(serial)), db=self._databases[b"meta"])
        return written

    def _put(self, txn: lmdb.Transaction, key: bytes, octets: bytes | None, append: bool = False) -> None:
        prefix, slash, suffix = key.partition(b"/")
        if not slash:
            if octets is None:
                txn.delete(key, db=self._databases[b"homed"])
            else:
                txn.put(key, sealed(key, octets), db=self._databases[b"homed"])
            return
        assert octets is not None, "a record is replaced by a gone record, never removed"
        if len(key) > _LONG_KEY_OCTETS or is_hashed(suffix):
            txn.put(prefix + b"/" + sha256(suffix).digest(), key, db=self._databases[b"hashed"])
        stored_key = record_key(key)
        txn.put(stored_key, octets, db=self._databases[b"records"], append=append and stored_key == key)

    def _prune(self, txn: lmdb.Transaction, serial: int) -> None:
        cursor = txn.cursor(db=self._databases[b"changes"])
        oldest_kept = _SERIAL.pack(max(0, serial - self._feed))
        if cursor.first():
            while bytes(cursor.key()) and bytes(cursor.key()) < oldest_kept:
                cursor.delete()


def rebuild(path: Path, changes: Iterable[Change], serial: int) -> int:
    """Makes the table at `path` again and puts it in place of the old one. Returns the number of records.

    `changes` are the newest version of everything: homed prefixes in any order, records ascending by key. Running workers move on
    to the new table by themselves. The publisher must not run meanwhile.
    """
    old = current_generation(path) if (path / "CURRENT").exists() else "g000000"
    new = f"g{int(old[1:]) + 1:06d}"
    _remove_generation(path / new)
    _make_generation(path, new)
    writer = TableWriter(path, generation=new)
    written = writer.fill(changes, serial)
    writer.close()
    _set_current(path, new)
    _remove_generation(path / old)
    return written


def record_key(key: bytes) -> bytes:
    """The key under which the record of a canonical identifier is stored: itself, or for a long one its hash.

    NUL can stand in no identifier, so a hashed key is never that of another one.
    """
    if len(key) <= _LONG_KEY_OCTETS:
        return key
    prefix, _, suffix = key.partition(b"/")
    return prefix + b"/\0" + sha256(suffix).digest()


def sealed(key: bytes, octets: bytes) -> bytes:
    """`octets` as they stand under `key` in a database whose values are not stored records."""
    return octets + _CHECKSUM.pack(crc32(octets, crc32(key)))


def unsealed(key: bytes, octets: bytes) -> bytes:
    """The inverse of `sealed`. Raises CorruptError."""
    inner = octets[:-4]
    if octets[-4:] != _CHECKSUM.pack(crc32(inner, crc32(key))):
        raise CorruptError(f"answer table: what is stored under {key!r} does not match its checksum")
    return inner


def read_serial(txn: lmdb.Transaction, meta: Any) -> int:
    """The change serial of a table, 0 if nothing was published yet."""
    octets = txn.get(b"serial", db=meta)
    return 0 if octets is None else int(_SERIAL.unpack(unsealed(b"serial", bytes(octets)))[0])


def stored_at(table: Table, key: bytes, octets: bytes) -> Stored:
    """The stored record behind an item of `Table.records`, whose key may be a hashed one."""
    prefix, _, suffix = key.partition(b"/")
    if suffix[:1] == b"\0":
        identifier = table.unhashed(prefix.decode(), suffix[1:])
        if identifier is None:
            raise CorruptError(f"answer table: no identifier is known for the hashed key {key!r}")
        key = identifier.key
    return read_stored(key, octets)


# ---- generations


# LMDB allows a process one environment for each path, so that a publisher and a reader in one process share it.
_shared: dict[Path, tuple[lmdb.Environment, int]] = {}


def _environment(path: Path, *, readonly: bool, fast: bool = False) -> lmdb.Environment:
    """The environment at `path`; `fast` leaves durability to the caller. To be given back with `_release`."""
    env, users = _shared.get(path, (None, 0))
    if env is None:
        try:
            env = lmdb.open(
                str(path), map_size=_MAP_OCTETS, max_dbs=len(_DATABASES), readonly=readonly, create=not readonly,
                readahead=False, metasync=False, sync=not fast, max_readers=512,
            )  # fmt: skip
        except lmdb.Error as error:
            raise StoreError(f"answer table {path} cannot be opened: {error}") from error
    _shared[path] = (env, users + 1)
    return env


def _release(path: Path) -> None:
    env, users = _shared.pop(path)
    if users > 1:
        _shared[path] = (env, users - 1)
    else:
        env.close()


def _make_generation(path: Path, name: str) -> None:
    (path / name).mkdir(parents=True)
    env = _environment(path / name, readonly=False)
    for database in _DATABASES:
        env.open_db(database)
    _release(path / name)


def _remove_generation(path: Path) -> None:
    for name in ("data.mdb", "lock.mdb"):
        (path / name).unlink(missing_ok=True)
    if path.exists():
        path.rmdir()


def _set_current(path: Path, name: str) -> None:
    draft = path / "CURRENT.new"
    with open(draft, "w", encoding="ascii") as file:
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path / "CURRENT")


def current_generation(path: Path) -> str:
    """Name of the generation in force in the table at `path`. Raises StoreError if there is none."""
    try:
        return (path / "CURRENT").read_text("ascii").strip()
    except OSError as error:
        raise StoreError(f"there is no answer table at {path} ({error.strerror}); has its registry run yet?") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path / 'CURRENT'} names no generation of an answer table") from None
