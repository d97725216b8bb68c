"""The service as its callers see it: what is written is durable, signed, published and remembered."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from registry.certificates import Certificates
from registry.config import RegistryConfig
from registry.keys import KeyDirectory
from registry.publisher import rebuild_table, table_lock
from registry.registration import Actor, Write, Written
from registry.resigning import Resigning
from registry.service import Delegation, Service
from resolver.core import envelope, trust
from resolver.core.errors import ConfigError, ConflictError, FormatError, OverloadError, StoreError
from resolver.core.identifier import ANCHOR, Identifier, signer
from resolver.core.message import Answer, NotFound, Referral
from resolver.core.record import Record, Value
from resolver.core.wire.keys import RsaPublicKey, decode_public_key
from resolver.core.wire.site import one_server_site
from resolver.core.wire.values import decode_values
from resolver.table import Table
from tests.support.registry import NAME, OPERATOR, URL, registry_config, root_service

A = Identifier.parse("88.118/A")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    opened = await root_service(registry_config(tmp_path))
    yield opened
    await opened.close()


async def write(service: Service, action: str, name: Identifier | str, *values: Value, **more: object) -> Written:
    identifier = Identifier.parse(name) if isinstance(name, str) else name
    (written,) = await service.write([Write(action, identifier, values)._replace(**more)], OPERATOR)  # type: ignore[arg-type]
    return written


def code(written: Written) -> str:
    return written.problem.code if written.problem else written.status


async def published(service: Service) -> Table:
    """The table once it shows everything that is committed."""
    (marker,) = await service.write([Write("replace", Identifier.parse("88.118/MARK"), (Value(1, "AT", os.urandom(8)),))], OPERATOR)
    assert marker.record is not None
    async with asyncio.timeout(20):
        await service.publisher.published(marker.record.serial)
    return Table(service.config.table)


def in_answer(table: Table, name: str) -> tuple[Identifier, tuple[Value, ...]]:
    outcome = table.find(Identifier.parse(name))
    assert isinstance(outcome, Answer)
    return Identifier.parse(name), decode_values(outcome.record.encoded + outcome.record.signature_octets)


def chain(table: Table, name: str) -> list[trust.Trusted]:
    """The record and all above it, verified from the key directory's anchor."""
    names = [name]
    while names[-1] != ANCHOR:
        names.append(signer(Identifier.parse(names[-1])).canonical)
    keys = KeyDirectory(table.path.parent / "keys").public(ANCHOR)
    return trust.verify_chain([in_answer(table, each) for each in names], trust.Keys(ANCHOR, keys, 2**62), int(time.time()))


async def test_one_record_through_its_life(service: Service) -> None:
    assert code(await write(service, "register", A, URL)) == "created"
    assert code(await write(service, "register", A, URL)) == "unchanged"
    assert code(await write(service, "register", A, NAME)) == "exists"
    assert code(await write(service, "patch", A, NAME)) == "replaced"
    assert code(await write(service, "replace", A, URL, NAME)) == "unchanged"
    current = await service.read(A)
    assert current is not None
    assert code(await write(service, "patch", A, remove=(2,), if_match=current.serial - 1)) == "stale"
    assert code(await write(service, "patch", A, remove=(2,), if_match=current.serial)) == "replaced"
    assert code(await write(service, "delete", A)) == "deleted"
    for action in ("register", "replace", "patch", "delete"):
        assert code(await write(service, action, A, URL)) == "gone"
    history = await service.history(A)
    assert [entry.action for entry in history] == ["delete", "patch", "patch", "register"]
    assert [entry.serial for entry in history] == sorted((entry.serial for entry in history), reverse=True)
    assert await service.history(A, 2, history[1].serial) == history[2:]
    assert history[0].record.gone
    table = await published(service)
    assert isinstance(table.find(A), NotFound)
    table.close()


async def test_what_is_published_is_verified_up_to_the_anchor(service: Service) -> None:
    await write(service, "register", A, URL, NAME)
    table = await published(service)
    links = chain(table, "88.118/A")
    assert [link.identifier.canonical for link in links] == ["88.118/A", "0.NA/88.118", "0.NA/88", "0.0/0.0"]
    assert [value.data for value in links[0].values] == [URL.data, NAME.data]
    table.close()


