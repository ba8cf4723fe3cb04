"""The address guard: where a call may go whose address came with a thread. As the gate's own, by the same vectors
(``conformance/addresses``): what is not public is refused unless the operator allows its network.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network
type Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

LOOK_UP_SECONDS: Final = 5.0
NOT_PUBLIC: Final = "not a public address"
NOT_PLAIN: Final = "the host is not written as a plain name or address"
NOT_FOUND: Final = "host not found"

_CLOSED: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        "168.63.129.16/32",  # one cloud's host agent, behind a public number
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
"""Special-purpose networks of the IANA registries, those that translate to other addresses among them."""
_GIVEN_OUT: Final = IPv6Network("2000::/3")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressRefused(Exception):
    """No call may be made. The message is one of this module's phrases."""


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet could have that address, and nothing translates it to another."""
    if isinstance(address, IPv6Address) and address not in _GIVEN_OUT:
        return False
    return address.is_global and not any(address in network for network in _CLOSED)


def plain_host(host: str) -> str:
    """In lower case. Raises AddressRefused when two readers could take it for different hosts."""
    lower = host.lower()
    if _literal(lower) is not None:
        return lower
    labels = lower.split(".")
    is_plain = lower.isascii() and len(lower) <= 253 and all(map(_LABEL.fullmatch, labels))
    if not is_plain or _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused(NOT_PLAIN)
    return lower


def _literal(host: str) -> Address | None:
    if not host.isascii() or "%" in host or "/" in host:
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None


class AddressGuard:
    """Says to which addresses a call to a host may go."""

    def __init__(self, networks: Sequence[Network] = (), resolver: Resolver | None = None) -> None:
        self._networks = tuple(networks)
        self._resolver = resolver or system_resolver

    @classmethod
    def of(cls, networks: str, resolver: Resolver | None = None) -> AddressGuard:
        """From the setting. Raises ValueError for what is no network."""
        return cls([ip_network(one.strip()) for one in networks.split(",") if one.strip()], resolver)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where the call may connect, at least one, from one look-up.

        Raises AddressRefused when the host is not plain, is not found, or has any address that is closed.
        """
        plain = plain_host(host)
        literal = _literal(plain)
        found = [literal] if literal is not None else await self._looked_up(plain, port)
        if not all(map(self._is_open, found)):
            raise AddressRefused(NOT_PUBLIC)
        return [str(address) for address in found]

    def _is_open(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)

    async def _looked_up(self, host: str, port: int) -> list[Address]:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self._resolver(host, port)
        except (OSError, UnicodeError, TimeoutError):
            raise AddressRefused(NOT_FOUND) from None
        literals = [_literal(one) for one in dict.fromkeys(found)]
        if not literals:
            raise AddressRefused(NOT_FOUND)
        plain = [one for one in literals if one is not None]
        if len(plain) < len(literals):  # one has a zone: it is of a link
            raise AddressRefused(NOT_PUBLIC)
        return plain


async def system_resolver(host: str, port: int) -> list[str]:
    """As the machine resolves names. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
