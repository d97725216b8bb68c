"""The DNS door at nodes that answer from their table: what each name and type is answered with. Read by dnslib."""

import ipaddress
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest

from resolver.core.errors import ConfigError
from resolver.core.record import TYPE_SITE, Value
from resolver.core.wire.dns_answer import read_answer
from resolver.core.wire.site import encode_site
from resolver.core.wire.stored import encode_stored
from resolver.doors.dns import DnsDoor
from resolver.table import Change, TableWriter
from tests.support.dns import (
    APEX,
    LONG_SUFFIX,
    SOURCE,
    ask,
    ask_stream,
    authority,
    closing_tables,
    extended_error,
    name_of,
    node,
    query,
    rcode,
    small_tree,
    texts,
)
from tests.support.world import World, site


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    with closing_tables():
        yield


@pytest.fixture(scope="module")
def world() -> World:
    return small_tree()


@pytest.fixture(scope="module")
def secondary(world: World, tmp_path_factory: pytest.TempPathFactory) -> DnsDoor:
    """The node of 88.118, which hosts 88.118.5 and has delegated 88.118.8."""
    return DnsDoor(node(world.publish(["88.118", "88.118.5"], tmp_path_factory.mktemp("secondary") / "table")))


@pytest.fixture(scope="module")
def root(world: World, tmp_path_factory: pytest.TempPathFactory) -> DnsDoor:
    return DnsDoor(node(world.publish("0.NA", tmp_path_factory.mktemp("root") / "table")))


class TestRecords:
    def test_txt_has_one_record_for_each_public_value(self, secondary: DnsDoor) -> None:
        answer = ask(secondary, name_of("88.118/ABC"))
        assert rcode(answer) == "NOERROR"
        assert answer.header.aa
        assert not answer.header.ra
        assert texts(answer) == [("1 URL", b"https://example.org/a"), ("2 NAME", "搪瓷杯".encode())]

    def test_signatures_are_found_below_the_owner(self, world: World, secondary: DnsDoor) -> None:
        ((first, token),) = texts(ask(secondary, "_sig." + name_of("88.118/ABC")))
        assert first == "402 HS_SIGNATURE.ED25519"
        assert token == world.values("88.118/ABC")[-1].data

    def test_the_envelope_is_a_signature_and_no_value(self, secondary: DnsDoor) -> None:
        assert [first for first, _ in texts(ask(secondary, "envelope.118.88"))] == ["1 URL"]
        found = texts(ask_stream(secondary, "_sig.envelope.118.88"))
        assert [first for first, _ in found] == ["400 HS_SIGNATURE", "402 HS_SIGNATURE.ED25519"]

    def test_long_data_goes_on_in_strings_of_255_octets(self, secondary: DnsDoor) -> None:
        (rr,) = ask(secondary, "long.118.88").rr
        assert [len(string) for string in rr.rdata.data] == [6, 255, 255, 255, 3]
        assert b"".join(rr.rdata.data[1:]) == bytes(range(256)) * 3

    def test_a_value_without_data_has_its_first_string_alone(self, secondary: DnsDoor) -> None:
        (rr,) = ask(secondary, "empty.118.88").rr
        assert rr.rdata.data == [b"1 TEXT"]

    def test_uri_records_for_url_values(self, secondary: DnsDoor) -> None:
        answer = ask(secondary, "two.118.88", "URI")
        assert [rr.rdata.data for rr in answer.rr] == [b"\0\x0a\0\1https://example.org/" + letter for letter in (b"a", b"b")]

    def test_a_suffix_whose_label_is_a_hash(self, secondary: DnsDoor) -> None:
        name = name_of(f"88.118/{LONG_SUFFIX}")
        assert name.startswith("_h")
        assert texts(ask(secondary, name)) == [("1 NAME", b"lacquer")]
        assert [first for first, _ in texts(ask(secondary, "_sig." + name))] == ["402 HS_SIGNATURE.ED25519"]
        other = name_of("88.118/" + LONG_SUFFIX[1:])
        assert rcode(ask(secondary, other)) == "NXDOMAIN"

    def test_hosted_prefixes_answer_too(self, secondary: DnsDoor) -> None:
        assert texts(ask(secondary, "hosted.5.118.88")) == [("1 URL", b"https://example.org/a")]

    def test_prefix_records_kept_here(self, secondary: DnsDoor) -> None:
        answer = ask(secondary, name_of("0.NA/88.118.8"))
        assert answer.header.aa
        assert [first for first, _ in texts(answer)] == ["10 HS_SITE", "11 HS_SITE.PREFIX", "302 JWK"]

    def test_all_of_a_set_have_the_least_ttl(self, secondary: DnsDoor) -> None:
        assert {rr.ttl for rr in ask(secondary, "mixed.118.88").rr} == {60}

    @pytest.mark.parametrize("name", ["bare.118.88", "_sig.bare.118.88", "_41_42_43.118.88"])
    def test_any_is_one_small_record(self, secondary: DnsDoor, name: str) -> None:
        (rr,) = ask(secondary, name, "ANY").rr
        assert (rr.rtype, rr.rdata.data) == (dnslib.QTYPE.HINFO, b"\x07RFC8482\x00")


