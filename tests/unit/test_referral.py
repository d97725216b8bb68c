"""The way down, whom a delegation names, and in which order they are tried."""

import pytest

from resolver.core import limits
from resolver.core.attempts import Attempts
from resolver.core.errors import ReferralError, SignatureError
from resolver.core.identifier import Identifier
from resolver.core.record import TYPE_SITE, TYPE_SITE_PREFIX, Value
from resolver.core.referral import Contact, check_referral, contacts, way
from resolver.core.wire.site import (
    PROTOCOL_HTTP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    SERVICE_ADMIN,
    SERVICE_QUERY,
    Interface,
    Server,
    Site,
    encode_site,
)

UDP, TCP = PROTOCOL_UDP, PROTOCOL_TCP
Q = SERVICE_QUERY


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0.0/0.0", "0.0/0.0"),
        ("0.NA/0.NA", "0.0/0.0 0.NA/0.NA"),
        ("0.na/88", "0.0/0.0 0.NA/88"),
        ("0.NA/88.118", "0.0/0.0 0.NA/88 0.NA/88.118"),
        ("88/x", "0.0/0.0 0.NA/88 88/x"),
        ("88.118.8/A/b", "0.0/0.0 0.NA/88 0.NA/88.118 0.NA/88.118.8 88.118.8/A/b"),
        ("88.abc/x", "0.0/0.0 0.NA/88 0.NA/88.ABC 88.ABC/x"),
        ("0.0/other", "0.0/0.0 0.0/other"),
        ("0.X/y", "0.0/0.0 0.NA/0.X 0.X/y"),
    ],
)
def test_the_way_is_fixed_by_the_names(name: str, expected: str) -> None:
    assert " ".join(link.canonical for link in way(Identifier.parse(name))) == expected


def test_the_way_is_bounded() -> None:
    assert len(way(Identifier.parse(".".join(["1"] * 14) + "/x"))) == limits.chain_records.default
    with pytest.raises(SignatureError, match="more than 16 records") as raised:
        way(Identifier.parse(".".join(["1"] * 15) + "/x"))
    assert raised.value.reason == "chain-too-long"


@pytest.mark.parametrize(
    ("asked", "referred", "word"),
    [
        (2, "0.NA/88.118", None),
        (2, "0.na/88.118", None),
        (2, "0.NA/88", "in a circle"),
        (2, "0.0/0.0", "upward"),
        (3, "0.NA/88", "upward"),
        (2, "0.NA/88.118.8", "too deep"),
        (2, "88.118.8/ABC", "too deep"),
        (2, "0.NA/88.119", "sideways"),
        (2, "0.NA/91", "sideways"),
        (2, "88.118/x", "sideways"),
        (4, "0.NA/88.118.8.1", "sideways"),
        (0, "0.NA/88", "too deep"),
    ],
)
def test_a_referral_leads_to_the_next_record_or_is_refused(asked: int, referred: str, word: str | None) -> None:
    path = way(Identifier.parse("88.118.8/ABC"))
    if word is None:
        check_referral(path, asked, Identifier.parse(referred))
    else:
        with pytest.raises(ReferralError, match=word):
            check_referral(path, asked, Identifier.parse(referred))


# ---- whom a delegation names


def server(address: str, *interfaces: tuple[int, int, int]) -> Server:
    """Interfaces as (service, protocol, port)."""
    return Server(1, address, b"", tuple(Interface(*interface) for interface in interfaces))


def site_value(index: int, type_: str, *servers: Server) -> Value:
    return Value(index, type_, encode_site(Site(servers)))


IDENTIFIERS = site_value(10, TYPE_SITE, server("192.0.2.1", (Q, UDP, 2641), (Q, TCP, 2642)))
PREFIXES = site_value(11, TYPE_SITE_PREFIX, server("192.0.2.2", (Q, TCP, 2641)))
RECORD, DELEGATION = Identifier.parse("88/x"), Identifier.parse("0.NA/88.118")


def test_identifiers_and_prefix_records_may_be_kept_apart() -> None:
    assert contacts([IDENTIFIERS, PREFIXES], RECORD) == (Contact("192.0.2.1", 2641, 2642),)
    assert contacts([IDENTIFIERS, PREFIXES], DELEGATION) == (Contact("192.0.2.2", None, 2641),)
    assert contacts([IDENTIFIERS], DELEGATION) == (Contact("192.0.2.1", 2641, 2642),), "one site serves for both"
    assert contacts([PREFIXES], RECORD) == ()


