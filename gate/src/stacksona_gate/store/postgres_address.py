"""PostgreSQL addresses: one or several servers in libpq's form, checked before anybody connects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from stacksona_gate.domain.errors import Invalid

CONNECTION_DEFAULTS: Final = {
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
    "application_name": "stacksona-gate",
    "target_session_attrs": "read-write",
}
CONNECT_SECONDS: Final = 2
"""How long one of several servers may take to answer: less than one alone may, as another may be the one."""
PORT_MOST: Final = 65_535

_ONE_OF: Final = {
    "target_session_attrs": ("read-write", "primary"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
}
_HOSTS: Final = frozenset(("host", "hostaddr"))
_LISTS: Final = (*_HOSTS, "port")


def connection_parameters(url: str) -> dict[str, Any]:
    """What the address says, with our defaults.

    Raises Invalid, which quotes neither the address nor any value of it: a slip may have put the password anywhere.
    """
    try:
        parameters = {**CONNECTION_DEFAULTS, **conninfo_to_dict(url)}
    except psycopg.ProgrammingError:
        raise Invalid(
            "the database address is malformed; use postgresql://user@host/database, hosts separated by commas, IPv6 in"
            " brackets; in a user or password write % : / ? # [ ] @ as %25 %3A %2F %3F %23 %5B %5D %40"
        ) from None
    for name, allowed in _ONE_OF.items():
        if parameters.get(name, allowed[0]) not in allowed:
            why = ": the gate writes" if name == "target_session_attrs" else ""
            raise Invalid(f"{name} in the database address is one of {', '.join(allowed)}{why}")
    _require_number(parameters, "connect_timeout", 1, 60)
    _require_servers(parameters)
    return parameters


def each_server(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parameters for each of the servers: libpq's lists of hosts, addresses and ports, taken apart.

    Whether one takes writes is for the caller to ask: libpq believes what the server said when the connection was made,
    and a pooler goes on saying what its server was when *its* connection was made, a standby.
    """
    lists = _lists(parameters)
    count = _count(lists)
    if not lists.keys() & _HOSTS:
        return [dict(parameters)]  # the servers are named elsewhere, for libpq alone
    common = {name: value for name, value in parameters.items() if name not in lists} | {"target_session_attrs": "any"}
    if count == 1:
        return [common | {name: values[0] for name, values in lists.items()}]
    common["connect_timeout"] = str(min(int(common.get("connect_timeout", CONNECT_SECONDS)), CONNECT_SECONDS))
    return [
        common | {name: values[number if len(values) > 1 else 0] for name, values in lists.items()}
        for number in range(count)
    ]


def _lists(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: str(parameters[name]).split(",") for name in _LISTS if name in parameters}


def _count(lists: Mapping[str, list[str]]) -> int:
    return max((len(lists[name]) for name in _HOSTS if name in lists), default=1)


def _require_servers(parameters: Mapping[str, Any]) -> None:
    lists = _lists(parameters)
    count = _count(lists)
    hosts = lists.get("host", []) if "hostaddr" not in lists else []
    if count > 1 and "" in hosts:
        raise Invalid("a host is empty in the database address: between two commas, or before or after one")
    if any(len(lists[name]) != count for name in _HOSTS if name in lists):
        raise Invalid("the database address does not name as many addresses (hostaddr) as hosts")
    ports = lists.get("port", [""])
    if len(ports) not in (1, count):
        raise Invalid("the database address does not name as many ports as hosts: give each host its port, or all one")
    for port in ports:
        _require_number({"port": port or "5432"}, "port", 1, PORT_MOST)


def _require_number(parameters: Mapping[str, Any], name: str, least: int, most: int) -> None:
    value = str(parameters.get(name, least)).strip()
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise Invalid(f"{name} in the database address is a whole number from {least} to {most:,}")
