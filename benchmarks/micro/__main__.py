"""`python -m benchmarks.micro [WORD ...]`: what each step of answering and of signing costs, in one process, without sockets.

Each step runs over many different records of the table, since the same one again would be in every cache of the processor. Printed
is the median of several rounds, and the spread. With words: only steps whose name has one of them.
"""

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import data
from benchmarks.answering import dns_labels
from benchmarks.load import questions
from benchmarks.tree import Tree
from resolver.anchor import read_anchor
from resolver.config import read_config
from resolver.core import owner, trust
from resolver.core.identifier import Identifier
from resolver.core.wire.dns import decode_query, is_answerable
from resolver.core.wire.handle import decode_message
from resolver.core.wire.json_text import public_values_text
from resolver.core.wire.stored import HEAD_OCTETS, decode_stored, encode_stored, read_stored
from resolver.core.wire.values import decode_values, encode_values
from resolver.desk import Desk
from resolver.doors.dns import DnsDoor
from resolver.doors.handle import HandleDoor
from resolver.doors.http import HttpDoor
from resolver.metrics import Metrics
from resolver.resolution import Resolver
from resolver.table import Table

ROUNDS = 7
INPUTS = 5_000
_SOURCE = ("127.0.0.1", 40_000)


class Step(NamedTuple):
    """`run` is timed on each of `inputs`."""

    name: str
    run: Callable[[Any], object]
    inputs: Sequence[Any]