async def test_a_write_is_visible_to_a_resolver_soon_after(service: Service) -> None:
    table = await published(service)
    written = await write(service, "register", A, URL)
    assert written.record is not None
    async with asyncio.timeout(10):
        while not isinstance(table.find(A), Answer):
            await asyncio.sleep(0.01)
            changed = table.refresh()
    assert changed == [A.key]
    table.close()


async def test_concurrent_callers_each_get_their_own_replies(service: Service) -> None:
    async def caller(number: int) -> list[str]:
        names = [Identifier.parse(f"88.118/{number}-{item}") for item in range(5)]
        writes = [Write("register", name, (URL,)) for name in names] + [Write("register", A, (Value(1, "BY", b"%d" % number),))]
        return [code(written) for written in await service.write(writes, OPERATOR)]

    replies = await asyncio.gather(*[caller(number) for number in range(20)])
    assert [reply[:5] for reply in replies] == [["created"] * 5] * 20
    assert sorted(reply[5] for reply in replies) == ["created"] + ["exists"] * 19


async def test_changes_of_one_record_in_one_commit_show_it_signed(service: Service) -> None:
    register = Write("register", A, (URL,))
    first, second, third, fourth = await service.write(
        [register, register, Write("patch", A, (NAME,)), Write("replace", A, (URL, NAME))], OPERATOR
    )
    assert [code(each) for each in (first, second, third, fourth)] == ["created", "unchanged", "replaced", "unchanged"]
    assert second.record == first.record
    assert fourth.record == third.record == await service.read(A)
    assert first.record is not None
    assert first.record.signature != bytes(64)


async def test_a_rejected_write_hides_no_other(service: Service) -> None:
    names = [Identifier.parse(name) for name in ("88.118/1", "99/2", "88.118/3")]
    written = await service.write([Write("register", name, (URL,)) for name in names], OPERATOR)
    assert [code(each) for each in written] == ["created", "not-homed", "created"]
    assert await service.write([], OPERATOR) == []
    with pytest.raises(FormatError, match="resign"):
        await service.write([Write("resign", names[0])], OPERATOR)


async def test_more_than_a_commit_and_more_than_the_queue(tmp_path: Path) -> None:
    service = await root_service(registry_config(tmp_path, commit_changes=7, write_queue=16))
    many = [Write("register", Identifier.parse(f"88.118/{number}"), (URL,)) for number in range(40)]
    first = asyncio.create_task(service.write(many, OPERATOR))
    await asyncio.sleep(0)
    with pytest.raises(OverloadError):
        await service.write(many[:1], OPERATOR)
    assert [code(each) for each in await first] == ["created"] * 40
    assert len(await service.list("88.118", None, 100)) == 40
    await service.close()
    with pytest.raises(OverloadError):
        await service.write(many[:1], OPERATOR)


async def test_a_list_is_in_order_and_goes_on_where_it_was(service: Service) -> None:
    names = ["b", "A", "é", "a/b", "0", "长"]
    await service.write([Write("register", Identifier.parse(f"88.118/{name}"), (URL,)) for name in names], OPERATOR)
    await write(service, "delete", "88.118/b")
    found: list[str] = []
    while page := await service.list("88.118", found[-1] if found else None, 2):
        found += [record.identifier.canonical for record in page]
        await write(service, "replace", "88.118/0", Value(1, "N", os.urandom(4)))
    assert found == ["88.118/0", "88.118/A", "88.118/a/b", "88.118/é", "88.118/长"]
    assert [record.identifier.canonical for record in await service.list("0.NA", None, 9)] == [
        "0.NA/0.NA", "0.NA/88", "0.NA/88.118",
    ]  # fmt: skip


