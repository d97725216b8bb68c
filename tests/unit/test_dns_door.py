"""The DNS door at nodes that answer from their table: what each name and type is answered with. Read by dnslib."""

import ipaddress
import struct
import time
from pathlib import Path

import dnslib
import pytest

from resolver.core import limits
from resolver.core.errors import ConfigError, FormatError
from resolver.core.identifier import Identifier
from resolver.core.owner import owner_labels
from resolver.core.record import TTL_ABSOLUTE, TYPE_SITE, Value
from resolver.core.wire.dns_answer import read_answer
from resolver.core.wire.site import encode_site
from resolver.core.wire.stored import encode_stored
from resolver.doors.dns import DnsDoor
from resolver.metrics import cell
from resolver.table import Change, TableWriter
from tests.support.dns import APEX, SOURCE, ask, ask_stream, authority, extended_error, node, query, rcode, texts
from tests.support.world import World, site

LONG_SUFFIX = "漆器" * 20
PRIVATE = 0x0C  # permissions: administrators only


def name_of(identifier: str) -> str:
    return b".".join(owner_labels(Identifier.parse(identifier))).decode()


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    for prefix, address in (("88", "192.0.2.1"), ("88.118", "192.0.2.2"), ("88.118.8", "192.0.2.3"), ("88.118.5", "192.0.2.2")):
        world.delegate(prefix, address=address)
    url = Value(1, "URL", b"https://example.org/a")
    world.put("88.118/ABC", url, Value(2, "NAME", "搪瓷杯".encode()), Value(3, "SECRET", b"x", permissions=PRIVATE))
    world.put("88.118/two", url, Value(2, "url", b"https://example.org/b"))
    world.put("88.118/private", Value(1, "SECRET", b"x", permissions=PRIVATE))
    world.put("88.118/long", Value(1, "TEXT", bytes(range(256)) * 3))
    world.put("88.118/fold", Value(1, "TEXT", b"x" * 1020))
    world.put("88.118/empty", Value(1, "TEXT", b""))
    world.put("88.118/bare", Value(1, "NAME", b"a cup"))
    world.put(f"88.118/{LONG_SUFFIX}", Value(1, "NAME", b"lacquer"))
    world.put("88.118/gone", url)
    world.delete("88.118/gone")
    world.put("88.118/envelope", url, Value(400, "HS_SIGNATURE", b"e.f.g"))
    world.put("88.118.5/hosted", url)
    world.put("88.118/many", *[Value(index, "TEXT", b"x" * 250) for index in range(1, 200)])
    world.put("88.118/mixed", Value(1, "A", b"x", ttl=600), Value(2, "B", b"y", ttl=60))
    return world


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
         "_4a.118.88".replace("4a", "4A").lower(), "_zz.118.88", "_h0.118.88", "_sig.118.88", "_ns.nope.118.88", "-a.118.88",
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


