"""dig, untouched, against the DNS door on real sockets, over UDP and TCP."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from resolver.core.record import Value
from resolver.doors.dns import DnsDoor
from tests.support.dns import APEX, closing_tables, name_of, node, served
from tests.support.peers import program
from tests.support.world import World

SECONDS = 30
CODES = 100


class Dig:
    def __init__(self, port: int) -> None:
        self._command = (program("dig", "bind9-dnsutils"), "@127.0.0.1", "-p", str(port), "+time=5", "+tries=1")

    async def __call__(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._command, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        return output.decode()


@pytest.fixture
async def dig(tmp_path: Path) -> AsyncIterator[Dig]:
    program("dig", "bind9-dnsutils")
    world = World()
    for prefix in ("88", "88.118", "88.118.8"):
        world.delegate(prefix, address="192.0.2.8")
    for number in range(CODES):
        world.put(f"88.118/Code-{number:03}", Value(1, "URL", f"https://example.org/{number}".encode()))
    world.put("88.118/搪瓷杯", Value(1, "NAME", '搪瓷杯 "大"'.encode()))
    world.put("88.118/long", Value(1, "TEXT", b"0123456789" * 500))
    with closing_tables():
        async with served(DnsDoor(node(world.publish("88.118", tmp_path / "table")))) as port:
            yield Dig(port)


def whole_name(identifier: str) -> str:
    return f"{name_of(identifier)}.{APEX}"


def status(output: str) -> str:
    found = re.search(r"status: (\w+)", output)
    assert found, output
    return found[1]


def flags(output: str) -> set[str]:
    found = re.search(r";; flags: ([a-z ]+);", output)
    assert found, output
    return set(found[1].split())


@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
async def test_values(dig: Dig, way: str) -> None:
    assert await dig(way, "+short", "TXT", whole_name("88.118/Code-007")) == '"1 URL" "https://example.org/7"\n'
    assert await dig(way, "+short", "URI", whole_name("88.118/Code-007")) == '10 1 "https://example.org/7"\n'
    name = await dig(way, "+short", "TXT", whole_name("88.118/搪瓷杯"))
    octets = re.sub(r"\\(\d{3})", lambda digits: chr(int(digits[1])), name.replace('\\"', "'")).encode("latin-1")
    assert octets == '"1 NAME" "搪瓷杯 \'大\'"\n'.encode()
    signature = await dig(way, "+short", "TXT", "_sig." + whole_name("88.118/Code-007"))
    assert signature.startswith('"402 HS_SIGNATURE.ED25519" "eyJhbGciOiJFZERTQSJ9.')


async def test_a_long_answer_is_fetched_over_tcp(dig: Dig) -> None:
    truncated = await dig("+ignore", "TXT", whole_name("88.118/long"))
    assert "tc" in flags(truncated)
    assert "ANSWER: 0" in truncated
    whole = await dig("+short", "TXT", whole_name("88.118/long"))
    assert "".join(whole.split('"')[3::2]) == "0123456789" * 500


async def test_many_names_in_any_case(dig: Dig, tmp_path: Path) -> None:
    dice = random.Random(7)
    spelt = [
        "".join(dice.choice((c.lower(), c.upper())) for c in whole_name(f"88.118/Code-{number:03}")) for number in range(CODES)
    ]
    batch = tmp_path / "names"
    batch.write_text("".join(f"{spelling} TXT\n" for spelling in spelt))
    for way in ("+notcp", "+tcp", "+keepopen"):
        output = await dig(way, "+noall", "+answer", "-f", str(batch))
        found = [line.split(None, 4) for line in output.splitlines()]
        assert [(line[0], line[4]) for line in found] == [
            (f"{spelling}.", f'"1 URL" "https://example.org/{number}"') for number, spelling in enumerate(spelt)
        ]


async def test_zones_and_referrals(dig: Dig) -> None:
    soa = await dig("SOA", f"118.88.{APEX}")
    assert (status(soa), "aa" in flags(soa)) == ("NOERROR", True)
    assert f"_ns.118.88.{APEX}. hostmaster.{APEX}." in soa
    name_server = await dig("NS", f"118.88.{APEX}")
    assert re.search(rf"_ns\.118\.88\.{APEX}\.\s+3600\s+IN\s+A\s+192\.0\.2\.53", name_server)
    referral = await dig("+norecurse", "TXT", f"x.8.118.88.{APEX}")
    assert (status(referral), "aa" in flags(referral)) == ("NOERROR", False)
    assert re.search(rf"8\.118\.88\.{APEX}\.\s+\d+\s+IN\s+NS\s+_ns\.8\.118\.88\.{APEX}\.", referral)
    assert re.search(rf"_ns\.8\.118\.88\.{APEX}\.\s+\d+\s+IN\s+A\s+192\.0\.2\.8", referral)


async def test_negative_answers_have_the_soa(dig: Dig) -> None:
    absent = await dig("TXT", f"nope.118.88.{APEX}")
    assert status(absent) == "NXDOMAIN"
    assert re.search(rf"118\.88\.{APEX}\.\s+60\s+IN\s+SOA", absent)
    no_data = await dig("AAAA", whole_name("88.118/Code-001"))
    assert (status(no_data), "SOA" in no_data) == ("NOERROR", True)


async def test_manners(dig: Dig) -> None:
    name = whole_name("88.118/Code-001")
    assert "EDE: 20 (Not Authoritative): (this prefix is not homed here)" in await dig("TXT", f"x.89.{APEX}")
    chaos = await dig("-c", "CH", "TXT", "version.bind")
    assert (status(chaos), "EDE: 21 (Not Supported): (only class IN is served)" in chaos) == ("REFUSED", True)
    assert "Transfer failed." in await dig("AXFR", f"118.88.{APEX}")
    assert status(await dig("+edns=1", "+noednsneg", "TXT", name)) == "BADVERS"
    assert status(await dig("+opcode=notify", "TXT", name)) == "NOTIMP"
    assert status(await dig("+header-only")) == "FORMERR"
    assert "RFC8482" in await dig("ANY", "+notcp", name)
    dnssec = await dig("+dnssec", "+nsid", "+subnet=192.0.2.0/24", "+padding=128", "TXT", name)
    assert (status(dnssec), "flags: do; udp: 1232" in dnssec) == ("NOERROR", True)
    plain = await dig("+noedns", "TXT", name)
    assert (status(plain), "OPT PSEUDOSECTION" in plain) == ("NOERROR", False)
