"""Every kind of tampering has its own reason, and what is refused is neither kept nor built upon.

Each lie is told of a record, by the server that has it, and of a delegation, by the server above.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from resolver.core import trust
from resolver.core.errors import SignatureError
from resolver.core.exchange import Told
from resolver.core.identifier import Identifier
from resolver.core.message import Failed
from resolver.core.record import TYPE_KEY, TYPE_SIGNATURE, Value
from resolver.core.trust import Reason
from resolver.core.wire.values import encode_values
from tests.support.scripted import Script, told, tree

DAY = 86_400


class Victim(NamedTuple):
    """A record to lie about: the port of its server, whose key signs it, and what else the lies need."""

    port: int
    name: str
    holder: str
    above: str  # the key above that one
    below: str  # a key below that one
    sibling: str  # another record with the same signer
    indexes: tuple[int, int]


RECORD = Victim(1118, "88.118/ABC", "0.NA/88.118", "0.NA/88", "0.NA/88.118.8", "88.118/DEF", (1, 2))
DELEGATION = Victim(1088, "0.NA/88.118", "0.NA/88", "0.0/0.0", "0.NA/88.118", "88/OTHER", (10, 11))


class Lie(NamedTuple):
    """What is asked for and true, and the ways to bend it."""

    script: Script
    victim: Victim
    true: Told

    def values(self, *values: Value) -> Told:
        return self.true._replace(values=values)

    def changed(self, index: int = 0, **fields: Any) -> Told:
        """The `index`-th of the victim's two values with other fields."""
        at = self.victim.indexes[index]
        return self.values(*(v._replace(**fields) if v.index == at else v for v in self.true.values))

    def exchanged(self) -> Told:
        """Two values under each other's index."""
        one, two = self.victim.indexes
        other = {one: two, two: one}
        return self.values(*(v._replace(index=other.get(v.index, v.index)) for v in self.true.values))

    def resigned(self, change: Callable[[bytes], bytes]) -> Told:
        """The record with its token changed."""
        return self.values(*(v._replace(data=change(v.data)) if v.type == TYPE_SIGNATURE else v for v in self.true.values))

    def forged(self, holder: str | None = None, **claims: object) -> Told:
        """The record, truly signed by the key of `holder`, over claims that are not what they should be."""
        world, name = self.script.world, self.victim.name
        values = self.true.values[:-1]
        digests = trust.value_digests(encode_values(values))
        issuer = trust.issuer(Identifier.parse(name))
        signed = trust.signing_input(name, issuer, world.now, world.now, world.now + DAY, 99, digests)
        header, _, payload = signed.partition(b".")
        written = json.loads(trust._unbase64url(payload) or b"") | claims
        signed = header + b"." + urlsafe_b64encode(json.dumps(written).encode()).rstrip(b"=")
        jws = trust.token(signed, world.keys[holder or self.victim.holder].sign(signed))
        return self.values(*values, trust.signature_value(jws, world.now, DAY))


def flipped(jws: bytes) -> bytes:
    """`jws` with one bit of its signature turned."""
    signed, _, tail = jws.rpartition(b".")
    signature = trust._unbase64url(tail)
    assert signature is not None
    return trust.token(signed, bytes((signature[0] ^ 1,)) + signature[1:])


def with_header(algorithm: str) -> Callable[[bytes], bytes]:
    header = urlsafe_b64encode(b'{"alg":"%s"}' % algorithm.encode()).rstrip(b"=")
    return lambda jws: header + jws[jws.index(b".") :]