class TestManners:
    def test_the_askers_spelling_is_echoed_whoever_asked_first(self, secondary: DnsDoor) -> None:
        for spelling in ("bare.118.88", "BaRe.118.88", "bArE.118.88"):
            answer = ask(secondary, spelling)
            assert str(answer.q.qname) == f"{spelling}.{APEX}."
            assert texts(answer) == [("1 NAME", b"a cup")]

    def test_only_the_name_is_folded_in_a_ready_answer(self, secondary: DnsDoor) -> None:
        """Types 0x0041 and 0x0061, and so the payload sizes of EDNS, differ by what is a letter's case in a name."""
        name = query("bare.118.88", edns=None)[:-4]
        replies = [
            secondary.answer_datagram(name + struct.pack(">HH", type_, 1), SOURCE, time.time()) for type_ in (0x41, 0x61, 16)
        ]
        counts = [struct.unpack(">H", reply[6:8])[0] for reply in replies if isinstance(reply, bytes)]
        assert counts == [0, 0, 1]
        replies = [secondary.answer_datagram(query("fold.118.88", edns=edns), SOURCE, time.time()) for edns in (0x0461, 0x0441)]
        assert [bool(reply[2] & 0x02) for reply in replies if isinstance(reply, bytes)] == [False, True]

    def test_id_rd_and_cd_are_echoed_and_nothing_else(self, secondary: DnsDoor) -> None:
        for flags, echoed in ((0x0000, 0x8400), (0x0100, 0x8500), (0x0130, 0x8510), (0x06C0, 0x8400)):
            packet = struct.pack(">HH", 0xABCD, flags) + query("bare.118.88")[4:]
            for _ in range(2):
                reply = secondary.answer_datagram(packet, SOURCE, time.time())
                assert isinstance(reply, bytes)
                assert reply[:4] == struct.pack(">HH", 0xABCD, echoed)

    def test_edns_is_answered_with_edns(self, secondary: DnsDoor) -> None:
        assert [rr.rtype for rr in ask(secondary, "bare.118.88", edns=None).ar] == []
        (opt,) = ask(secondary, "bare.118.88").ar
        assert (opt.edns_len, opt.edns_ver, opt.edns_do) == (1232, 0, 0)

    def test_dnssec_ok_is_echoed(self, secondary: DnsDoor) -> None:
        packet = query("bare.118.88")[:-4] + b"\x80\0\0\0"
        reply = secondary.answer_datagram(packet, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert reply[-4:] == b"\x80\0\0\0"

    def test_a_later_version_of_edns(self, secondary: DnsDoor) -> None:
        packet = bytearray(query("bare.118.88"))
        packet[-5] = 1
        reply = secondary.answer_datagram(bytes(packet), SOURCE, time.time())
        assert isinstance(reply, bytes)
        answer = dnslib.DNSRecord.parse(reply)
        assert (rcode(answer), answer.rr, answer.ar[0].edns_ver) == ("BADVERS", [], 0)

    def test_unknown_options_are_ignored_and_share_a_ready_answer(self, world: World, tmp_path: Path) -> None:
        desk = node(world.publish("88.118", tmp_path / "table"))
        door = DnsDoor(desk)
        for number in range(3):
            packet = query("bare.118.88")[:-2] + struct.pack(">HHHQ", 12, 10, 8, number)
            reply = door.answer_datagram(packet, SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert texts(dnslib.DNSRecord.parse(reply)) == [("1 NAME", b"a cup")]
        ask(door, "bare.118.88")
        assert len(door.cache) == 1
        assert desk.metrics.total("cache", "dns-udp", "hit") == 3

    @pytest.mark.parametrize(("edns", "octets_max"), [(None, 512), (100, 512), (600, 600), (4096, 1232)])
    def test_what_does_not_fit_is_asked_for_over_tcp(self, secondary: DnsDoor, edns: int | None, octets_max: int) -> None:
        for _ in range(2):
            packet = query("many.118.88", edns=edns)
            reply = secondary.answer_datagram(packet, SOURCE, time.time())
            assert isinstance(reply, bytes)
            assert len(reply) <= octets_max
            answer = dnslib.DNSRecord.parse(reply)
            assert (bool(answer.header.tc), answer.rr, rcode(answer)) == (True, [], "NOERROR")
        whole = ask_stream(secondary, "many.118.88", edns=edns)
        assert (bool(whole.header.tc), len(whole.rr)) == (False, 199)

    def test_the_longest_datagram_is_that_of_the_asker(self, secondary: DnsDoor) -> None:
        for edns in range(512, 1233, 8):
            reply = secondary.answer_datagram(query("long.118.88", edns=edns), SOURCE, time.time())
            assert isinstance(reply, bytes)
            whole = 12 + len(f"long.118.88.{APEX}") + 2 + 4 + (12 + 7 + 4 + 768) + 11
            assert bool(reply[2] & 0x02) == (whole > edns)
            assert len(reply) == (whole if whole <= edns else 12 + len(f"long.118.88.{APEX}") + 2 + 4 + 11)

    def test_what_does_not_fit_into_dns_at_all(self, tmp_path: Path) -> None:
        world = World()
        world.put("88/big", *[Value(index, "TEXT", b"x" * 40_000) for index in (1, 2)])
        world.put("88/bigger", Value(1, "TEXT", b"x" * 70_000))
        world.put("88/type", Value(1, "T" * 254, b"x"))
        door = DnsDoor(node(world.publish("88", tmp_path / "table")))
        assert ask(door, "big.88").header.tc
        for name, words in (("big", "an answer of 80"), ("bigger", "its 70000 octets"), ("type", "its type of 254")):
            answer = ask_stream(door, f"{name}.88")
            code, sentence = extended_error(answer) or (None, "")
            assert (rcode(answer), answer.rr, code) == ("SERVFAIL", [], 0)
            assert words in sentence
            assert "ask over Handle or HTTP" in sentence


class TestMalformed:
    GOOD = query("bare.118.88")

    @pytest.mark.parametrize("packet", [b"", GOOD[:11], GOOD[:2] + b"\x80" + GOOD[3:]], ids=["empty", "half-header", "response"])
    def test_what_is_no_query_is_dropped(self, secondary: DnsDoor, packet: bytes) -> None:
        assert secondary.answer_datagram(packet, SOURCE, time.time()) is None

    @pytest.mark.parametrize(
        "packet",
        [
            GOOD[:4] + b"\0\0" + GOOD[6:],
            GOOD[:4] + b"\0\2" + GOOD[6:],
            GOOD[:4] + b"\1\1" + GOOD[6:],
            GOOD[:7] + b"\1" + GOOD[8:],
            GOOD[:9] + b"\1" + GOOD[10:],
            GOOD[:11] + b"\2" + GOOD[12:],
            GOOD[:11] + b"\0" + GOOD[12:],
            GOOD[:-1],
            GOOD + b"\0",
            GOOD[:20],
            GOOD[:12] + b"\xc0\x0c" + GOOD[-15:],
            GOOD[:-11] + b"\1a" + GOOD[-11:],
            GOOD[:-10] + b"\0\x10" + GOOD[-8:],
            GOOD[:-2] + b"\0\3\0\1\0",
            GOOD[:-2] + b"\0\5\0\x0a\0\7\0",
            GOOD[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0" + GOOD[-15:],
            GOOD + bytes(2000),
        ],
    )
    def test_formerr(self, secondary: DnsDoor, packet: bytes) -> None:
        reply = secondary.answer_datagram(packet, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert (reply[:2], len(reply), reply[2] & 0x80, reply[3] & 0x0F) == (packet[:2], 12, 0x80, 1)

    @pytest.mark.parametrize("opcode", [1, 2, 4, 5, 15])
    def test_other_opcodes(self, secondary: DnsDoor, opcode: int) -> None:
        packet = self.GOOD[:2] + bytes((opcode << 3,)) + self.GOOD[3:]
        reply = secondary.answer_datagram(packet, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert (reply[2], reply[3] & 0x0F) == (0x80 | opcode << 3, 4)

    def test_stream_framing(self, secondary: DnsDoor) -> None:
        framed = struct.pack(">H", len(self.GOOD)) + self.GOOD
        assert [secondary.message_octets(framed[:length]) for length in (0, 1, 2, 20, len(framed))] == [0, 0, *[len(framed)] * 3]
        assert secondary.message_octets(framed + framed) == len(framed)
        for octets in (0, 11, 1233, 65_535):
            with pytest.raises(FormatError, match=f"DNS message of {octets} octets"):
                secondary.message_octets(struct.pack(">H", octets) + self.GOOD)
        reply = secondary.answer_stream(struct.pack(">H", 65_535) + self.GOOD, SOURCE, time.time())
        assert isinstance(reply, bytes)
        assert (reply[:4], reply[5] & 0x0F) == (b"\0\x0c" + self.GOOD[:2], 1)
        assert secondary.answer_stream(b"\0\1a", SOURCE, time.time()) is None

    def test_a_damaged_record_is_a_failure_and_no_exception(self, world: World, tmp_path: Path) -> None:
        table = world.publish("88.118", tmp_path / "table")
        writer = TableWriter(table)
        whole = encode_stored(world.records[b"88.118/bare"])
        writer.apply([Change(10_000, b"88.118/bare", whole[:-3]), Change(10_001, b"88.118/two", whole[:-3] + b"\1\1\1")])
        writer.close()
        door = DnsDoor(node(table))
        for name in ("bare.118.88", "two.118.88", "_sig.bare.118.88"):
            assert rcode(ask(door, name)) == "SERVFAIL"


class TestTimeToLive:
    def door(self, tmp_path: Path, *values: Value, ttl_days: int = 30) -> tuple[World, DnsDoor]:
        world = World(now=1_800_000_000)
        world.put("88/x", *values, ttl_days=ttl_days)
        return world, DnsDoor(node(world.publish("88", tmp_path / "table")))

    def ttl(self, door: DnsDoor, now: float) -> int:
        (rr,) = ask(door, "x.88", now=now).rr
        return int(rr.ttl)

    def test_a_relative_one_is_told_as_it_is_and_does_not_shrink(self, tmp_path: Path) -> None:
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=7200))
        assert [self.ttl(door, world.now + seconds) for seconds in (0, 5, 4000, 86_400)] == [7200] * 4

    def test_none_outlives_the_signature(self, tmp_path: Path) -> None:
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=7200), ttl_days=1)
        end = world.now + 86_400
        for left in (86_400, 8000, 7200, 3600, 100, 64, 63, 2, 1, 0, -5):
            door = DnsDoor(door.desk)
            for later in (0.0, 0.5, 1.0, 3.0, 50.0, 120.0):
                assert 0 <= self.ttl(door, end - left + later) <= max(0, left - later), (
                    f"{left} s left, asked again {later} s later"
                )
        assert 3500 <= self.ttl(DnsDoor(door.desk), end - 3600) <= 3600

    def test_an_absolute_one_shrinks(self, tmp_path: Path) -> None:
        until = 1_800_000_000 + 10_000
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=until, ttl_type=TTL_ABSOLUTE))
        for seconds in (0, 1, 30, 200, 5000, 9_999, 10_000, 11_000):
            left = max(0, until - world.now - seconds)
            assert left - left // 32 - 1 <= self.ttl(door, world.now + seconds) <= left

    def test_dns_knows_no_longer_one_than_68_years(self, tmp_path: Path) -> None:
        world, door = self.door(tmp_path, Value(1, "T", b"x", ttl=2**32 - 1), ttl_days=28_000)
        assert self.ttl(door, world.now) == 2**31 - 1

    def test_a_referral_ends_with_its_delegation(self, tmp_path: Path) -> None:
        world = World(now=1_800_000_000)
        world.delegate("88")
        door = DnsDoor(node(world.publish("0.NA", tmp_path / "table")))
        for left in (86_400 * 20, 5000, 70, 1, 0):
            for later in (0.0, 0.9, 30.0):
                now = world.now + 30 * 86_400 - left + later
                assert ask(door, "x.88", now=now).auth[0].ttl <= max(0, left - later)


