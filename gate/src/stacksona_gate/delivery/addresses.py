"""The address guard: where an outgoing call may go. What is not public is refused unless the operator allows it.

What is public is said by the special-purpose registries (RFC 6890 and the IANA tables that follow it), which is less
than what can be routed: ranges that translate to other addresses (6to4, Teredo, NAT64, IPv4-mapped) are not public
either, so that nobody has to look inside them.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network
type Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises OSError when there are none to be had."""

LOOK_UP_SECONDS: Final = 5.0
LOOK_UPS_AT_ONCE: Final = 64
"""Threads: a name whose server never answers holds one for as long as the system's resolver waits."""

NOT_PUBLIC: Final = "refused: not a public address"
NOT_PLAIN: Final = "refused: the host is not written as a plain name or address"
NOT_FOUND: Final = "host not found"
NOT_IN_TIME: Final = "host not found in time"

_CLOSED_IPV4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared between carriers and customers; one cloud's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # one cloud's host agent, behind a public number
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; one cloud's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # multicast tunnels
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_OPEN_IPV6: Final = IPv6Network("2000::/3")
"""The only space from which global unicast addresses are given out. Outside it: unspecified, loopback, IPv4-mapped and
-compatible, NAT64, unique local (clouds' metadata among it), link-local, site-local, multicast, segment identifiers."""
_CLOSED_IPV6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressRefused(Exception):
    """No call may be made. The message is one of the phrases of this module: it names no address and no secret."""


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet could have that address, and no translation stands behind it."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_IPV4) and address.is_global
    if address not in _OPEN_IPV6:
        return False
    return not any(address in network for network in _CLOSED_IPV6) and address.is_global


def plain_host(host: str) -> str:
    """The host in lower case. Raises AddressRefused when different readers could take it for different hosts.

    Plain are: an IPv4 address of four decimal numbers without leading zeros, an IPv6 address without zone and brackets,
    a name of ASCII labels whose last one is no number (an IDN is in its ``xn--`` form).
    """
    lower = host.lower()
    literal = _literal(lower)
    if literal is not None:
        return lower
    labels = lower.split(".")
    plain = lower.isascii() and len(lower) <= 253 and all(map(_LABEL.fullmatch, labels))
    if not plain or _NUMBER.fullmatch(labels[-1]):
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
    """Says to which addresses a call to a host may go. Keeps nothing between calls."""

    def __init__(
        self, networks: Sequence[Network] = (), hosts: frozenset[str] = frozenset(), resolver: Resolver | None = None
    ) -> None:
        """``networks`` and ``hosts`` (plain, lower case) may be reached although they are not public."""
        self._networks = tuple(networks)
        self._hosts = hosts
        self._resolver = resolver or system_resolver

    @classmethod
    def of(cls, networks: str, hosts: str, resolver: Resolver | None = None) -> AddressGuard:
        """From the settings, which are comma separated. Raises ValueError for what is no network."""
        allowed = [ip_network(one.strip()) for one in networks.split(",") if one.strip()]
        return cls(allowed, frozenset(one.strip().lower() for one in hosts.split(",") if one.strip()), resolver)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a call to ``host`` may connect, in the resolver's order, at least one. Looks the name up once.

        Raises AddressRefused when the host is not plain, has no address, or when **any** of its addresses is closed: a
        name that answers with one public and one private address is an attempt.
        """
        plain = plain_host(host)
        literal = _literal(plain)
        found = [literal] if literal is not None else await self._looked_up(plain, port)
        if plain not in self._hosts and not all(map(self._is_open, found)):
            raise AddressRefused(NOT_PUBLIC)
        return [str(address) for address in found]

    def _is_open(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)

    async def _looked_up(self, host: str, port: int) -> list[Address]:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self._resolver(host, port)
        except TimeoutError:
            raise AddressRefused(NOT_IN_TIME) from None
        except (OSError, UnicodeError):
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
    look_up = (host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found = await asyncio.get_running_loop().run_in_executor(_threads(), socket.getaddrinfo, *look_up)
    return [str(entry[4][0]) for entry in found]


@cache
def _threads() -> ThreadPoolExecutor:
    """Their own: a name server that hangs must not hold the threads in which passwords are hashed."""
    return ThreadPoolExecutor(LOOK_UPS_AT_ONCE, thread_name_prefix="look-up")
