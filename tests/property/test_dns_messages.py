"""DNS messages against dnslib: what we write it reads, what it asks we answer."""

from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.core.errors import FormatError
from resolver.core.record import ADMIN_READ, PUBLIC_READ, Reference, Value
from resolver.core.wire import dns
from resolver.core.wire.dns_answer import query_octets, read_answer
from resolver.core.wire.txt import read_txt, shown, txt_rrs, uri_rrs, urls
from resolver.core.wire.values import encode_values
from resolver.doors.dns import DnsDoor
from tests.support.dns import APEX, SOURCE, closing_tables, node
from tests.support.world import World

labels = st.lists(st.text(min_size=1, max_size=15).map(str.encode), max_size=3)
types = st.sampled_from(["URL", "NAME", "url", "HS_SIGNATURE", "HS_SIGNATURE.ED25519", "HS_SIGNATURES", "名", "A B"])
references = st.builds(Reference, st.text(max_size=5), st.integers(0, 2**32 - 1))
values = st.builds(
    Value,
    index=st.integers(1, 2**31 - 1),
    type=types,
    data=st.one_of(st.binary(max_size=40), st.integers(0, 1100).map(lambda length: b"x" * length)),
    ttl=st.integers(0, 2**32 - 1),
    ttl_type=st.integers(0, 1),
    timestamp=st.integers(0, 2**32 - 1),
    references=st.lists(references, max_size=2).map(tuple),
    permissions=st.sampled_from([PUBLIC_READ | ADMIN_READ, PUBLIC_READ, ADMIN_READ, 0]),
)


def response(question: str, type_: int, rrs: bytes, count: int) -> bytes:
    """A whole response whose answer section is `rrs`."""
    packet = bytes(dnslib.DNSRecord(q=dnslib.DNSQuestion(question, type_)).pack())
    return packet[:2] + dns.reply_head(packet, dns.NOERROR, dns.AA, count, 0, 0) + packet[12:] + rrs


@settings(max_examples=200, deadline=None)
@given(st.lists(values, max_size=6), st.integers(0, 2**31 - 1))
def test_txt_records_are_what_was_put_in(items: list[Value], now: int) -> None:
    chosen = shown(encode_values(items), 0, now)
    public = [v for v in items if v.is_public and not v.is_signature]
    assert [(index, type_.decode(), data) for index, type_, data in chosen.items] == [(v.index, v.type, v.data) for v in public]
    assert chosen.ttl == min([2**31 - 1, *[v.ttl if not v.ttl_type else max(0, v.ttl - now) for v in public]])
    octets = response("x.id.test", dns.TXT, txt_rrs(chosen.items, chosen.ttl), len(public))
    read = dnslib.DNSRecord.parse(octets)
    assert [(rr.rdata.data[0], b"".join(rr.rdata.data[1:])) for rr in read.rr] == [
        (f"{v.index} {v.type}".encode(), v.data) for v in public
    ]
    assert [(rr.ttl, str(rr.rname)) for rr in read.rr] == [(chosen.ttl, "x.id.test.")] * len(public)
    ours = [read_txt(record.rdata, record.ttl) for record in read_answer(octets).records]
    assert [(v.index, v.type, v.data) for v in ours] == [(v.index, v.type, v.data) for v in public]


@settings(max_examples=200, deadline=None)
@given(st.lists(values, max_size=6))
def test_signatures_and_urls_are_picked_out(items: list[Value]) -> None:
    encoded = encode_values(items)
    signatures = shown(encoded, 0, 0, signatures=True).items
    assert [index for index, _, _ in signatures] == [v.index for v in items if v.is_public and v.is_signature]
    targets = urls(shown(encoded, 0, 0).items)
    assert targets == [v.data for v in items if v.is_public and v.type.upper() == "URL" and v.data]
    read = dnslib.DNSRecord.parse(response("x.id.test", dns.URI, uri_rrs(targets, 5), len(targets)))
    assert [rr.rdata.data for rr in read.rr] == [b"\0\x0a\0\1" + target for target in targets]


@settings(max_examples=200, deadline=None)
@given(labels, st.sampled_from([[b"id", b"test"], [b"test"], []]), st.integers(12, 0x3FFF))
def test_names(front: list[bytes], back: list[bytes], offset: int) -> None:
    name, tail = dns.encode_name([*front, *back]), dns.encode_name(back)
    assert dns.name_end(b"\1" + name, 1) == 1 + len(name)
    assert dns.labels_of(name) == [*front, *back]
    assert dnslib.DNSBuffer(name).decode_name().label == (*front, *back)
    assert dns.compressed(name, tail, offset) == name[: -len(tail)] + (0xC000 | offset).to_bytes(2, "big")
    assert dns.compressed(name, dns.encode_name([b"elsewhere"]), offset) == name