LIES: dict[str, tuple[Reason, Callable[[Lie], Told]]] = {
    "a value dropped": (Reason.MISSING_VALUE, lambda lie: lie.values(*lie.true.values[1:])),
    "a value added": (Reason.EXTRA_VALUE, lambda lie: lie.values(Value(7, "URL", b"x"), *lie.true.values)),
    "a value doubled": (Reason.DUPLICATE_VALUE, lambda lie: lie.values(lie.true.values[0], *lie.true.values)),
    "data changed": (Reason.CHANGED_VALUE, lambda lie: lie.changed(data=b"https://evil.example/")),
    "type changed": (Reason.CHANGED_VALUE, lambda lie: lie.changed(type="EMAIL")),
    "TTL changed": (Reason.CHANGED_VALUE, lambda lie: lie.changed(ttl=604_800)),
    "permissions changed": (Reason.CHANGED_VALUE, lambda lie: lie.changed(permissions=0x0F)),
    "a value hidden as private": (Reason.MISSING_VALUE, lambda lie: lie.changed(permissions=0x0C)),
    "a value hidden as a signature": (Reason.MISSING_VALUE, lambda lie: lie.changed(1, type="HS_SIGNATURE.X")),
    "two indexes exchanged": (Reason.CHANGED_VALUE, Lie.exchanged),
    "the signature dropped": (Reason.NO_SIGNATURE, lambda lie: lie.values(*lie.true.values[:-1])),
    "two signatures": (Reason.DUPLICATE_VALUE, lambda lie: lie.values(*lie.true.values, lie.true.values[-1]._replace(index=403))),
    "a token cut short": (Reason.BAD_TOKEN, lambda lie: lie.resigned(lambda jws: jws[:-9])),
    "a bit of the signature turned": (Reason.BAD_SIGNATURE, lambda lie: lie.resigned(flipped)),
    "algorithm none": (Reason.ALGORITHM, lambda lie: lie.resigned(with_header("none"))),
    "algorithm RS256": (Reason.ALGORITHM, lambda lie: lie.resigned(with_header("RS256"))),
    "another record's signature": (
        Reason.WRONG_SCOPE, lambda lie: lie.resigned(lambda _: lie.script.world.values(lie.victim.sibling)[-1].data)),
    "signed by the key above": (Reason.BAD_SIGNATURE, lambda lie: lie.forged(lie.victim.above)),
    "signed by a key below": (Reason.BAD_SIGNATURE, lambda lie: lie.forged(lie.victim.below)),
    "claims another signer": (Reason.WRONG_SIGNER, lambda lie: lie.forged(iss="302:" + lie.victim.above)),
    "claims another key": (Reason.WRONG_SIGNER, lambda lie: lie.forged(iss="303:" + lie.victim.holder)),
    "claims another name": (Reason.WRONG_SCOPE, lambda lie: lie.forged(sub=lie.victim.sibling)),
    "expired": (Reason.EXPIRED, lambda lie: lie.forged(exp=lie.script.world.now - 1)),
    "not valid yet": (Reason.NOT_YET_VALID, lambda lie: lie.forged(nbf=lie.script.world.now + 3600)),
    "no expiry": (Reason.BAD_TOKEN, lambda lie: lie.forged(exp=None)),
}  # fmt: skip


@pytest.mark.parametrize("victim", [RECORD, DELEGATION], ids=["record", "delegation"])
@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused_for_its_reason(name: str, victim: Victim) -> None:
    script = tree()
    script.world.put("88/OTHER", Value(1, "URL", b"https://example.org/other"))
    reason, tell = LIES[name]
    script.says(victim.port, victim.name, lambda true: tell(Lie(script, victim, true)))
    found = script.walk("88.118/ABC")
    assert told(found) == reason
    assert isinstance(found.outcome, Failed)
    assert isinstance(found.outcome.error, SignatureError)
    assert any(f"refused ({reason})" in step.said for step in found.steps), "the trace tells why"
    assert script.cache.kept(victim.name.encode(), script.now) is None, "what was refused is not kept"
    assert found.chain[0].identifier.canonical == victim.holder, "the chain ends where belief ended"
    assert script.asked[-1].endswith(victim.name), "nothing below it was asked for"


def test_an_older_version_is_refused_while_the_newer_one_is_remembered() -> None:
    script = tree()
    old = script.world.values("88.118/ABC")
    script.world.put("88.118/ABC", Value(1, "URL", b"https://example.org/newer"))
    assert told(script.walk("88.118/ABC")) == "verified"
    script.passes(DAY + 1)
    script.says(1118, "88.118/ABC", Told(1, Identifier.parse("88.118/ABC"), old))
    assert told(script.walk("88.118/ABC")) == Reason.SERIAL_REGRESS
    script.says(1118, "88.118/ABC", Told(100))
    assert told(script.walk("88.118/ABC")) == "no-such-identifier"
    script.passes(61)
    script.says(1118, "88.118/ABC", Told(1, Identifier.parse("88.118/ABC"), old))
    assert told(script.walk("88.118/ABC")) == Reason.SERIAL_REGRESS, "a negative answer in between changes nothing"


def test_a_delegation_without_a_key_leads_nowhere() -> None:
    script = tree()
    values = [v for v in script.world.values("0.NA/88.118") if v.type not in (TYPE_KEY, TYPE_SIGNATURE)]
    script.world.put("0.NA/88.118", *values)
    assert told(script.walk("88.118/ABC")) == Reason.NO_KEY


def test_another_anchor_verifies_nothing() -> None:
    ours, theirs = tree(), tree()
    ours.world.keys["0.0/0.0"] = theirs.world.keys["0.0/0.0"]  # so is the anchor; the records stay as they were signed
    found = ours.walk("88.118/ABC")
    assert told(found) == Reason.BAD_SIGNATURE
    assert found.chain == ()


def test_a_chain_may_not_be_longer_than_its_bound() -> None:
    script = tree()
    assert told(script.walk(".".join(["88"] * 15) + "/x")) == Reason.CHAIN_TOO_LONG
    assert script.asked == []