async def test_one_idempotency_key_one_reply(service: Service) -> None:
    change = Write("register", A, (URL,))
    first = await service.write_once(change, OPERATOR, "key-1", b"q" * 32)
    await write(service, "replace", A, NAME)
    again = await service.write_once(change, OPERATOR, "key-1", b"q" * 32)
    assert (again.status, again.record) == ("created", first.record)
    other = await service.write_once(change, OPERATOR, "key-1", b"r" * 32)
    assert code(other) == "idempotency-key-reused"
    elsewhere = await service.write_once(change, Actor("bob", "operator"), "key-1", b"q" * 32)
    assert code(elsewhere) == "exists"
    replies = await asyncio.gather(
        *[
            service.write_once(Write("register", Identifier.parse("88.118/B"), (URL,)), OPERATOR, "key-2", b"q" * 32)
            for _ in range(5)
        ]
    )
    assert {(reply.status, reply.record) for reply in replies} == {("created", replies[0].record)}
    refused = [await service.write_once(change, OPERATOR, "key-3", b"q" * 32) for _ in range(2)]
    assert refused[0] == refused[1]
    with pytest.raises(FormatError):
        await service.write_once(change, OPERATOR, "", b"q" * 32)


async def test_tokens_open_and_stop_opening(service: Service) -> None:
    secret = await service.add_token("line-3", "registrant", ["88.118.l5"])
    assert await service.actor_of(secret) == Actor("line-3", "registrant", ("88.118.L5",))
    assert await service.actor_of(secret + "x") is None
    assert await service.actor_of("\ud800") is None
    with pytest.raises(ConflictError):
        await service.add_token("line-3", "operator")
    with pytest.raises(ConflictError):
        await service.add_token("registry", "operator")
    with pytest.raises(FormatError):
        await service.add_token("x", "king")
    assert [token.name for token in await service.tokens()] == ["line-3"]
    assert await service.revoke_token("line-3")
    assert not await service.revoke_token("line-3")
    assert await service.actor_of(secret) is None


# ---- prefixes


async def test_a_child_with_its_own_node_is_delegated_by_proof_and_its_key_rolls(service: Service, tmp_path: Path) -> None:
    child = KeyDirectory(tmp_path / "child")
    child.generate("88.118.8")
    site = one_server_site("192.0.2.8", 2641, 8000)

    async def delegate(**more: object) -> Written:
        asked = Delegation("88.118.8", site, child.make_proof("88.118.8", "88.118"))
        return await service.delegate(asked._replace(**more), OPERATOR)  # type: ignore[arg-type]

    assert code(await delegate(proof="x.y.z")) == "bad-proof"
    assert code(await delegate(proof=None)) == "bad-proof"
    assert code(await delegate(site=None)) == "bad-proof"
    assert code(await delegate()) == "created"
    assert code(await delegate()) == "unchanged"
    first = child.public("88.118.8")[302]
    child.generate("88.118.8")
    rolled = await delegate()
    assert rolled.record is not None
    assert trust.public_keys(rolled.record.values, "") == {302: first, 303: child.public("88.118.8")[303]}
    assert code(await service.delegate(Delegation("88.118.8"), OPERATOR)) == "exists", "its records are elsewhere"
    assert "88.118.8" not in await service.prefixes()
    table = await published(service)
    assert isinstance(table.find(Identifier.parse("88.118.8/x")), Referral)
    table.close()


async def test_a_hosted_prefix_gets_a_key_and_its_records_follow_when_it_rolls(service: Service) -> None:
    before = await write(service, "register", A, URL)
    keys = KeyDirectory(service.config.keys)
    keys.generate("88.118")
    assert code(await service.delegate(Delegation("88.118"), OPERATOR)) == "replaced"
    after = await write(service, "register", "88.118/B", URL)
    assert before.record is not None
    assert after.record is not None
    assert (before.record.key_index, after.record.key_index) == (302, 303)
    table = await published(service)
    for name in ("88.118/A", "88.118/B"):
        assert chain(table, name)
    table.close()
    moved = Delegation("88.118", one_server_site("192.0.2.9", 1, 2), keys.make_proof("88.118", "88"))
    assert code(await service.delegate(moved, OPERATOR)) == "exists"