def test_a_tail_counts_only_at_a_label() -> None:
    assert dns.compressed(b"\x05x\x02id\0", b"\x02id\0", 12) == b"\x05x\x02id\0"


@pytest.mark.parametrize("labels", [[b""], [b"a" * 64], [b"a" * 63] * 4])
def test_labels_that_make_no_name(labels: list[bytes]) -> None:
    with pytest.raises(FormatError):
        dns.encode_name(labels)


@settings(max_examples=200, deadline=None)
@given(labels, st.integers(0, 65_535), st.integers(0, 65_535), st.booleans())
def test_our_queries_are_read_by_dnslib_and_by_ourselves(front: list[bytes], type_: int, id_: int, recursive: bool) -> None:
    octets = query_octets(front, type_, id_, 1232, recursive)
    read = dnslib.DNSRecord.parse(octets)
    assert (read.header.id, bool(read.header.rd), read.q.qname.label, read.q.qtype) == (id_, recursive, tuple(front), type_)
    question = dns.decode_query(octets, 4096)
    assert (dns.labels_of(question.name), question.type) == ([label.lower() for label in front], type_)
    assert question.edns == dns.Edns(1232, 0, False)


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    with closing_tables():
        yield


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> DnsDoor:
    world = World(now=1_799_999_000)
    for prefix in ("88", "88.118", "88.118.8"):
        world.delegate(prefix)
    world.put("88.118/abc", Value(1, "URL", b"https://example.org/"))
    table: Path = world.publish(["88", "88.118"], tmp_path_factory.mktemp("table") / "table")
    return DnsDoor(node(table))


options = st.lists(st.builds(dnslib.EDNSOption, st.integers(0, 65_535), st.binary(max_size=40)), max_size=3)
known = st.sampled_from(
    ["abc.118.88", "_sig.abc.118.88", "x.118.88", "8.118.88", "x.8.118.88", "118.88", "", "_ns.118.88", "0", "x.99"]
)
arbitrary = st.text("abAB018-_", min_size=1, max_size=60)


@settings(max_examples=600, deadline=None)
@given(
    name=st.one_of(known, st.builds("{}.{}".format, arbitrary, known)),
    type_=st.one_of(st.sampled_from(sorted(dnslib.QTYPE.forward)), st.integers(0, 65_535)),
    class_=st.sampled_from([1, 1, 1, 3, 4, 254, 255, 0]),
    edns=st.one_of(st.none(), st.tuples(st.integers(0, 65_535), st.integers(0, 1), st.sampled_from(["", "do"]), options)),
    id_=st.integers(0, 65_535),
    bits=st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
)
def test_every_query_of_dnslib_is_answered_so_that_dnslib_reads_it(
    door: DnsDoor,
    name: str,
    type_: int,
    class_: int,
    edns: tuple[int, int, str, list[dnslib.EDNSOption]] | None,
    id_: int,
    bits: tuple[int, int, int],
) -> None:
    header = dnslib.DNSHeader(id=id_, rd=bits[0], ad=bits[1], cd=bits[2])
    labels = [label for label in f"{name}.{APEX}".encode().split(b".") if label]
    record = dnslib.DNSRecord(header, q=dnslib.DNSQuestion(labels, type_, class_))
    if edns is not None:
        payload, version, flags, opts = edns
        record.add_ar(dnslib.EDNS0(udp_len=payload, version=version, flags=flags, opts=opts))
    packet = bytes(record.pack())
    for _ in range(2):
        reply = door.answer_datagram(packet, SOURCE, 1.8e9)
        assert isinstance(reply, bytes)
        assert len(reply) <= 1232
        answer = dnslib.DNSRecord.parse(reply)
        assert (answer.header.id, answer.header.qr, answer.header.rd, answer.header.cd) == (id_, 1, bits[0], bits[2])
        assert (answer.q.qname.label, answer.q.qtype, answer.q.qclass) == (record.q.qname.label, type_, class_)
        assert bool(answer.ar and answer.ar[-1].rtype == dnslib.QTYPE.OPT) == (edns is not None)
        assert read_answer(reply).rcode == answer.header.rcode