class TestNegativeAnswers:
    @pytest.mark.parametrize(
        "name",
        ["nope.118.88", "gone.118.88", "_sig.gone.118.88", "_sig.nope.118.88", "x.bare.118.88", "6.118.88", "x.6.118.88",
         "_4a.118.88", "_zz.118.88", "_h0.118.88", "_sig.118.88", "_ns.nope.118.88", "-a.118.88",
         "_61.118.88", "_sig._sig.bare.118.88"],
    )  # fmt: skip
    def test_absent_names(self, secondary: DnsDoor, name: str) -> None:
        answer = ask(secondary, name)
        assert (rcode(answer), authority(answer)) == ("NXDOMAIN", (f"118.88.{APEX}.", "SOA"))
        assert answer.header.aa

    def test_absent_below_a_hosted_prefix_is_told_by_its_own_zone(self, secondary: DnsDoor) -> None:
        answer = ask(secondary, "nope.5.118.88")
        assert (rcode(answer), authority(answer)) == ("NXDOMAIN", (f"5.118.88.{APEX}.", "SOA"))

    @pytest.mark.parametrize(
        ("name", "type_"),
        [("bare.118.88", "URI"), ("bare.118.88", "A"), ("bare.118.88", "NS"), ("private.118.88", "TXT"), ("118.88", "TXT"),
         ("118.88", "A"), ("_ns.118.88", "AAAA"), ("_ns.118.88", "TXT"), ("_sig.bare.118.88", "URI"), ("118.88", "DS")],
    )  # fmt: skip
    def test_names_without_that_type(self, secondary: DnsDoor, name: str, type_: str) -> None:
        answer = ask(secondary, name, type_)
        assert (rcode(answer), answer.rr) == ("NOERROR", [])
        assert authority(answer) == (f"118.88.{APEX}.", "SOA")

    def test_they_are_kept_no_longer_than_configured(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish("88.118", tmp_path / "table"), bounds={"negative_ttl_seconds": 7}))
        (soa,) = ask(door, "nope.118.88").auth
        assert (soa.ttl, soa.rdata.times[4]) == (7, 7)

    def test_the_soa_fits_wherever_the_zone_stands_in_the_name(self, secondary: DnsDoor) -> None:
        for length in range(1, 60):
            answer = ask(secondary, "z" * length + ".118.88")
            assert str(answer.auth[0].rdata.mname) == f"_ns.118.88.{APEX}."
            assert str(answer.auth[0].rdata.rname) == f"hostmaster.{APEX}."