async def test_names_that_would_share_a_dns_name_exclude_each_other(service: Service) -> None:
    assert code(await write(service, "register", "88/118", URL)) == "name-taken"
    assert code(await write(service, "register", "88/119", URL)) == "created"
    assert code(await service.delegate(Delegation("88.119"), OPERATOR)) == "name-taken"
    assert "88.119" not in await service.prefixes()
    await service.delegate(Delegation("88.118.L5"), OPERATOR)
    assert code(await write(service, "register", "88.118/l5", URL)) == "name-taken"
    for delegation, expected in ((Delegation("77.1"), "not-homed"), (Delegation("0.NA"), "forbidden")):
        assert code(await service.delegate(delegation, OPERATOR)) == expected
    assert code(await service.delegate(Delegation("88.7"), Actor("x", "registrant", ("88",)))) == "forbidden"


async def test_a_registry_of_its_own_homes_its_prefix(tmp_path: Path) -> None:
    config = registry_config(tmp_path)
    service = await Service.open(config)
    with pytest.raises(ConfigError, match="keygen"):
        await service.home("88.118.8", OPERATOR)
    KeyDirectory(config.keys).generate("88.118.8")
    await service.home("88.118.8", OPERATOR)
    await service.home("88.118.8", OPERATOR)
    assert (await service.prefixes()).keys() == {"88.118.8"}
    assert code(await write(service, "register", "88.118.8/x", URL)) == "created"
    await service.close()
    again = await Service.open(config)
    assert (await again.prefixes()).keys() == {"88.118.8"}
    await again.close()


# ---- the envelope


def rsa_key(record: Record) -> RsaPublicKey:
    key = decode_public_key(next(value.data for value in record.values if value.type == "HS_PUBKEY"))
    assert isinstance(key, RsaPublicKey)
    return key


async def test_the_envelope_leads_from_a_record_to_the_root(tmp_path: Path) -> None:
    service = await root_service(registry_config(tmp_path, envelope=("0.0", "88", "88.118")))
    await write(service, "register", A, URL, NAME)
    records = {}
    for name in ("88.118/A", "0.NA/88.118", "0.NA/88", "0.0/0.0"):
        record = await service.read(Identifier.parse(name))
        assert record is not None
        records[name] = record
    root_key = rsa_key(records["0.0/0.0"])
    key = root_key
    for name, subject in (("0.0/0.0", "300:0.0/0.0"), ("0.NA/88", "300:0.NA/88"), ("0.NA/88.118", "300:0.NA/88.118")):
        (certificate,) = [value for value in records[name].values if value.type == "HS_CERT"]
        claims = envelope.verify(certificate.data, key, name)
        assert claims["sub"] == subject
        key = envelope.certified_key(claims, name)
        assert key == rsa_key(records[name])
    (signature,) = [value for value in records["88.118/A"].values if value.type == "HS_SIGNATURE"]
    claims = envelope.verify(signature.data, key, "88.118/A")
    assert (claims["sub"], claims["iss"]) == ("88.118/A", "300:0.NA/88.118")
    assert [item["index"] for item in claims["digests"]["digests"]] == [1, 2]
    assert code(await write(service, "register", A, URL, NAME)) == "unchanged"
    assert code(await service.delegate(Delegation("88.118"), OPERATOR)) == "unchanged"
    table = await published(service)
    assert chain(table, "88.118/A")
    table.close()
    await service.close()


async def test_an_envelope_with_a_gap_in_its_path_is_refused(tmp_path: Path) -> None:
    config = registry_config(tmp_path, envelope=("0.0",))
    service = await root_service(config)
    child = KeyDirectory(tmp_path / "child")
    child.generate("88.9", rsa=True)
    asked = Delegation("88.9", one_server_site("192.0.2.9", 1, 2), child.make_proof("88.9", "88"))
    assert code(await service.delegate(asked, OPERATOR)) == "invalid-value"
    await service.close()
    with pytest.raises(ConfigError, match="whole path"):
        await Service.open(config._replace(envelope=frozenset(("0.0", "88.118"))))


# ---- time


