"""Where outgoing calls may go: addresses, spellings, and resolvers that lie."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st

from stacksona_gate.delivery import addresses
from stacksona_gate.delivery.addresses import (
    NOT_FOUND,
    NOT_IN_TIME,
    NOT_PLAIN,
    NOT_PUBLIC,
    AddressGuard,
    AddressRefused,
    is_public,
    plain_host,
)

PUBLIC = ("93.184.216.34", "8.8.8.8", "1.1.1.1", "100.63.255.255", "172.15.0.1", "172.32.0.1", "223.255.255.255")
PUBLIC_IPV6 = ("2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2003::1")

CLOSED = {
    "this network": "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "within this network": "0.1.2.3",
    "private 10": "10.0.0.1",
    "shared": "100.64.0.1",
    "metadata within shared": "100.100.100.200",
    "loopback": "127.0.0.1",
    "any loopback": "127.255.255.254",
    "metadata": "169.254.169.254",
    "link-local": "169.254.0.1",
    "host agent": "168.63.129.16",
    "private 172": "172.16.0.1",
    "end of private 172": "172.31.255.255",
    "metadata within assignments": "192.0.0.192",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "6to4 relay": "192.88.99.1",
    "private 192": "192.168.1.1",
    "benchmarks": "198.19.255.255",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified v6": "::",
    "loopback v6": "::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped in hexadecimal": "::ffff:7f00:1",
    "mapped public": "::ffff:8.8.8.8",
    "compatible": "::127.0.0.1",
    "translated": "::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1",
    "NAT64 of a public address": "64:ff9b::8.8.8.8",
    "local NAT64": "64:ff9b:1::a00:1",
    "discard": "100::1",
    "Teredo": "2001::1",
    "benchmarks v6": "2001:2::1",
    "ORCHID": "2001:20::1",
    "documentation v6": "2001:db8::1",
    "6to4 of loopback": "2002:7f00:1::",
    "6to4 of a public address": "2002:808:808::1",
    "documentation v6, newer": "3fff::1",
    "segment identifiers": "5f00::1",
    "unique local": "fc00::1",
    "metadata v6": "fd00:ec2::254",
    "link-local v6": "fe80::1",
    "site-local": "fec0::1",
    "multicast v6": "ff02::1",
    "not given out": "4000::1",
}

SPELLINGS = {
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "hexadecimal parts": "0x7f.0x0.0x0.0x1",
    "mixed and short": "0x7f.1",
    "octal": "0177.0.0.1",
    "leading zeros": "127.000.000.001",
    "two parts": "127.1",
    "three parts": "127.0.1",
    "one part": "0",
    "five parts": "1.2.3.4.5",
    "too large a part": "256.256.256.256",
    "trailing dot": "127.0.0.1.",
    "trailing dot of a name": "example.com.",
    "two dots": "example..com",
    "fullwidth digits": "１２７.0.0.1",
    "circled digits": "①②⑦.0.0.1",
    "ideographic full stops": "127。0。0。1",
    "letters beyond ASCII": "exämple.com",
    "fullwidth localhost": "ｌｏｃａｌｈｏｓｔ",
    "nothing": "",
    "space": " ",
    "space before": " 127.0.0.1",
    "line break": "example.com\n",
    "null": "127.0.0.1\0.example.com",
    "user": "user@127.0.0.1",
    "port": "127.0.0.1:80",
    "path": "127.0.0.1/",
    "brackets": "[::1]",
    "zone": "fe80::1%eth0",
    "zone on a public address": "2606:4700::1%1",
    "percent-encoding": "%31%32%37.0.0.1",
    "backslash": "example.com\\",
    "number as last label": "example.1",
    "hexadecimal as last label": "example.0x7f",
    "bare 0x": "example.0x",
    "hyphen first": "-example.com",
    "label too long": "a" * 64 + ".com",
    "name too long": ".".join(["a" * 60] * 5),
}


class Names:
    """A resolver with answers prepared, which keeps what it was asked."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def refusal(guard: AddressGuard, host: str) -> str:
    with pytest.raises(AddressRefused) as refused:
        await guard.addresses(host, 443)
    return str(refused.value)


@pytest.mark.parametrize("address", [*PUBLIC, *PUBLIC_IPV6])
async def test_a_public_address_is_reached_without_a_look_up(address: str) -> None:
    names = Names(OSError())
    assert await AddressGuard(resolver=names).addresses(address, 443) == [address]
    assert names.asked == []


@pytest.mark.parametrize("address", CLOSED.values(), ids=CLOSED)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert await refusal(AddressGuard(resolver=Names(OSError())), address) == NOT_PUBLIC


@pytest.mark.parametrize("address", CLOSED.values(), ids=CLOSED)
async def test_a_name_for_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert await refusal(AddressGuard(resolver=Names([address])), "hooks.example.com") == NOT_PUBLIC


