"""The data under measurement: a million signed records, the same ones in every run.

    88.101.5/<13 digits>    1 URL 73 octets    2 NAME 30 octets    3 DESC 37 octets

`digits(i)` walks through the 13-digit numbers at random but without repeats, so that counting up asks for, or registers, records in
random order; from `RECORDS` on come numbers that are not registered. (A plain stride would not do: it fills all pages of a B-tree
evenly, so that they all split at once, and the size on the disk would depend on the moment.)

The tables are built once and kept under `build/benchmarks`, and again when the code that decides their octets has changed.
"""

import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from resolver.core import trust
from resolver.core.identifier import Identifier
from resolver.core.record import INDEX_KEY, Record, Value
from resolver.core.wire.stored import encode_stored
from resolver.core.wire.values import encode_values
from resolver.table import Change, Homed, rebuild

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "benchmarks"
PREFIX = "88.101.5"
SECONDARY = "88.101"
RECORDS = 1_000_000
URL_OCTETS, NAME_OCTETS, DESC_OCTETS = 73, 30, 37

_VALID_DAYS = 365
_PORTION = 20_000
_SOURCES = ("benchmarks/data.py", "resolver/table.py", "resolver/core/trust.py", "resolver/core/wire/stored.py",
            "resolver/core/wire/values.py")  # fmt: skip
_lock: list[TextIO] = []  # the open file whose lock this process holds


class Built(NamedTuple):
    """A table of `records` records of PREFIX, and the keys that the prefixes of its node sign with."""

    path: Path
    records: int
    keys: dict[str, Ed25519PrivateKey]  # holder, as in a chain of signatures -> key


def digits(i: int) -> str:
    """The suffix of record `i`: a Feistel network, whose every step can be undone, so that no number comes twice."""
    high, low = divmod(i, 10**7)
    for _ in range(2):
        high = (high + crc32(b"%d" % low)) % 10**6
        low = (low + crc32(b"%d" % high)) % 10**7
    return f"{high:06d}{low:07d}"


def key(i: int) -> bytes:
    return f"{PREFIX}/{digits(i)}".encode()


def texts(suffix: str) -> tuple[tuple[int, str, str], ...]:
    """Index, type and text of the three values of a record."""
    return (
        (1, "URL", f"https://products.example.cn/item/{suffix}?from=id".ljust(URL_OCTETS, "-")),
        (2, "NAME", f"Product number {suffix}".ljust(NAME_OCTETS, ".")),
        (3, "DESC", f"A description of {suffix}".ljust(DESC_OCTETS, ".")),
    )


def values(suffix: str, timestamp: int) -> tuple[Value, ...]:
    return tuple(Value(index, kind, text.encode(), timestamp=timestamp) for index, kind, text in texts(suffix))


def secret(holder: str) -> Ed25519PrivateKey:
    """A key that is the same in every run, so that a table built earlier fits the tree of today. Worth nothing elsewhere."""
    return Ed25519PrivateKey.from_private_bytes(sha256(f"benchmarks {holder}".encode()).digest())


def signed(suffix: str, serial: int, now: int, private: Ed25519PrivateKey) -> Change:
    """One record as the registry would publish it."""
    identifier = Identifier(PREFIX, suffix)
    held = values(suffix, now)
    expires = now + _VALID_DAYS * 86_400
    claims = trust.signing_input(
        identifier.canonical, trust.issuer(identifier), now, now, expires, serial, trust.value_digests(encode_values(held))
    )
    return Change(serial, identifier.key, encode_stored(Record(identifier, held, serial, now, now, expires, private.sign(claims))))


def table(records: int = RECORDS) -> Built:
    """The rebuilt table (ascending keys) of the first `records` records, from `build/` if it is there and still true.

    It is this process's alone until that ends. Raises RuntimeError if another one uses the tables.
    """
    _be_alone()
    path = BUILD / f"table-{records}"
    marker = BUILD / f"table-{records}.json"
    keys = {f"0.NA/{prefix}": secret(prefix) for prefix in ("88", SECONDARY, PREFIX)}
    built_from = _fingerprint()
    known = json.loads(marker.read_text("utf-8")) if marker.exists() else {}
    if known.get("sources") == built_from and known.get("expires", 0) > time.time() + 86_400:
        return Built(path, records, keys)
    print(f"building a table of {records:,} signed records under {path.relative_to(ROOT)}", file=sys.stderr)
    marker.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    now = int(time.time())
    rebuild(path, chain(_homed(), _signed_in_order(records, now)), records)
    marker.write_text(json.dumps({"sources": built_from, "expires": now + _VALID_DAYS * 86_400}), "utf-8")
    return Built(path, records, keys)


def _be_alone() -> None:
    if not _lock:
        BUILD.mkdir(parents=True, exist_ok=True)
        _lock.append((BUILD / "lock").open("w"))
        try:
            fcntl.flock(_lock[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError("another benchmark is running; two at a time would measure each other") from None


def _homed() -> Iterator[Change]:
    for prefix in (SECONDARY, PREFIX):
        public = secret(prefix).public_key().public_bytes_raw()
        yield Change(0, prefix.encode(), Homed(prefix, {INDEX_KEY: public}).encode())


def _signed_in_order(records: int, now: int) -> Iterator[Change]:
    serials = sorted((digits(i), i + 1) for i in range(records))
    portions = [(serials[start : start + _PORTION], now) for start in range(0, records, _PORTION)]
    with ProcessPoolExecutor() as pool:
        for portion in pool.map(_sign_portion, portions):
            yield from portion


def _sign_portion(portion: tuple[list[tuple[str, int]], int]) -> list[Change]:
    serials, now = portion
    private = secret(PREFIX)
    return [signed(suffix, serial, now, private) for suffix, serial in serials]


def _fingerprint() -> str:
    return sha256(b"".join((ROOT / name).read_bytes() for name in _SOURCES)).hexdigest()
