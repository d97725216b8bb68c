"""Golden octets of the Handle protocol: each vector decodes, and encodes again to the same octets.

Every vector is either in a kind that a test below reads whole, or named in one of the two lists of what is not. For messages left
for administration, envelope, header and credential are read all the same; their bodies stay octets.
"""

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.dsa import DSAParameterNumbers, DSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from resolver.core.identifier import Identifier
from resolver.core.trust import value_digests
from resolver.core.wire.admin import Admin, decode_admin, encode_admin
from resolver.core.wire.bodies import (
    ReferralResponse,
    ResolutionRequest,
    decode_error,
    decode_referral,
    decode_resolution_request,
    decode_resolution_response,
    decode_site_info_request,
    encode_error,
    encode_referral,
    encode_resolution_request,
    encode_resolution_response,
)
from resolver.core.wire.fragments import Reassembler, fragment
from resolver.core.wire.framing import Reader, pack_data
from resolver.core.wire.handle import (
    BODY_AT,
    ENVELOPE_OCTETS,
    REQUEST_DIGEST,
    Code,
    Message,
    Op,
    body_after_digest,
    decode_credential,
    decode_envelope,
    decode_message,
    encode_credential,
    encode_message,
    request_digest,
)
from resolver.core.wire.keys import (
    DsaPrivateKey,
    DsaPublicKey,
    RsaPrivateKey,
    RsaPublicKey,
    Sm2PublicKey,
    decode_key_file,
    decode_private_key,
    decode_public_key,
    encode_key_file,
    encode_private_key,
    encode_public_key,
    jwk_to_key,
    key_to_jwk,
)
from resolver.core.wire.site import Server, Site, decode_site, encode_site, server_of
from resolver.core.wire.values import decode_values, encode_values, read_value

DOCUMENT = json.loads((Path(__file__).parent / "handle.json").read_text("utf-8"))
VECTORS: dict[str, dict[str, Any]] = {vector["name"]: vector for vector in DOCUMENT["vectors"]}

# Bodies of administration, authentication, sessions and replication: messages are read, their bodies not yet.
BODY_LEFT_FOR_ADMINISTRATION = {
    "req.create", "req.create.mint_overwrite", "req.add_value", "req.modify_value", "req.remove_value", "req.list_nas",
    "req.home_na", "req.unhome_na", "req.session_setup.client_rsa", "req.session_setup.hdl", "req.session_exchange_key",
    "req.retrieve_txn", "req.retrieve_txn.v2_8", "req.dump_handles", "req.backup_server", "req.challenge_answer.pubkey",
    "req.challenge_answer.seckey", "res.challenge", "res.verify_challenge.false", "res.challenge.v2_6", "res.generic.ok",
    "res.list_handles.more", "res.list_handles.last", "res.session_setup.server", "res.next_txn_id",
    "idis.req.login.2_login.wire", "idis.res.login.3_challenge", "idis.req.login.4_answer.rsa", "idis.req.session_setup",
    "live.cnri.udp.req.session_setup.rc0", "live.cnri.tcp.req.challenge_answer.rc0", "live.cnri.tcp.req.add_value.rc0",
    "live.cnri.tcp.res.add_value.rc1", "live.cnri.tcp.res.modify_value.rc1", "live.cnri.tcp.res.remove_value.rc1",
    "live.cnri.tcp.res.list_handles.rc402", "live.cnri.tcp.req.list_homed_nas.rc0", "live.cnri.tcp.res.list_homed_nas.rc1",
    "live.cnri.tcp.res.home_na.rc1", "live.cnri.tcp.res.unhome_na.rc1", "live.cnri.tcp.res.delete.rc1",
    "live.cnri.tcp.res.session_setup.rc1", "live.idis.req.op200.10800000", "live.idis.req.op100.19400000",
    "live.idis.req.op102.19000000", "live.idis.req.op300.19000000", "live.idis.req.op101.19000000",
}  # fmt: skip

# No message, value or key: answers to challenges, encrypted sessions, and files of a deployed client.
LEFT_WHOLE = {
    "auth.seckey.v2_6", "idis.auth.sm2", "session.aes_cbc", "idis.session.sm4_cbc", "root_info", "local_info",
}  # fmt: skip

READ_KINDS = {
    "message", "handle_value", "hash", "pubkey", "privkey", "privkey-file", "hs_admin", "hs_site", "udp_packet", "value_digest",
    "hs_seckey", "hs_namespace", "hs_signature", "hs_cert",
}  # fmt: skip


