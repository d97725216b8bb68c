"""The rules of registration and assignment that a client meets one at a time."""

import json
from typing import Any

import pytest

from registry.assignment import Holding, names_shared, record_values, refused, rolled
from registry.registration import Actor, Plan, Rejected, State, Write, delegation_key, is_made_here, plan
from resolver.core import trust
from resolver.core.identifier import Identifier, prefix_record
from resolver.core.limits import Limits
from resolver.core.record import Record, Reference, Value
from resolver.core.wire.site import decode_site, one_server_site
from resolver.core.wire.stored import decode_stored, encode_stored

NOW = 1_800_000_000
OPERATOR = Actor("operator", "operator")
REGISTRANT = Actor("line-3", "registrant", ("88.118.5",))
URL = Value(1, "URL", b"https://example.org/")
EMPTY = State(None)


def planned(write: Write, actor: Actor = OPERATOR, homed: bool = True, state: State = EMPTY, **bounds: int) -> Plan | Rejected:
    return plan(write, actor, homed, state, NOW, Limits(bounds))


def register(name: str, *values: Value, **more: Any) -> Write:
    return Write("register", Identifier.parse(name), values or (URL,), **more)


def record(name: str, *values: Value, serial: int = 7, gone: bool = False) -> Record:
    return Record(Identifier.parse(name), values, serial, NOW, NOW, NOW + 99, bytes(64), gone=gone)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("88.118.5/A", True), ("88.118.5.1/A", True), ("88.118.50/A", False), ("88.118/A", False), ("88.118.5x/A", False)],
)
def test_a_registrant_writes_at_and_below_its_own_prefixes_only(name: str, allowed: bool) -> None:
    decided = planned(register(name), REGISTRANT)
    assert isinstance(decided, Plan) if allowed else (isinstance(decided, Rejected) and decided.code == "forbidden")


def test_a_prefix_that_is_not_homed_here_is_refused_with_its_name() -> None:
    decided = planned(register("88.9/A"), homed=False)
    assert isinstance(decided, Rejected)
    assert (decided.code, decided.http_status) == ("not-homed", 422)
    assert "88.9" in decided.text


