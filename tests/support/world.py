"""A small signed world for tests: keys, records, delegations and answer tables, without a registry.

world = World()
world.delegate("88"); world.delegate("88.118")
world.put("88.118/ABC", Value(1, "URL", b"https://example.org/"))
world.publish("88.118", tmp_path / "table")      # a table as the node of 88.118 would have it
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from resolver.anchor import Anchor
from resolver.core import trust
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, Identifier, fold_prefix, prefix_record, scope, signer
from resolver.core.record import INDEX_KEY, INDEX_SITE, INDEX_SITE_PREFIX, TYPE_KEY, TYPE_SITE, TYPE_SITE_PREFIX, Record, Value
from resolver.core.wire.site import Site, encode_site, one_server_site
from resolver.core.wire.stored import encode_stored
from resolver.core.wire.values import decode_values, encode_values
from resolver.table import Change, Homed, TableWriter

DAY = 86_400


def site(port: int, http_port: int = 8000, address: str = "127.0.0.1") -> Site:
    """A one-server site with Handle on UDP and TCP `port`, and HTTP."""
    return one_server_site(address, port, http_port)


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


class World:
    def __init__(self, now: int | None = None, root_port: int = 2641) -> None:
        self.now = int(time.time()) if now is None else now
        self.keys: dict[str, Ed25519PrivateKey] = {ANCHOR: Ed25519PrivateKey.generate()}
        self.records: dict[bytes, Record] = {}
        self.serial = 0
        self.root_site = site(root_port)
        self.put(ANCHOR, self.key_value(ANCHOR))
        self.put("0.NA/0.NA", Value(INDEX_SITE, TYPE_SITE, encode_site(self.root_site)))

    @property
    def anchor(self) -> Anchor:
        return Anchor(trust.Keys(ANCHOR, {INDEX_KEY: public(self.keys[ANCHOR])}, 2**62), self.root_site)

    def key_value(self, holder: str) -> Value:
        key = self.keys.setdefault(holder, Ed25519PrivateKey.generate())
        return Value(INDEX_KEY, TYPE_KEY, json.dumps(trust.jwk(public(key))).encode())

    def delegate(self, prefix: str, port: int = 2641, *more: Value, address: str = "127.0.0.1") -> Record:
        """Makes the prefix record of `prefix`, signed by its parent, with a new key and a one-server site."""
        here = encode_site(site(port, address=address))
        sites = (Value(INDEX_SITE, TYPE_SITE, here), Value(INDEX_SITE_PREFIX, TYPE_SITE_PREFIX, here))
        return self.put(f"0.NA/{prefix}", *sites, self.key_value(f"0.NA/{fold_prefix(prefix)}"), *more)

    def put(self, name: str, *values: Value, ttl_days: int = 30, signed_by: str | None = None) -> Record:
        """Signs and keeps a record. `signed_by` is the holder of another key than the right one."""
        identifier = Identifier.parse(name)
        stamped = sorted((v._replace(timestamp=v.timestamp or self.now) for v in values), key=lambda v: v.index)
        holder = signed_by or signer(identifier).canonical
        key = self.keys.setdefault(holder, Ed25519PrivateKey.generate())
        self.serial += 1
        expires = self.now + ttl_days * DAY
        signed = trust.signing_input(
            identifier.canonical, trust.issuer(identifier), self.now, self.now, expires, self.serial,
            trust.value_digests(encode_values(stamped)),
        )  # fmt: skip
        record = Record(identifier, tuple(stamped), self.serial, self.now, self.now, expires, key.sign(signed))
        self.records[identifier.key] = record
        return record

    def delete(self, name: str) -> Record:
        """Marks an identifier as gone."""
        identifier = Identifier.parse(name)
        self.serial += 1
        gone = Record(identifier, (), self.serial, self.now, self.now, self.now, bytes(64), gone=True)
        self.records[identifier.key] = gone
        return gone

    def values(self, name: str) -> tuple[Value, ...]:
        """The record as it stands in an answer: its values and the signature value."""
        from resolver.core.wire.stored import read_stored

        record = self.records[Identifier.parse(name).key]
        stored = read_stored(record.identifier.key, encode_stored(record))
        return decode_values(stored.encoded + stored.signature_octets)

    def chain(self, name: str) -> list[tuple[Identifier, tuple[Value, ...]]]:
        """The records from `name` up to the anchor, as `trust.verify_chain` takes them."""
        identifier = Identifier.parse(name)
        links = [(identifier, self.values(name))]
        while identifier.canonical != ANCHOR:
            identifier = signer(identifier)
            links.append((identifier, self.values(identifier.canonical)))
        return links

    def publish(self, prefixes: str | Iterable[str], path: Path) -> Path:
        """Writes the table of a node that homes these prefixes (`0.NA` and `0.0` for the root)."""
        homes = [prefixes] if isinstance(prefixes, str) else list(prefixes)
        if PREFIX_AUTHORITY in homes:
            homes.append("0.0")
        writer = TableWriter(path)
        changes = []
        for prefix in homes:
            holder = ANCHOR if prefix in (PREFIX_AUTHORITY, "0.0") else prefix_record(prefix).canonical
            keys = {INDEX_KEY: public(self.keys.setdefault(holder, Ed25519PrivateKey.generate()))}
            changes.append(Change(0, prefix.encode(), Homed(prefix, keys).encode()))
        changes += [
            Change(record.serial, key, encode_stored(record))
            for key, record in self.records.items()
            if scope(record.identifier) in homes
        ]
        writer.apply(sorted(changes, key=lambda change: change.serial))
        writer.close()
        return path