class TestZones:
    def test_soa(self, world: World, secondary: DnsDoor) -> None:
        (rr,) = ask(secondary, "118.88", "SOA").rr
        assert str(rr.rname) == f"118.88.{APEX}."
        assert rr.rdata.times[0] == world.serial

    def test_the_serial_is_the_tables_mod_2_to_the_32(self, world: World, tmp_path: Path) -> None:
        table = world.publish("88.118", tmp_path / "table")
        writer = TableWriter(table)
        record = world.records[b"88.118/bare"]
        writer.apply([Change(2**32 + 5, b"88.118/bare", encode_stored(record))])
        writer.close()
        assert ask(DnsDoor(node(table)), "118.88", "SOA").rr[0].rdata.times[0] == 5

    def test_name_server_with_glue(self, secondary: DnsDoor) -> None:
        answer = ask(secondary, "5.118.88", "NS")
        assert str(answer.rr[0].rdata) == f"_ns.5.118.88.{APEX}."
        assert (str(answer.ar[0].rname), str(answer.ar[0].rdata)) == (f"_ns.5.118.88.{APEX}.", "192.0.2.53")
        (rr,) = ask(secondary, "_ns.5.118.88", "A").rr
        assert str(rr.rdata) == "192.0.2.53"

    def test_an_operators_own_name_server_and_mailbox(self, world: World, tmp_path: Path) -> None:
        table = world.publish("88.118", tmp_path / "table")
        door = DnsDoor(node(table, name_server=f"ns1.{APEX}", hostmaster="dns.admin@example.org", public_address="2001:db8::1"))
        answer = ask(door, "118.88", "NS")
        assert [str(rr.rdata) for rr in answer.rr] == [f"ns1.{APEX}."]
        assert [rr.rtype for rr in answer.ar] == [dnslib.QTYPE.OPT]
        soa = ask(door, "118.88", "SOA").rr[0].rdata
        assert (str(soa.mname), soa.rname.label) == (f"ns1.{APEX}.", (b"dns.admin", b"example", b"org"))
        assert [str(rr.rdata) for rr in ask(door, "_ns.118.88", "AAAA").rr] == ["2001:db8::1"]

    def test_a_name_server_that_is_no_name(self, world: World, tmp_path: Path) -> None:
        table = world.publish("88.118", tmp_path / "table")
        with pytest.raises(ConfigError, match=r"dns.name_server 'ns\.\.example'"):
            DnsDoor(node(table, name_server="ns..example"))

    def test_root(self, root: DnsDoor) -> None:
        assert str(ask(root, "", "SOA").rr[0].rname) == f"{APEX}."
        assert str(ask(root, "", "NS").rr[0].rdata) == f"_ns.{APEX}."
        assert str(ask(root, "_ns", "A").rr[0].rdata) == "192.0.2.53"
        assert [first for first, _ in texts(ask(root, name_of("0.0/0.0")))] == ["302 JWK"]
        assert [first for first, _ in texts(ask(root, name_of("0.NA/88")))] == ["10 HS_SITE", "11 HS_SITE.PREFIX", "302 JWK"]
        assert [first for first, _ in texts(ask(root, name_of("0.NA/0.NA")))] == ["10 HS_SITE"]

    @pytest.mark.parametrize("name", ["0", "na.0", "0.0", ""])
    def test_empty_names_of_the_root_are_not_denied(self, root: DnsDoor, name: str) -> None:
        answer = ask(root, name)
        assert (rcode(answer), authority(answer)) == ("NOERROR", (f"{APEX}.", "SOA"))

    @pytest.mark.parametrize("name", ["89", "x.89", "nope.0.0", "89.na.0", "x.0", "_ns.0.0", "_sig.na.0"])
    def test_absent_at_the_root(self, root: DnsDoor, name: str) -> None:
        answer = ask(root, name)
        assert (rcode(answer), authority(answer)) == ("NXDOMAIN", (f"{APEX}.", "SOA"))

    def test_a_gap_above_a_homed_prefix_is_not_denied(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish(["0.NA", "89.1.2"], tmp_path / "table")))
        for name in ("89", "1.89"):
            answer = ask(door, name)
            assert (rcode(answer), authority(answer)) == ("NOERROR", (f"{APEX}.", "SOA"))
        assert authority(ask(door, "x.2.1.89")) == (f"2.1.89.{APEX}.", "SOA")
        assert rcode(ask(door, "3.1.89")) == "NXDOMAIN"


class TestDelegations:
    @pytest.mark.parametrize("name", ["8.118.88", "x.8.118.88", "_ns.8.118.88", "_sig.x.8.118.88", "a.b.c.8.118.88"])
    @pytest.mark.parametrize("type_", ["TXT", "NS", "SOA", "ANY", "A"])
    def test_referral_with_glue(self, secondary: DnsDoor, name: str, type_: str) -> None:
        for _ in range(2):  # made, then ready
            answer = ask(secondary, name, type_)
            assert (rcode(answer), bool(answer.header.aa), answer.rr) == ("NOERROR", False, [])
            assert authority(answer) == (f"8.118.88.{APEX}.", "NS")
            assert str(answer.auth[0].rdata) == f"_ns.8.118.88.{APEX}."
            assert (str(answer.ar[0].rname), str(answer.ar[0].rdata)) == (f"_ns.8.118.88.{APEX}.", "192.0.2.3")

    def test_from_the_root_to_the_top(self, root: DnsDoor) -> None:
        assert authority(ask(root, "_41_42_43.118.88")) == (f"88.{APEX}.", "NS")

    def test_a_cut_says_nothing_of_its_neighbours(self, root: DnsDoor) -> None:
        assert authority(ask(root, "88")) == (f"88.{APEX}.", "NS")
        assert rcode(ask(root, "89")) == "NXDOMAIN"

    def test_a_zone_homed_here_below_a_cut(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish(["0.NA", "88.118.5"], tmp_path / "table")))
        assert authority(ask(door, "x.118.88")) == (f"88.{APEX}.", "NS")
        assert ask(door, "5.118.88", "SOA").header.aa
        assert texts(ask(door, "hosted.5.118.88")) == [("1 URL", b"https://example.org/a")]

    @pytest.mark.parametrize("name", ["8.118.88", "5.118.88"])
    def test_ds_is_answered_by_the_zone_above(self, secondary: DnsDoor, name: str) -> None:
        answer = ask(secondary, name, "DS")
        assert (rcode(answer), bool(answer.header.aa)) == ("NOERROR", True)
        assert authority(answer) == (f"118.88.{APEX}.", "SOA")

    def test_every_server_and_both_families_as_glue(self, tmp_path: Path) -> None:
        world = World()
        more = Value(12, TYPE_SITE, encode_site(site(2641, address="2001:db8::8")))
        world.delegate("88", 2641, more, address="192.0.2.8")
        door = DnsDoor(node(world.publish("0.NA", tmp_path / "table")))
        glue = [str(rr.rdata) for rr in ask(door, "x.88").ar if rr.rtype != dnslib.QTYPE.OPT]
        assert [ipaddress.ip_address(address) for address in glue] == [
            ipaddress.ip_address(address) for address in ("192.0.2.8", "2001:db8::8")
        ]

    def test_a_prefix_delegated_after_the_zone_was_asked_for(self, tmp_path: Path) -> None:
        world = World()
        world.delegate("88")
        table = world.publish("88", tmp_path / "table")
        writer = TableWriter(table)
        desk = node(table)
        door = DnsDoor(desk)
        for name in ("x.88", "x.1.88", "1.88"):
            assert rcode(ask(door, name)) == "NXDOMAIN"
        record = world.delegate("88.1")
        writer.apply([Change(record.serial, record.identifier.key, encode_stored(record))])
        assert desk.table is not None
        door.forget(desk.table.refresh())
        assert authority(ask(door, "x.1.88")) == (f"1.88.{APEX}.", "NS")
        assert authority(ask(door, "1.88")) == (f"1.88.{APEX}.", "NS")
        assert ask(door, "x.88").auth[0].rdata.times[0] == record.serial
        record = world.delegate("88.1", address="192.0.2.77")
        writer.apply([Change(record.serial, record.identifier.key, encode_stored(record))])
        door.forget(desk.table.refresh())
        assert str(ask(door, "x.1.88").ar[0].rdata) == "192.0.2.77"
        writer.close()


