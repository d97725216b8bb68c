"""Private keys in their directory, a child's proof, and signing in the other process."""

import asyncio
import json
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry import proof
from registry.keys import KeyDirectory, holder_name, key_name
from registry.signing import Signing
from resolver.core.errors import ConfigError, FormatError, IdentifierError, StoreError
from resolver.core.trust import jwk

NOW = 1_800_000_000


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    return KeyDirectory(tmp_path / "keys")


def test_keys_are_for_their_owner_only_and_are_never_written_over(keys: KeyDirectory) -> None:
    assert keys.public("88.118") == {}
    assert keys.generate("88.118") == 302
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys.path / "88.118@302.pem").stat().st_mode) == 0o600
    first = keys.public("88.118")
    assert keys.generate("88.118") == 303
    assert list(keys.public("88.118")) == [303, 302]
    assert keys.public("88.118")[302] == first[302]
    with pytest.raises(ConfigError, match="remove the older"):
        keys.generate("88.118")
    (keys.path / "88.118@302.pem").unlink()
    assert keys.generate("88.118") == 302
    assert list(KeyDirectory(keys.path).public("88.118")) == [302, 303]


def test_a_key_that_others_can_read_is_refused(keys: KeyDirectory) -> None:
    keys.generate("88")
    (keys.path / "88@302.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyDirectory(keys.path).public("88")


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_named(keys: KeyDirectory, content: bytes) -> None:
    keys.generate("88")
    (keys.path / "88@302.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=r"88@302\.pem"):
        KeyDirectory(keys.path).public("88")


def test_the_root_has_one_name_and_a_prefix_cannot_leave_the_directory() -> None:
    assert {holder_name(name) for name in ("0.0", "0.0/0.0", "0.NA", "0.na")} == {"0.0"}
    assert holder_name("88.l5") == "88.L5"
    for name in ("../88", "88/x", "", "88@302", "88..1"):
        with pytest.raises(IdentifierError):
            holder_name(name)


# ---- proofs


def test_a_proof_shows_key_index_and_rsa_key(keys: KeyDirectory) -> None:
    keys.generate("88.118.8", rsa=True)
    shown = proof.check(keys.make_proof("88.118.8", "88.118", NOW), "88.118.8", "88.118", NOW + 3600, 3600)
    assert (shown.index, shown.public) == (302, keys.public("88.118.8")[302])
    assert shown.envelope == keys.public_rsa("88.118.8")
    keys.generate("88.118.8")
    shown = proof.check(keys.make_proof("88.118.8", "88.118", NOW), "88.118.8", "88.118", NOW, 3600)
    assert (shown.index, shown.public) == (303, keys.public("88.118.8")[303])


def test_a_proof_is_for_one_child_one_parent_and_a_while(keys: KeyDirectory) -> None:
    keys.generate("88.118.8")
    jws = keys.make_proof("88.118.8", "88.118", NOW)
    for prefix, parent, now, reason in (
        ("88.118.9", "88.118", NOW, "sub is"),
        ("88.118.8", "88.101", NOW, "aud is"),
        ("88.118.8", "88.118", NOW + 3601, "make a new one"),
        ("88.118.8", "88.118", NOW - 301, "make a new one"),
    ):
        with pytest.raises(FormatError, match=reason):
            proof.check(jws, prefix, parent, now, 3600)


def test_a_proof_that_was_changed_is_refused(keys: KeyDirectory) -> None:
    keys.generate("88.118.8")
    keys.generate("88.118.9")
    header, payload, signature = keys.make_proof("88.118.8", "88.118", NOW).split(".")
    claims = json.loads(urlsafe_b64decode(payload + "=="))

    def changed(**more: object) -> str:
        return urlsafe_b64encode(json.dumps(claims | more).encode()).rstrip(b"=").decode()

    other = jwk(keys.public("88.118.9")[302])
    forgeries = [
        f"{header}.{changed(key=other)}.{signature}",
        f"{header}.{changed(index=303)}.{signature}",
        f"eyJhbGciOiJub25lIn0.{payload}.",
        f"{header}.{payload}.{signature[:-2]}",
        f"{header}.{payload}",
        "",
        "a.b.c",
        "é.b.c",
        "x" * 10_000,
        f"{header}.{urlsafe_b64encode(b'[' * 5000).decode()}.{signature}",
    ]
    for jws in forgeries:
        with pytest.raises(FormatError, match="proof"):
            proof.check(jws, "88.118.8", "88.118", NOW, 3600)


def test_a_proof_signed_by_another_key_than_it_shows_is_refused(keys: KeyDirectory) -> None:
    keys.generate("88.118.8")
    keys.generate("88.118.9")
    claim = proof.Proof("88.118.8", 302, keys.public("88.118.8")[302], None)
    signed = proof.signing_input(claim, "88.118", NOW)
    jws = proof.assembled(signed, keys.sign(key_name("88.118.9", 302), signed))
    with pytest.raises(FormatError, match="did not make its signature"):
        proof.check(jws, "88.118.8", "88.118", NOW, 3600)


# ---- signing


async def test_many_signatures_are_made_in_another_process_and_in_order(keys: KeyDirectory) -> None:
    keys.generate("88", rsa=True)
    keys.generate("89")
    signing = Signing(keys, keys.path)
    requests = [(key_name(prefix, 302), b"%d" % number) for number in range(150) for prefix in ("88", "89")]
    portions = await asyncio.gather(*[signing.sign(requests[start : start + 150]) for start in (0, 150)])
    rsa = await signing.sign([(key_name("88", 300), b"x")] * 20)
    await signing.close()
    for (key, octets), signature in zip(requests, portions[0] + portions[1], strict=True):
        Ed25519PublicKey.from_public_bytes(keys.public(key.partition("@")[0])[302]).verify(signature, octets)
    assert rsa == [keys.sign(key_name("88", 300), b"x")] * 20


async def test_when_the_signing_process_dies_the_commit_fails_and_the_next_one_has_a_new_process(keys: KeyDirectory) -> None:
    keys.generate("88")
    signing = Signing(keys, keys.path)
    with pytest.raises(StoreError, match="signing process"):
        await signing.sign([("89@302", b"x")] * 200)
    assert len(await signing.sign([("88@302", b"x")] * 200)) == 200
    await signing.close()