@pytest.mark.parametrize("host", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_host_that_can_be_read_in_two_ways_is_refused_before_anybody_is_asked(host: str) -> None:
    names = Names(["93.184.216.34"])
    assert await refusal(AddressGuard(resolver=names), host) == NOT_PLAIN
    assert names.asked == []


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_calls_private(address: object) -> None:
    read = ip_address(str(address))
    closed = read.is_private or read.is_multicast or read.is_reserved or read.is_loopback or read.is_link_local
    assert not (closed and is_public(read))


async def test_a_name_keeps_all_its_public_addresses_in_order() -> None:
    found = ["2606:4700:4700::1111", "1.1.1.1", "1.1.1.1", "1.0.0.1"]
    names = Names(found)
    assert await AddressGuard(resolver=names).addresses("Hooks.Example.COM", 8443) == list(dict.fromkeys(found))
    assert names.asked == [("hooks.example.com", 8443)]


@pytest.mark.parametrize("found", [["1.1.1.1", "10.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["1.1.1.1", "::1"]])
async def test_one_private_address_among_public_ones_refuses_the_name(found: list[str]) -> None:
    assert await refusal(AddressGuard(resolver=Names(found)), "hooks.example.com") == NOT_PUBLIC


async def test_a_private_address_after_many_public_ones_refuses_the_name() -> None:
    found = [f"8.8.{number // 256}.{number % 256}" for number in range(1000)]
    assert await refusal(AddressGuard(resolver=Names([*found, "10.0.0.1"])), "hooks.example.com") == NOT_PUBLIC


async def test_localhost_is_what_it_resolves_to() -> None:
    assert await refusal(AddressGuard(resolver=Names(["127.0.0.1"])), "localhost") == NOT_PUBLIC


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "::1", "fd00::5", "::ffff:808:808", "2002:808:808::1"])
async def test_an_allowed_network_opens_its_addresses(address: str) -> None:
    guard = AddressGuard.of("10.1.0.0/16, 127.0.0.0/8,::1/128,fd00::/64,::ffff:0:0/96,2002::/16", "", Names([address]))
    shown = [str(ip_address(address))]  # Python 3.13 writes an IPv4 address within one of IPv6 in another way
    assert await guard.addresses(address, 80) == await guard.addresses("hooks.internal", 80) == shown


@pytest.mark.parametrize("address", ["10.2.0.1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::"])
async def test_an_allowed_network_opens_nothing_beside_it_nor_what_translates_to_it(address: str) -> None:
    assert await refusal(AddressGuard.of("10.1.0.0/16", "", Names([address])), "hooks.internal") == NOT_PUBLIC


async def test_an_allowed_host_may_be_anywhere() -> None:
    guard = AddressGuard.of("", " Hooks.Internal ,other", Names(["10.0.0.1"]))
    assert await guard.addresses("hooks.INTERNAL", 80) == ["10.0.0.1"]


@pytest.mark.parametrize("host", ["10.0.0.1", "a.hooks.internal", "hooks.internal.example.com", "xhooks.internal"])
async def test_an_allowed_host_opens_no_other_host(host: str) -> None:
    assert await refusal(AddressGuard.of("", "hooks.internal", Names(["10.0.0.1"])), host) == NOT_PUBLIC


@pytest.mark.parametrize("answer", [OSError("no such host"), UnicodeError(), []], ids=repr)
async def test_a_name_without_addresses_is_not_found(answer: Sequence[str] | Exception) -> None:
    assert await refusal(AddressGuard(resolver=Names(answer)), "hooks.example.com") == NOT_FOUND


@pytest.mark.parametrize("answer", ["fe80::1%2", "2606:4700::1%eth0", "", "not an address", "127.1", "1.1.1.1/8"])
async def test_a_resolver_that_answers_no_plain_address_is_not_believed(answer: str) -> None:
    assert await refusal(AddressGuard.of("fe80::/10", "", Names(["1.1.1.1", answer])), "hooks.test") == NOT_PUBLIC


async def test_a_look_up_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(addresses, "LOOK_UP_SECONDS", 0.02)
    assert await refusal(AddressGuard(resolver=never), "hooks.example.com") == NOT_IN_TIME


async def test_a_resolver_that_changes_its_answer_is_asked_and_checked_each_time() -> None:
    guard = AddressGuard(resolver=Names(["1.1.1.1"], ["169.254.169.254"], ["1.0.0.1"]))
    assert await guard.addresses("hooks.example.com", 443) == ["1.1.1.1"]
    assert await refusal(guard, "hooks.example.com") == NOT_PUBLIC
    assert await guard.addresses("hooks.example.com", 443) == ["1.0.0.1"]


async def test_the_machines_own_resolver_finds_the_machine() -> None:
    found = await AddressGuard.of("127.0.0.0/8,::1/128", "").addresses("localhost", 80)
    assert set(found) <= {"127.0.0.1", "::1"}


async def test_the_machines_own_resolver_refuses_the_machine() -> None:
    assert await refusal(AddressGuard(), "localhost") == NOT_PUBLIC


def test_a_name_in_its_ascii_form_is_plain() -> None:
    assert plain_host("XN--Bcher-KVA.example") == "xn--bcher-kva.example"