def names(*kinds: str) -> list[str]:
    return [name for name, vector in VECTORS.items() if vector["kind"] in kinds]


def octets_of(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name]["hex"])


def fields_of(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = VECTORS[name]["fields"]
    return fields


def test_nothing_is_forgotten() -> None:
    assert len(VECTORS) == DOCUMENT["count"]
    covered = set(names(*READ_KINDS))
    assert covered | LEFT_WHOLE == set(VECTORS)
    assert not covered & LEFT_WHOLE
    unread = {name for name in names("message") if reencoded_body(name) is None}
    assert unread == BODY_LEFT_FOR_ADMINISTRATION


# ---- messages


def reencoded_body(name: str) -> bytes | None:
    """The body of a message decoded and encoded again, or None if it is one of those left."""
    message = decode_message(octets_of(name))
    match message.op, message.code:
        case Op.RESOLUTION, 0:
            return encode_resolution_request(decode_resolution_request(message.body))
        case Op.SITE_INFO, 0:
            return pack_data(decode_site_info_request(message.body))
        case Op.RESOLUTION, Code.SUCCESS:
            digest_octets = 33 if message.flags & REQUEST_DIGEST else 0
            response = decode_resolution_response(message.body[digest_octets:])
            return message.body[:digest_octets] + encode_resolution_response(response)
        case Op.SITE_INFO, Code.SUCCESS:
            return encode_site(decode_site(message.body))
        case _, Code.SERVICE_REFERRAL | Code.PREFIX_REFERRAL:
            return encode_referral(decode_referral(message.body))
        case _, code if code > Code.SUCCESS and code != Code.AUTHENTICATION_NEEDED:
            return encode_error(decode_error(message.body))
    return None


@pytest.mark.parametrize("name", names("message"))
def test_message(name: str) -> None:
    octets, parsed = octets_of(name), VECTORS[name]["parsed"]
    message, envelope = decode_message(octets), decode_envelope(octets)
    assert encode_message(message) == octets
    assert (envelope.length, envelope.sequence, envelope.flags) == (parsed["message_length"], parsed["sequence"], 0)
    assert ".".join(map(str, message.version)) == parsed["version"]
    assert ".".join(map(str, message.suggested)) == parsed["suggested"]
    assert (message.session_id, message.request_id) == (parsed["session_id"], parsed["request_id"])
    assert (message.op, message.code, message.flags) == (parsed["op_code"], parsed["response_code"], int(parsed["op_flags"], 16))
    assert (message.serial, message.recursion, message.expires) == (
        parsed["site_serial"],
        parsed["recursion"],
        parsed["expiration"],
    )
    assert len(message.body) == parsed["body_length"]
    assert len(message.credential or b"") == (parsed["credential_length"] or 0)
    if message.credential:
        assert encode_credential(decode_credential(message.credential)) == message.credential


@pytest.mark.parametrize("name", sorted(set(names("message")) - BODY_LEFT_FOR_ADMINISTRATION))
def test_body(name: str) -> None:
    assert reencoded_body(name) == decode_message(octets_of(name)).body


def test_what_resolution_requests_say() -> None:
    def request(name: str) -> ResolutionRequest:
        return decode_resolution_request(decode_message(octets_of(name)).body)

    assert request("req.resolve.all") == ResolutionRequest(b"88.111.1/test")
    assert request("req.resolve.filtered") == ResolutionRequest("88.111.1/设备-01".encode(), (1, 300), (b"URL", b"HS_SITE."))
    assert request("idis.req.resolve").token == b""
    assert request("idis.req.resolve.auth_token").token == b"tok.en.sig"


def test_what_responses_say() -> None:
    answer = decode_resolution_response(decode_message(octets_of("res.resolve.ok")).body)
    assert answer.name == b"88.111.1/test"
    assert encode_values(answer.values) == octets_of("value.url") + octets_of("value.utf8")
    referral = decode_message(octets_of("res.service_referral.handle"))
    assert decode_referral(referral.body) == ReferralResponse(b"0.NA/88", None)
    assert decode_error(decode_message(octets_of("res.error.server_not_resp")).body) == "That prefix doesn't live here"


def test_request_digest() -> None:
    fields = fields_of("res.resolve.digest")
    digested = bytes.fromhex(fields["request_body_digested_hex"])
    request = bytes(ENVELOPE_OCTETS) + digested
    response = decode_message(octets_of("res.resolve.digest"))
    assert request_digest((2, 11), request) == b"\x03" + bytes.fromhex(fields["requestDigest"])
    assert decode_resolution_response(body_after_digest(response, request)).name == b"88.111.1/test"


def test_request_digest_of_an_older_version() -> None:
    fields, older = fields_of("res.challenge"), fields_of("res.challenge.v2_6")
    request = bytes(ENVELOPE_OCTETS) + bytes.fromhex(fields["request_body_digested_hex"])
    assert request_digest((2, 6), request) == b"\x02" + bytes.fromhex(older["requestDigest"])
    body_after_digest(decode_message(octets_of("res.challenge.v2_6")), request)


def test_digest_of_the_login_covers_header_and_body() -> None:
    octets = octets_of("idis.req.login.2_login.wire")
    digested = bytes.fromhex(fields_of("idis.req.login.2_login.wire")["digested_part_hex"])
    assert octets[ENVELOPE_OCTETS:] == digested
    assert decode_message(octets).credential is None
    expected = bytes.fromhex(fields_of("idis.res.login.3_challenge")["requestDigest"])
    assert request_digest((2, 10), octets) == b"\x03" + expected


def test_certified_response_is_signed_as_its_credential_says() -> None:
    message = decode_message(octets_of("res.resolve.certified.rsa256"))
    assert message.credential
    credential = decode_credential(message.credential)
    assert (credential.kind, credential.hash_name, credential.signer) == ("HS_SIGNED", "SHA-256", "")
    octets = octets_of("res.resolve.certified.rsa256")
    signed = octets[:4] + octets[4:12] + bytes(4) + octets[ENVELOPE_OCTETS : BODY_AT + len(message.body)]
    key = decode_public_key(octets_of("key.rsa.public"))
    assert isinstance(key, RsaPublicKey)
    RSAPublicNumbers(key.e, key.n).public_key().verify(credential.signature, signed, padding.PKCS1v15(), SHA256())


def test_datagrams() -> None:
    datagrams = tuple(octets_of(name) for name in names("udp_packet"))
    for order in (datagrams, datagrams[::-1], (datagrams[1], datagrams[1], datagrams[0])):
        pieces = Reassembler(4, 5)
        *early, whole = [pieces.add("peer", datagram, 0.0) for datagram in order]
        assert not any(early)
        assert whole is not None
        assert decode_message(whole).op == Op.RESOLUTION
        assert fragment(whole, truncated=True) == datagrams


# ---- values and their data


@pytest.mark.parametrize("name", names("handle_value"))
def test_value(name: str) -> None:
    octets = octets_of(name)
    reader = Reader(octets, name)
    value = read_value(reader)
    reader.done()
    assert encode_values([value]) == octets
    if document := fields_of(name).get("json"):
        assert (value.index, value.type) == (document["index"], document["type"])
        assert [(r.identifier, r.index) for r in value.references] == [
            (r["handle"], r["index"]) for r in document.get("references", ())
        ]


@pytest.mark.parametrize("name", ["value.hs_site", "value.hs_site.prefix"])
def test_site_inside_a_value(name: str) -> None:
    (value,) = decode_values(octets_of(name))
    assert encode_site(decode_site(value.data)) == value.data


def test_admin_inside_a_value() -> None:
    (value,) = decode_values(octets_of("value.hs_admin"))
    assert encode_admin(decode_admin(value.data)) == value.data
    (value,) = decode_values(octets_of("idis.value.hs_admin"))
    assert decode_admin(value.data).permissions == 0x0FFF


@pytest.mark.parametrize("name", ["value.hs_pubkey", "idis.value.hs_pubkey_binary"])
def test_key_inside_a_value(name: str) -> None:
    (value,) = decode_values(octets_of(name))
    assert encode_public_key(decode_public_key(value.data)) == value.data


@pytest.mark.parametrize("name", names("hs_admin"))
def test_admin(name: str) -> None:
    octets, fields = octets_of(name), fields_of(name)
    admin = decode_admin(octets)
    permissions = int(fields.get("permissions", "0x0fff"), 16)
    assert admin == Admin(fields["handle"], fields["index"], permissions, legacy=name.endswith("legacy"))
    assert encode_admin(admin) == octets


@pytest.mark.parametrize("name", names("hs_site"))
def test_site(name: str) -> None:
    octets, document = octets_of(name), fields_of(name)["json"]
    site = decode_site(octets)
    assert encode_site(site) == octets
    assert [server.address for server in site.servers] == [server["address"] for server in document["servers"]]
    assert ".".join(map(str, site.protocol)) == document["protocolVersion"]
    for server, listed in zip(site.servers, document["servers"], strict=True):
        assert [i.port for i in server.interfaces] == [i["port"] for i in listed["interfaces"]]
        assert key_to_jwk(decode_public_key(server.public_key)) == listed["publicKey"]["value"]


@pytest.mark.parametrize("name", names("hs_seckey", "hs_namespace"))
def test_plain_data(name: str) -> None:
    ((_, text),) = fields_of(name).items()
    assert octets_of(name).decode() == text


@pytest.mark.parametrize("name", names("hs_signature", "hs_cert"))
def test_token_data(name: str) -> None:
    header, payload, signature = octets_of(name).split(b".")
    assert octets_of(name).decode() == fields_of(name)["jws"]
    assert b64decode(header + b"=" * (-len(header) % 4)) == b'{"alg":"RS256"}'
    assert json.loads(b64decode(payload + b"=" * (-len(payload) % 4), altchars=b"-_")) == json.loads(fields_of(name)["payload"])
    assert len(b64decode(signature + b"=" * (-len(signature) % 4), altchars=b"-_")) == 256


def test_value_digests() -> None:
    expected = [(fields_of(name)["index"], fields_of(name)["base64"]) for name in names("value_digest")]
    assert value_digests(octets_of("value.url") + octets_of("value.utf8")) == expected
    for name in names("value_digest"):
        assert sha256(octets_of("value.url" if name.endswith("1") else "value.utf8")[8:]).digest() == octets_of(name)
    listed = json.loads(fields_of("jws.hs_signature")["payload"])["digests"]["digests"]
    assert [(item["index"], item["digest"]) for item in listed] == expected


@pytest.mark.parametrize("name", names("hash"))
def test_server_of_a_site(name: str) -> None:
    fields = fields_of(name)
    for count in (2, 3, 5):
        servers = tuple(Server(number, "127.0.0.1", b"", ()) for number in range(count))
        site = Site(servers, hash_option=fields["option"])
        assert server_of(site, Identifier.parse(fields["handle"])).server_id == fields[f"server_of_{count}"]


# ---- keys


@pytest.mark.parametrize("name", names("pubkey"))
def test_public_key(name: str) -> None:
    octets, spki = octets_of(name), bytes.fromhex(fields_of(name)["spki_hex"])
    key = decode_public_key(octets)
    assert encode_public_key(key) == octets
    match key:
        case RsaPublicKey(n, e):
            assert RSAPublicNumbers(e, n).public_key() == load_der_public_key(spki)
            assert octets.endswith(bytes(4))
        case DsaPublicKey(q, p, g, y):
            public = load_der_public_key(spki)
            assert isinstance(public, dsa.DSAPublicKey)
            assert public.public_numbers() == DSAPublicNumbers(y, DSAParameterNumbers(p, q, g))
        case Sm2PublicKey():
            assert key.spki == spki
    if not isinstance(key, Sm2PublicKey):
        assert jwk_to_key(key_to_jwk(key), name) == key


@pytest.mark.parametrize("name", names("privkey", "privkey-file"))
def test_private_key(name: str) -> None:
    octets, pkcs8 = octets_of(name), load_der_private_key(bytes.fromhex(fields_of(name)["pkcs8_hex"]), None)
    if VECTORS[name]["kind"] == "privkey-file":
        key = decode_key_file(octets, name)
        assert encode_key_file(key) == octets
    else:
        key = decode_private_key(octets)
        assert encode_private_key(key) == octets
    match key:
        case RsaPrivateKey(n, e, d, p, q, dp, dq, qi):
            assert isinstance(pkcs8, rsa.RSAPrivateKey)
            assert RSAPrivateNumbers(p, q, d, dp, dq, qi, RSAPublicNumbers(e, n)) == pkcs8.private_numbers()
        case DsaPrivateKey(x):
            assert isinstance(pkcs8, dsa.DSAPrivateKey)
            assert pkcs8.private_numbers().x == x


def test_the_message_type_knows_its_defaults() -> None:
    assert decode_message(encode_message(Message(Op.RESOLUTION))) == Message(Op.RESOLUTION)