class TestRefusals:
    @pytest.mark.parametrize("name", ["", "88", "x.88", "x.89", "0.0", "88.na.0", name_of("0.NA/88.118")])
    def test_what_is_kept_elsewhere(self, secondary: DnsDoor, name: str) -> None:
        answer = ask(secondary, name)
        assert (rcode(answer), bool(answer.header.aa), answer.rr, answer.auth) == ("REFUSED", False, [], [])
        code, _ = extended_error(answer) or (None, "")
        assert code == 20

    def test_a_prefix_record_kept_elsewhere_is_told_where(self, root: DnsDoor) -> None:
        answer = ask(root, name_of("0.NA/88.118"))
        assert rcode(answer) == "REFUSED"
        assert extended_error(answer) == (
            20,
            "0.NA/88.118 is kept by its parent prefix: the servers of 88 lead to it; DNS cannot refer there, Handle can",
        )

    def test_names_outside_the_apex(self, secondary: DnsDoor) -> None:
        for name in ("www.example.org", "bare.118.88.id.example", "test", "."):
            packet = bytes(dnslib.DNSRecord.question(name, "TXT").pack())
            reply = secondary.answer_datagram(packet, SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert read_answer(reply).rcode == 5

    def test_the_apex_ends_a_name_only_at_a_label(self, secondary: DnsDoor) -> None:
        packet = query("bare.118.88")
        label = b"\x04bare\x03118\x0288\x02id"
        glued = packet.replace(label, bytes((len(label) - 1,)) + label[1:])
        reply = secondary.answer_datagram(glued, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert read_answer(reply).rcode == 5

    def test_labels_that_hold_dots_and_slashes_are_other_names(self, secondary: DnsDoor) -> None:
        for true, false in ((b"\x03118\x0288", b"\x06118.88"), (b"\x04bare\x03118", b"\x08bare/118"), (b"\x03118", b"\x03\x0018")):
            reply = secondary.answer_datagram(query("bare.118.88").replace(true, false), SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert read_answer(reply).rcode in (3, 5)

    @pytest.mark.parametrize(("type_", "code"), [("AXFR", "REFUSED"), ("IXFR", "REFUSED"), ("TKEY", "NOTIMP"), ("TSIG", "NOTIMP")])
    def test_types_that_are_no_records(self, secondary: DnsDoor, type_: str, code: str) -> None:
        answer = ask(secondary, "118.88", type_)
        assert (rcode(answer), answer.rr) == (code, [])

    def test_classes_other_than_in(self, secondary: DnsDoor) -> None:
        for class_ in (3, 254, 255):
            packet = query("bare.118.88", edns=None)[:-2] + struct.pack(">H", class_)
            reply = secondary.answer_datagram(packet, SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert reply[3] & 0x0F == 5