async def test_records_are_signed_again_in_the_last_third_of_their_term(tmp_path: Path) -> None:
    config = registry_config(tmp_path, envelope=("0.0", "88", "88.118"), signature_days=30, resign_changes=4)
    service = await root_service(config)
    await write(service, "register", A, URL)
    await write(service, "register", "88.118/B", URL)
    await write(service, "delete", "88.118/B")
    late = time.time() + 25 * 86_400
    certificates = Certificates(KeyDirectory(config.keys), 30 * 86_400)
    committer, truth = service._committer, service._truth
    resigning = Resigning(truth, committer, certificates, config.limits, lambda: late - 20 * 86_400)
    assert await resigning.once() == 0
    committer._clock = lambda: late
    resigning = Resigning(truth, committer, certificates, config.limits, lambda: late)
    portions = []
    while (due := await resigning.once()) > 0:
        portions.append(due)
    assert portions == [4, 2]
    assert (await service.history(A))[0].action == "resign"
    assert len(await service.history(Identifier.parse("88.118/B"))) == 2
    record = await service.read(A)
    assert record is not None
    assert record.expires == int(late) + 30 * 86_400
    assert record.values[0] == (await service.history(A))[1].record.values[0]
    prefix = await service.read(Identifier.parse("0.NA/88.118"))
    assert prefix is not None
    certificate = next(value for value in prefix.values if value.type == "HS_CERT")
    assert envelope.claims_of(certificate.data)["exp"] == record.expires
    await service.close()


# ---- truth and table


async def test_a_publisher_goes_on_where_the_table_stands(tmp_path: Path) -> None:
    config = registry_config(tmp_path)
    service = await root_service(config)
    await write(service, "register", A, URL)
    table = await published(service)
    process = service.publisher._process
    assert process is not None
    process.kill()
    written = await write(service, "register", "88.118/B", URL)
    assert written.record is not None
    async with asyncio.timeout(20):
        await service.publisher.published(written.record.serial)
    table.refresh()
    assert isinstance(table.find(Identifier.parse("88.118/B")), Answer)
    table.close()
    await service.close()


def test_a_write_is_answered_while_the_publisher_is_gone(tmp_path: Path) -> None:
    """On the loop that the registry runs on, which does not take a write to a closed pipe lightly."""

    async def scenario() -> None:
        service = await root_service(registry_config(tmp_path))
        try:
            (await published(service)).close()
            process = service.publisher._process
            assert process is not None
            process.kill()
            await process.wait()
            written = await write(service, "register", A, URL)
            assert code(written) == "created"
            assert written.record is not None
            async with asyncio.timeout(20):
                await service.publisher.published(written.record.serial)
        finally:
            await service.close()

    uvloop.run(scenario())


async def test_a_rebuilt_table_is_the_table(tmp_path: Path) -> None:
    config = registry_config(tmp_path)
    service = await root_service(config)
    names = [f"88.118/{number}" for number in range(300)] + ["88.118/" + "长" * 200, "88.118/" + "é" * 60]
    await service.write([Write("register", Identifier.parse(name), (URL,)) for name in names], OPERATOR)
    await service.write([Write("delete", Identifier.parse(name)) for name in names[::3]], OPERATOR)
    (await published(service)).close()
    with pytest.raises(ConfigError, match="stop that first"):
        await rebuild_table(config)
    await service.close()
    live = Table(config.table)
    before = [list(live.entries(database)) for database in (b"records", b"hashed", b"homed", b"meta")]
    seen: list[int] = []
    count = await rebuild_table(config, seen.append)
    assert live.refresh() is None
    assert [list(live.entries(database)) for database in (b"records", b"hashed", b"homed", b"meta")] == before
    assert count == live.stat().records == len(before[0])
    assert seen[-1] == count + live.stat().homed
    live.close()


async def test_a_table_that_another_program_writes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.publisher._LOCK_SECONDS", 0.1)
    config = registry_config(tmp_path)
    with table_lock(config.table, 0.0), pytest.raises(ConfigError, match="another program"):
        await Service.open(config)


async def test_a_truth_that_is_behind_the_table_is_refused(tmp_path: Path) -> None:
    config: RegistryConfig = registry_config(tmp_path)
    await (await root_service(config)).close()
    with pytest.raises(StoreError, match="rebuild"):
        await Service.open(config._replace(database=str(tmp_path / "other.db")))