def test_servers_come_in_order_each_once() -> None:
    more = site_value(12, "HS_SITE.6", server("2001:db8::1", (Q, UDP, 2641)), server("192.0.2.1", (Q, UDP, 2641), (Q, TCP, 2642)))
    assert contacts([IDENTIFIERS, more], RECORD) == (Contact("192.0.2.1", 2641, 2642), Contact("2001:db8::1", 2641, None))


@pytest.mark.parametrize(
    "useless",
    [
        server("192.0.2.9", (Q, PROTOCOL_HTTP, 8000)),
        server("192.0.2.9", (SERVICE_ADMIN, UDP, 2641)),
        server("192.0.2.9", (0, UDP, 2641)),
        server("192.0.2.9", (Q, UDP, 0)),
        server("192.0.2.9", (Q, UDP, 70_000)),
        server("0.0.0.0", (Q, UDP, 2641)),
        server("224.0.0.1", (Q, UDP, 2641)),
        server("ff02::1", (Q, UDP, 2641)),
        server("192.0.2.9"),
    ],
)
def test_a_server_that_cannot_be_asked_is_passed_over(useless: Server) -> None:
    assert contacts([site_value(10, TYPE_SITE, useless), IDENTIFIERS], RECORD) == (Contact("192.0.2.1", 2641, 2642),)


def test_a_site_that_cannot_be_read_hides_no_other() -> None:
    assert contacts([Value(9, TYPE_SITE, b"\0\1garbage"), IDENTIFIERS], RECORD) == (Contact("192.0.2.1", 2641, 2642),)
    assert contacts([Value(9, TYPE_SITE, b"")], RECORD) == ()


def test_servers_are_bounded_in_number() -> None:
    values = [site_value(10 + n, TYPE_SITE, server(f"192.0.2.{n}", (Q, UDP, 2641))) for n in range(1, 60)]
    assert len(contacts(values, RECORD)) == limits.delegation_servers.default


# ---- in which order


A, B, T = Contact("192.0.2.1", 1, 11), Contact("192.0.2.2", 2, 22), Contact("192.0.2.3", None, 33)


def tries(attempts: Attempts, outcome: str) -> list[tuple[str, float]]:
    """All tries with their pauses, when each ends the same way: "silent", "unreadable", or "useless"."""
    made = []
    while (attempt := attempts.next()) is not None:
        made.append((f"{attempt.endpoint.protocol} {attempt.endpoint.port}", attempt.pause))
        if outcome != "useless":
            getattr(attempts, outcome)(attempt)
    return made


def test_silence_udp_first_then_the_other_protocol_after_a_pause() -> None:
    assert tries(Attempts((A, B), 4), "silent") == [("udp 1", 0), ("udp 2", 0), ("tcp 11", 0.05), ("tcp 22", 0)]
    assert tries(Attempts((A,), 4), "silent") == [("udp 1", 0), ("tcp 11", 0.05), ("udp 1", 0.1), ("tcp 11", 0.2)]
    assert tries(Attempts((T,), 2), "silent") == [("tcp 33", 0), ("tcp 33", 0.05)]
    assert tries(Attempts((Contact("192.0.2.4", 4, None),), 2), "silent") == [("udp 4", 0), ("udp 4", 0.05)]


def test_every_server_is_tried_once_however_few_tries_there_are() -> None:
    many = [Contact(f"192.0.2.{n}", n, None) for n in range(1, 9)]
    assert len(tries(Attempts(many, 4), "silent")) == 8
    assert len(tries(Attempts((A, B), 0), "silent")) == 2


def test_what_cannot_be_read_over_udp_is_fetched_over_tcp_at_once_and_then_no_more() -> None:
    assert tries(Attempts((A, B), 4), "unreadable") == [("udp 1", 0), ("tcp 11", 0), ("udp 2", 0), ("tcp 22", 0)]
    assert tries(Attempts((A,), 0), "unreadable") == [("udp 1", 0), ("tcp 11", 0)]


def test_what_is_of_no_use_is_not_tried_again() -> None:
    attempts = Attempts((A, B), 4)
    assert tries(attempts, "useless") == [("udp 1", 0), ("udp 2", 0)]
    assert attempts.exhausted


def test_a_contact_and_an_endpoint_are_shown_in_full() -> None:
    attempt = Attempts((Contact("2001:db8::1", 2641, None),), 1).next()
    assert attempt is not None
    assert str(attempt.endpoint) == "udp [2001:db8::1]:2641"
    assert "/" not in str(attempt.contact), "outages are filed under it, and no identifier is without a slash"