@pytest.mark.parametrize("name", ["0.NA/88.118", "0.na/88.118", "0.0/0.0"])
def test_prefix_records_are_not_for_clients(name: str) -> None:
    decided = planned(register(name))
    assert isinstance(decided, Rejected)
    assert decided.code == "forbidden"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (URL._replace(index=0), "values[1].index"),
        (URL._replace(index=2**31), "values[1].index"),
        *[(URL._replace(index=index), "values[1].index") for index in (300, 301, 302, 303, 400, 401, 402)],
        (URL._replace(index=5), "values[1].index"),
        *[
            (URL._replace(type=type_), "values[1].type")
            for type_ in (
                "",
                "a\nb",
                "x" * 256,
                "HS_SIGNATURE",
                "hs_signature",
                "HS_SIGNATURE.ED25519",
                "HS_CERT",
                "HS_CERT.X",
                "JWK",
                "HS_PUBKEY",
            )
        ],
        (URL._replace(ttl=-1), "values[1].ttl"),
        (URL._replace(ttl=2**32), "values[1].ttl"),
        (URL._replace(ttl_type=2), "values[1].ttl"),
        (URL._replace(permissions=16), "values[1].permissions"),
        (URL._replace(type="half \ud800"), "values[1].type"),
        (URL._replace(references=(Reference("88/\ud800", 1),)), "values"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_with_its_place(value: Value, place: str) -> None:
    decided = planned(register("88/A", Value(5, "NAME", b"first"), value))
    assert isinstance(decided, Rejected)
    assert (decided.code, decided.http_status, decided.place) == ("invalid-value", 422, place)


def test_types_that_only_look_like_ours_are_taken() -> None:
    assert not any(map(is_made_here, ("HS_ADMIN", "HS_SITE", "JWKS", "SIGNATURE", "URL", "10320/loc")))


@pytest.mark.parametrize("index", [302, 400])
def test_what_the_service_keeps_cannot_be_taken_away(index: int) -> None:
    write = Write("patch", Identifier.parse("88/A"), remove=(index,))
    decided = planned(write, state=State(record("88/A", URL)))
    assert isinstance(decided, Rejected)
    assert decided.place == "remove[0]"


def test_bounds_of_a_record() -> None:
    many = [Value(index, "X", b"") for index in range(1, 12)]
    decided = planned(register("88/A", *many), record_values=10)
    assert isinstance(decided, Rejected)
    assert (decided.code, decided.http_status) == ("too-large", 413)
    decided = planned(register("88/A", Value(1, "X", bytes(5000))), record_octets=4096)
    assert isinstance(decided, Rejected)
    assert "record_octets" in decided.text


def test_a_record_whose_signed_answer_would_not_fit_a_message_is_refused() -> None:
    large = [Value(2000 + index, "X", bytes(200)) for index in range(700)]
    assert isinstance(planned(register("88/A", *large)), Plan)
    decided = planned(register("88/A", *large), state=State(None, enveloped=True))
    assert isinstance(decided, Rejected)
    assert decided.code == "too-large"


def test_a_suffix_that_is_the_label_of_a_delegated_prefix_is_refused() -> None:
    decided = planned(register("88/118"), state=State(None, delegated=True))
    assert isinstance(decided, Rejected)
    assert decided.code == "name-taken"
    assert "88.118" in decided.text
    assert delegation_key(Identifier.parse("88/118")) == b"0.NA/88.118"
    assert delegation_key(Identifier.parse("88/l5")) == b"0.NA/88.L5"
    assert delegation_key(Identifier.parse("88/1_18")) is None
    assert delegation_key(Identifier.parse("88/1.18")) is None
    assert {name.canonical for name in names_shared("88.L5")} == {"88/L5", "88/l5"}


def test_what_does_not_change_keeps_its_timestamp() -> None:
    old = [Value(1, "URL", b"a", timestamp=5), Value(2, "NAME", b"b", timestamp=6)]
    write = Write("replace", Identifier.parse("88/A"), (Value(2, "NAME", b"b"), Value(1, "URL", b"new")))
    decided = planned(write, state=State(record("88/A", *old)))
    assert isinstance(decided, Plan)
    assert [(value.index, value.timestamp) for value in decided.values] == [(1, NOW), (2, 6)]


def test_a_gone_identifier_says_so_before_anything_else() -> None:
    decided = planned(register("88/A", URL._replace(index=0)), state=State(record("88/A", gone=True, serial=12)))
    assert isinstance(decided, Rejected)
    assert (decided.code, decided.http_status) == ("gone", 410)
    assert "12" in decided.text


# ---- delegations


def test_who_may_delegate_what() -> None:
    assert refused("88.118", OPERATOR, True) is None
    for prefix, actor, homed, code in (
        ("88.118.5", REGISTRANT, True, "forbidden"),
        ("0.NA", OPERATOR, True, "forbidden"),
        ("0.0", OPERATOR, True, "forbidden"),
        ("88.118", OPERATOR, False, "not-homed"),
    ):
        decided = refused(prefix, actor, homed)
        assert decided is not None
        assert decided.code == code


def test_a_prefix_record_names_servers_keys_and_administrator() -> None:
    site = one_server_site("192.0.2.1", 2641, 8000)
    values = record_values("88.118", Holding(site, {302: b"a" * 32, 303: b"b" * 32}))
    assert [(value.index, value.type) for value in values] == [
        (10, "HS_SITE"), (11, "HS_SITE.PREFIX"), (100, "HS_ADMIN"), (302, "JWK"), (303, "JWK"),
    ]  # fmt: skip
    assert decode_site(values[0].data) == decode_site(values[1].data) == site
    assert json.loads(values[3].data) == trust.jwk(b"a" * 32)


def test_a_rolling_key_leaves_the_other_one_in_place() -> None:
    def prefix_with(keys: dict[int, bytes]) -> Record:
        site = one_server_site("192.0.2.1", 2641, 8000)
        kept = Record(prefix_record("88"), record_values("88", Holding(site, keys)), 1, NOW, NOW, NOW + 9, bytes(64))
        return decode_stored(kept.identifier.key, encode_stored(kept))

    old, new, newer = b"a" * 32, b"b" * 32, b"c" * 32
    assert rolled(None, {302: old}) == {302: old}
    assert rolled(prefix_with({302: old}), {303: new}) == {303: new, 302: old}
    assert rolled(prefix_with({302: old, 303: new}), {302: newer}) == {302: newer, 303: new}
    assert rolled(prefix_with({302: old}), {302: old}) == {302: old}
    assert rolled(prefix_with({302: old}), {303: old}) == {303: old}
