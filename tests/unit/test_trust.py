"""Every way in which a record can be wrong is refused, each with its own reason."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest

from resolver.core import trust
from resolver.core.errors import SignatureError
from resolver.core.identifier import Identifier
from resolver.core.record import TYPE_SIGNATURE, Value
from tests.support.world import DAY, World, public

NAME = "88.118/ABC"


@pytest.fixture(name="world")
def _world() -> World:
    world = World(now=1_800_000_000)
    world.delegate("88")
    world.delegate("88.118")
    world.put(
        NAME, Value(1, "URL", b"https://example.org/"), Value(2, "NAME", "设备".encode()), Value(3, "NOTE", b"x", permissions=0x0C)
    )
    return world


def check(world: World, values: tuple[Value, ...], name: str = NAME, **more: int) -> trust.Trusted:
    keys = trust.Keys("0.NA/88.118", {302: public(world.keys["0.NA/88.118"])}, 2**62)
    return trust.verify(Identifier.parse(name), values, keys, more.pop("now", world.now), **more)


def resigned(
    world: World, values: tuple[Value, ...], change: Callable[[dict[str, object]], object], key: str = "0.NA/88.118"
) -> tuple[Value, ...]:
    """`values` with claims changed and signed again by the right key: what a careless or evil signer could make."""
    plain = [v for v in values if v.type != TYPE_SIGNATURE]
    old = next(v for v in values if v.type == TYPE_SIGNATURE)
    head, payload, _ = old.data.split(b".")
    claims = json.loads(urlsafe_b64decode(payload + b"=="))
    change(claims)
    signed = head + b"." + urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return (*plain, old._replace(data=trust.token(signed, world.keys[key].sign(signed))))


def test_a_true_record_verifies_and_private_values_are_not_part_of_it(world: World) -> None:
    found = check(world, world.values(NAME))
    assert [value.index for value in found.values] == [1, 2]
    assert found.issuer == "302:0.NA/88.118"
    assert check(world, tuple(v for v in world.values(NAME) if v.index != 3)).values == found.values


def test_a_true_chain_verifies_up_to_the_anchor(world: World) -> None:
    names = [str(link.identifier) for link in trust.verify_chain(world.chain(NAME), world.anchor.keys, world.now)]
    assert names == [NAME, "0.NA/88.118", "0.NA/88", "0.0/0.0"]


def without(index: int) -> Callable[[World], tuple[Value, ...]]:
    return lambda world: tuple(v for v in world.values(NAME) if v.index != index)


def changed(place: int, /, **fields: Any) -> Callable[[World], tuple[Value, ...]]:
    return lambda world: tuple(v._replace(**fields) if v.index == place else v for v in world.values(NAME))


def claim(**fields: object) -> Callable[[World], tuple[Value, ...]]:
    return lambda world: resigned(world, world.values(NAME), lambda claims: claims.update(fields))


def header(text: bytes) -> Callable[[World], tuple[Value, ...]]:
    def forge(world: World) -> tuple[Value, ...]:
        old = world.values(NAME)[-1]
        payload = old.data.split(b".")[1]
        signed = urlsafe_b64encode(text).rstrip(b"=") + b"." + payload
        return (*world.values(NAME)[:-1], old._replace(data=trust.token(signed, world.keys["0.NA/88.118"].sign(signed))))

    return forge


@pytest.mark.parametrize(
    ("reason", "forged"),
    [
        ("no-signature", without(402)),
        ("missing-value", without(2)),
        ("changed-value", changed(1, data=b"https://example.0rg/")),
        ("changed-value", changed(1, type="EMAIL")),
        ("changed-value", changed(1, ttl=1)),
        ("changed-value", changed(1, permissions=0x0F)),
        ("missing-value", changed(1, permissions=0x0C)),
        ("extra-value", changed(1, index=9)),
        ("extra-value", lambda w: (*w.values(NAME), Value(9, "URL", b"https://evil.example/"))),
        ("extra-value", changed(3, permissions=0x0E)),
        ("duplicate-value", lambda w: (*w.values(NAME), w.values(NAME)[0])),
        ("duplicate-value", lambda w: (*w.values(NAME), w.values(NAME)[-1]._replace(index=403))),
        ("bad-signature", changed(402, data=b"eyJhbGciOiJFZERTQSJ9.e30." + b"A" * 86)),
        ("bad-token", changed(402, data=b"not a token")),
        ("bad-token", changed(402, data=b"eyJhbGciOiJFZERTQSJ9.e30.AAAA")),
        ("bad-token", changed(402, data=b"x" * 250_001)),
        ("algorithm", header(b'{"alg":"none"}')),
        ("algorithm", header(b'{"alg":"HS256"}')),
        ("algorithm", header(b'{"alg":"EdDSA","crit":["x"]}')),
        ("wrong-scope", claim(sub="88.118/OTHER")),
        ("wrong-scope", claim(sub="88.118/abc")),
        ("wrong-signer", claim(iss="302:0.NA/88")),
        ("wrong-signer", claim(iss="303:0.NA/88.118")),
        ("expired", claim(exp=1_800_000_000)),
        ("not-yet-valid", claim(nbf=1_800_000_301)),
        ("bad-token", claim(exp="2000000000")),
        ("bad-token", claim(exp=2e9)),
        ("bad-token", claim(exp=True)),
        ("bad-token", claim(serial=-1)),
        ("bad-token", lambda w: resigned(w, w.values(NAME), lambda claims: claims.pop("nbf"))),
        ("bad-token", claim(digests=[])),
        ("bad-token", claim(digests={"alg": "MD5", "digests": []})),
        ("bad-token", claim(digests={"alg": "SHA-256", "digests": [{"index": 1, "digest": "short"}]})),
        ("extra-value", claim(digests={"alg": "SHA-256", "digests": []})),
    ],
)
def test_each_kind_of_wrong_has_its_reason(world: World, reason: str, forged: Callable[[World], tuple[Value, ...]]) -> None:
    with pytest.raises(SignatureError) as caught:
        check(world, forged(world))
    assert caught.value.reason == reason


def test_a_parent_does_not_sign_its_childs_identifiers(world: World) -> None:
    world.put(NAME, Value(1, "URL", b"https://example.org/"), signed_by="0.NA/88")
    with pytest.raises(SignatureError) as caught:
        check(world, world.values(NAME))
    assert caught.value.reason == "bad-signature"
    keys = trust.Keys("0.NA/88", {302: public(world.keys["0.NA/88"])}, 2**62)
    with pytest.raises(SignatureError) as caught:
        trust.verify(Identifier.parse(NAME), world.values(NAME), keys, world.now)
    assert caught.value.reason == "wrong-signer"


def test_an_older_version_is_refused_once_a_newer_was_seen(world: World) -> None:
    serial = check(world, world.values(NAME)).serial
    assert check(world, world.values(NAME), serial_seen=serial).serial == serial
    with pytest.raises(SignatureError) as caught:
        check(world, world.values(NAME), serial_seen=serial + 1)
    assert caught.value.reason == "serial-regress"


def test_time_bounds(world: World) -> None:
    check(world, world.values(NAME), now=world.now + 30 * DAY - 1)
    check(world, world.values(NAME), now=world.now - 300)
    for now, reason in ((world.now + 30 * DAY, "expired"), (world.now - 301, "not-yet-valid")):
        with pytest.raises(SignatureError) as caught:
            check(world, world.values(NAME), now=now)
        assert caught.value.reason == reason


def test_a_record_ends_with_the_keys_above_it(world: World) -> None:
    world.put("0.NA/88", world.key_value("0.NA/88"), ttl_days=1)
    chain = trust.verify_chain(world.chain(NAME), world.anchor.keys, world.now)
    assert chain[0].expires == world.now + DAY
    with pytest.raises(SignatureError) as caught:
        trust.verify_chain(world.chain(NAME), world.anchor.keys, world.now + DAY)
    assert caught.value.reason == "expired"


def test_a_chain_must_be_whole(world: World) -> None:
    chain = world.chain(NAME)
    for broken in (chain[:-1], [chain[0], *chain[2:]], [], [*chain[:3], chain[2], chain[3]]):
        with pytest.raises(SignatureError) as caught:
            trust.verify_chain(broken, world.anchor.keys, world.now)
        assert caught.value.reason == "broken-chain"
    with pytest.raises(SignatureError) as caught:
        trust.verify_chain(chain * 5, world.anchor.keys, world.now)
    assert caught.value.reason == "chain-too-long"


def test_another_anchor_makes_everything_untrue(world: World) -> None:
    with pytest.raises(SignatureError) as caught:
        trust.verify_chain(world.chain(NAME), World().anchor.keys, world.now)
    assert caught.value.reason == "bad-signature"


def test_a_prefix_without_a_key_hands_nothing_down(world: World) -> None:
    world.put("0.NA/88.118", Value(1, "DESC", b"no key here"))
    with pytest.raises(SignatureError) as caught:
        trust.verify_chain(world.chain(NAME), world.anchor.keys, world.now)
    assert caught.value.reason == "no-key"


def test_a_key_rolls_by_standing_beside_the_old_one(world: World) -> None:
    new = World().keys["0.0/0.0"]
    both = {302: public(world.keys["0.NA/88.118"]), 303: public(new)}
    found = trust.verify(Identifier.parse(NAME), world.values(NAME), trust.Keys("0.NA/88.118", both, 2**62), world.now)
    assert found.issuer == "302:0.NA/88.118"


def test_a_published_private_key_is_refused() -> None:
    document = trust.jwk(bytes(32)) | {"d": "secret"}
    world = World()
    with pytest.raises(SignatureError, match="private"):
        trust.public_keys([world.key_value("x")._replace(data=json.dumps(document).encode())], "0.NA/88")