def main(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tree = Tree(Path(directory), data.table())
        print(f"{'step':44} {'us':>8}   spread")
        for step in chain(wire_steps(tree), signing_steps(tree), door_steps(tree)):
            if not words or any(word.lower() in step.name.lower() for word in words):
                rounds = [_round(step) for _ in range(1 + ROUNDS)][1:]  # the first one warms up
                print(f"{step.name:44} {median(rounds):8.2f}   {min(rounds):.2f}..{max(rounds):.2f}")


def _round(step: Step) -> float:
    """Microseconds of processor that the step takes for one input, the loop around it taken off."""
    gc.collect()
    gc.disable()
    run = step.run
    began = time.process_time()
    for one in step.inputs:
        run(one)
    between = time.process_time()
    for one in step.inputs:  # noqa: B007
        pass
    ended = time.process_time()
    gc.enable()
    return ((between - began) - (ended - between)) / len(step.inputs) * 1e6


# ---- the steps


def wire_steps(tree: Tree) -> Iterator[Step]:
    """Finding a record and reading what is stored."""
    table = Table(tree.table)
    keys = [data.key(i) for i in range(INPUTS)]
    stored = _stored(table)
    encoded = [octets[HEAD_OCTETS:] for _, octets in stored]
    decoded = [decode_values(octets) for octets in encoded]
    queries = [questions.dns(dns_labels(i), i) for i in range(INPUTS)]
    yield Step("table: get", table.get, keys)
    yield Step("table: find, as an outcome", table.find, [Identifier.decode(key) for key in keys])
    yield Step("stored record: read", lambda item: read_stored(*item), stored)
    yield Step("stored record: decode and check", lambda item: decode_stored(*item), stored)
    yield Step("stored record: encode", encode_stored, [decode_stored(*item) for item in stored])
    yield Step("values: decode", decode_values, encoded)
    yield Step("values: encode", encode_values, decoded)
    yield Step("values: as JSON text", public_values_text, encoded)
    yield Step("identifier: parse", Identifier.parse, [key.decode() for key in keys])
    yield Step("Handle request: decode", decode_message, [questions.handle(key, i) for i, key in enumerate(keys)])
    yield Step("DNS query: header check", is_answerable, queries)
    yield Step("DNS query: decode, with EDNS", lambda query: decode_query(query, 1232), queries)
    yield Step("owner name: label to suffix", owner.suffix_of, [data.digits(i).encode() for i in range(INPUTS)])
    yield Step("owner name: labels to prefix", owner.zone_prefix, [dns_labels(i)[1:4] for i in range(INPUTS)])


def signing_steps(tree: Tree) -> Iterator[Step]:
    """From values to a signature, and back to a verdict."""
    table = Table(tree.table)
    records = [read_stored(*item) for item in _stored(table)]
    digests = [trust.value_digests(record.encoded) for record in records]
    prefix, issuer = data.PREFIX, trust.issuer(Identifier(data.PREFIX, "1"))
    public = data.secret(prefix).public_key().public_bytes_raw()
    keys = trust.Keys(f"0.NA/{prefix}", {302: public}, 2**62)
    now = int(time.time())
    claims = [
        trust.signing_input(r.key.decode(), issuer, r.issued, r.not_before, r.expires, r.serial, d)
        for r, d in zip(records, digests, strict=True)
    ]
    answers = [(r.identifier, decode_values(r.encoded + r.signature_octets)) for r in records]
    yield Step("sign: SHA-256 of one value", lambda r: sha256(r.encoded[8:100]).digest(), records)
    yield Step("sign: digests of three values", lambda r: trust.value_digests(r.encoded), records)
    yield Step(
        "sign: claims as JSON, base64url",
        lambda item: trust.signing_input(
            item[0].key.decode(), issuer, item[0].issued, item[0].not_before, item[0].expires, item[0].serial, item[1]
        ),
        list(zip(records, digests, strict=True)),
    )
    yield Step("sign: Ed25519", data.secret(prefix).sign, claims)
    yield Step("answer: signature value from 64 octets", lambda r: r.signature_octets, records)
    yield Step("verify: a whole record", lambda item: trust.verify(item[0], item[1], keys, now), answers)


def door_steps(tree: Tree) -> Iterator[Step]:
    """A datagram in, the reply out: what a door adds to receiving and sending."""
    now = time.time()
    whole = [questions.handle(data.key(i), i) for i in range(INPUTS)]
    part = [questions.handle(data.key(i), i, indexes=(1, 2, 3)) for i in range(INPUTS)]
    typed = [questions.handle(data.key(i), i, types=(b"URL",)) for i in range(INPUTS)]
    names = [questions.dns(dns_labels(i), i) for i in range(INPUTS)]
    unknown = [questions.dns(dns_labels(tree.records + i), i) for i in range(INPUTS)]
    paths = [f"/api/handles/{data.PREFIX}/{data.digits(i)}".encode() for i in range(INPUTS)]
    for state, limits in (("cold", {"answer_cache_octets": 0}), ("warm", {})):
        desk = _desk(tree, limits)
        handle, dns = HandleDoor(desk), DnsDoor(desk)
        yield _answering(f"Handle door: {state}, signed", handle, whole, now)
        yield _answering(f"Handle door: {state}, indexes 1 2 3", handle, part, now)
        yield _answering(f"Handle door: {state}, type URL", handle, typed, now)
        yield _answering(f"DNS door: {state}", dns, names, now)
        http = partial(HttpDoor(desk).answer, b"GET", headers={}, now=now)
        yield Step(f"HTTP door: {state}, JSON", http, paths)
        if state == "cold":
            yield _answering("DNS door: unknown names", dns, unknown, now)


def _stored(table: Table) -> list[tuple[bytes, bytes]]:
    """Key and stored octets of as many records as a step runs over."""
    return [(key, octets) for key in map(data.key, range(INPUTS)) if (octets := table.get(key)) is not None]


def _answering(name: str, door: HandleDoor | DnsDoor, packets: list[bytes], now: float) -> Step:
    for packet in packets:
        reply = door.answer_datagram(packet, _SOURCE, now)
        assert isinstance(reply, bytes | tuple), f"{name}: {packet!r} was answered {reply!r}"
    return Step(name, lambda packet: door.answer_datagram(packet, _SOURCE, now), packets)


def _desk(tree: Tree, limits: dict[str, int]) -> Desk:
    config = read_config(tree.config("secondary", limits=limits))
    assert config.table is not None
    recursion = Resolver(read_anchor(config.anchor), config.limits)
    return Desk(config, tree.site, Table(config.table), recursion, Metrics(), time.time)


if __name__ == "__main__":
    main(sys.argv[1:])
