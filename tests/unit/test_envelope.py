"""The RS256 envelope: what the deployed libraries made is read here, and what is made here has their form."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from resolver.core import envelope, trust
from resolver.core.errors import SignatureError
from resolver.core.identifier import Identifier
from resolver.core.wire.keys import RsaPublicKey
from resolver.core.wire.values import decode_values

DOCUMENT = json.loads((Path(__file__).parents[1] / "vectors" / "handle.json").read_text())
VECTORS: dict[str, dict[str, Any]] = {vector["name"]: vector for vector in DOCUMENT["vectors"]}


def public(spki: str) -> RsaPublicKey:
    key = load_der_public_key(bytes.fromhex(spki))
    assert isinstance(key, RSAPublicKey)
    return RsaPublicKey(key.public_numbers().n, key.public_numbers().e)


def private() -> RSAPrivateKey:
    key = load_der_private_key(bytes.fromhex(DOCUMENT["test_keys"]["admin-rsa2048_pkcs8_hex"]), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def sign(signed: bytes) -> bytes:
    return envelope.token(signed, private().sign(signed, PKCS1v15(), SHA256()))


KEY = public(DOCUMENT["test_keys"]["admin-rsa2048_spki_hex"])


def payload(jws: bytes) -> str:
    part = jws.split(b".")[1]
    return base64.urlsafe_b64decode(part + b"==").decode()


@pytest.mark.parametrize(("name", "key_field"), [("jws.hs_signature", "public_key_spki"), ("jws.hs_cert", "issuer_spki")])
def test_what_the_deployed_library_signed_is_verified(name: str, key_field: str) -> None:
    fields = VECTORS[name]["fields"]
    claims = envelope.verify(fields["jws"].encode(), public(fields[key_field]), name)
    assert claims == json.loads(fields["payload"])


def test_the_roots_own_certificate_is_verified_with_the_key_in_it() -> None:
    jws = VECTORS["jws.hs_cert.root"]["fields"]["jws"].encode()
    key = envelope.certified_key(envelope.claims_of(jws), "root")
    assert envelope.verify(jws, key, "root")["perms"] == [{"perm": "everything"}]


def test_a_record_signature_has_the_deployed_form_octet_for_octet() -> None:
    fields = VECTORS["jws.hs_signature"]["fields"]
    encoded = b"".join(bytes.fromhex(VECTORS[name]["hex"]) for name in fields["signed_values"])
    assert len(decode_values(encoded)) == 2
    signed = envelope.record_input(
        Identifier.parse("88.111.1/test"), 1_700_000_000, 1_731_536_000, 42, trust.value_digests(encoded)
    )
    assert payload(signed + b".") == fields["payload"].replace('"iat":1700000000}', '"iat":1700000000,"serial":42}')
    assert signed.startswith(fields["jws"].encode().split(b".")[0] + b".")


def test_a_certificate_permits_its_own_prefix_and_nothing_else() -> None:
    signed = envelope.certificate_input("88.l5", KEY, 1_700_000_000, 1_731_536_000, delegates=True)
    claims = envelope.verify(sign(signed), KEY, "certificate")
    assert claims["perms"] == [
        {"handle": "0.NA/88.L5", "perm": "handlesUnderThisPrefix"},
        {"handle": "0.NA/88.L5", "perm": "derivedPrefixes"},
    ]
    assert (claims["sub"], claims["iss"]) == ("300:0.NA/88.L5", "300:0.NA/88")
    assert envelope.certified_key(claims, "certificate") == KEY
    leaf = envelope.claims_of(sign(envelope.certificate_input("88.118", KEY, 0, 9, delegates=False)))
    assert leaf["perms"] == [{"handle": "0.NA/88.118", "perm": "handlesUnderThisPrefix"}]
    top = envelope.claims_of(sign(envelope.certificate_input("88", KEY, 0, 9, delegates=True)))
    assert (top["sub"], top["iss"]) == ("300:0.NA/88", "300:0.0/0.0")
    root = envelope.claims_of(sign(envelope.root_certificate_input(KEY, 0, 9)))
    assert (root["sub"], root["iss"], root["perms"]) == ("300:0.0/0.0", "300:0.0/0.0", [{"perm": "everything"}])


def test_what_is_not_a_jws_of_this_key_is_refused() -> None:
    good = sign(envelope.root_certificate_input(KEY, 0, 9))
    header, claims, signature = good.split(b".")
    other = public(VECTORS["jws.hs_cert"]["fields"]["issuer_spki"])
    for jws, key, reason in (
        (good, other, trust.Reason.BAD_SIGNATURE),
        (header + b"." + claims[:-4] + b"AAAA." + signature, KEY, trust.Reason.BAD_SIGNATURE),
        (b"eyJhbGciOiJub25lIn0." + claims + b".", KEY, trust.Reason.ALGORITHM),
        (b"", KEY, trust.Reason.ALGORITHM),
        (header, KEY, trust.Reason.ALGORITHM),
    ):
        with pytest.raises(SignatureError) as refused:
            envelope.verify(jws, key, "test")
        assert refused.value.reason == reason