class TestReadyAnswers:
    def test_a_changed_record_is_answered_anew_and_others_stay_ready(self, tmp_path: Path) -> None:
        world = World()
        world.put("88/a", Value(1, "T", b"old"))
        world.put("88/b", Value(1, "T", b"other"))
        table = world.publish("88", tmp_path / "table")
        writer = TableWriter(table)
        desk = node(table)
        door = DnsDoor(desk)
        for name in ("a.88", "b.88", "_sig.a.88"):
            ask(door, name)
        assert len(door.cache) == 3
        record = world.put("88/a", Value(1, "T", b"new"))
        writer.apply([Change(record.serial, b"88/a", encode_stored(record))])
        writer.close()
        assert desk.table is not None
        door.forget(desk.table.refresh())
        assert texts(ask(door, "a.88")) == [("1 T", b"new")]
        assert texts(ask(door, "_sig.a.88"))[0][1] == world.values("88/a")[-1].data
        hits = desk.metrics.cells[cell("cache", "dns-udp", "hit")]
        assert texts(ask(door, "b.88")) == [("1 T", b"other")]
        assert desk.metrics.cells[cell("cache", "dns-udp", "hit")] == hits + 1

    def test_unknown_names_take_no_room(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish("88.118", tmp_path / "table")))
        for number in range(1000):
            assert rcode(ask(door, f"unknown{number}.118.88")) == "NXDOMAIN"
            assert rcode(ask(door, f"x.unknown{number}.118.88")) == "NXDOMAIN"
            assert authority(ask(door, f"x.a{number}.8.118.88"))[1] == "NS"
        assert len(door.cache) == 0
        assert door.cache.octets == 0

    def test_what_is_known_of_zones_is_bounded(self, world: World, tmp_path: Path) -> None:
        door = DnsDoor(node(world.publish("88.118", tmp_path / "table")))
        for number in range(limits.dns_zones_ready.default + 100):
            door.answer_datagram(query(f"x.a{number}.8.118.88"), SOURCE, 0.0)
        assert len(door._cuts) + len(door._branches) <= limits.dns_zones_ready.default

    def test_streams_and_datagrams_do_not_share_them(self, secondary: DnsDoor) -> None:
        assert ask(secondary, "many.118.88").header.tc
        assert not ask_stream(secondary, "many.118.88").header.tc
        assert ask(secondary, "many.118.88").header.tc


def test_outcomes_are_counted(world: World, tmp_path: Path) -> None:
    desk = node(world.publish("88.118", tmp_path / "table"))
    door = DnsDoor(desk)
    for name, type_ in (("bare.118.88", "TXT"), ("bare.118.88", "TXT"), ("nope.118.88", "TXT"), ("bare.118.88", "A"),
                        ("x.8.118.88", "TXT"), ("x.89", "TXT")):  # fmt: skip
        ask(door, name, type_)
    ask_stream(door, "bare.118.88")
    door.answer_datagram(b"\0" * 12, SOURCE, 0.0)
    door.answer_datagram(b"", SOURCE, 0.0)
    counted = {
        name: desk.metrics.total("query", "dns-udp", name)
        for name in ("answer", "not-found", "no-data", "referral", "refused", "malformed", "dropped", "failed")
    }
    assert counted == {
        "answer": 2, "not-found": 1, "no-data": 1, "referral": 1, "refused": 1, "malformed": 1, "dropped": 1, "failed": 0,
    }  # fmt: skip
    assert desk.metrics.total("query", "dns-tcp", "answer") == 1
