"""Addresses of PostgreSQL: what is understood, what is refused before anybody connects, and what is never quoted."""

from __future__ import annotations

import pytest

from stacksona_gate.config import shown_address
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.store.postgres import PostgresStore
from stacksona_gate.store.postgres_address import connection_parameters, each_server

SERVERS = {
    "postgresql://gate@a/db": [("a", None)],
    "postgres://gate@a:6000/db": [("a", "6000")],
    "postgresql://gate@a:1,b:2/db": [("a", "1"), ("b", "2")],
    "postgresql://gate@a,b:2/db": [("a", ""), ("b", "2")],
    "postgresql://gate@a,b,c/db?port=7": [("a", "7"), ("b", "7"), ("c", "7")],
    "postgresql://gate@[::1]:1,[fe80::2]:2,10.0.0.1:3/db": [("::1", "1"), ("fe80::2", "2"), ("10.0.0.1", "3")],
    "postgresql:///db?host=/run/one,/run/two&port=1,2": [("/run/one", "1"), ("/run/two", "2")],
    "postgresql:///db": [(None, None)],
}


@pytest.mark.parametrize("url", SERVERS)
def test_each_server_is_asked_by_itself(url: str) -> None:
    parameters = each_server(connection_parameters(url))
    assert [(one.get("host"), one.get("port")) for one in parameters] == SERVERS[url]
    assert {one["dbname"] for one in parameters} == {"db"}


def test_every_server_is_reached_with_what_the_address_says_of_all_and_asked_itself_whether_it_takes_writes() -> None:
    first, second = each_server(connection_parameters("postgresql://gate:p%40ss@a,b/db?sslmode=verify-full"))
    assert first["target_session_attrs"] == second["target_session_attrs"] == "any"
    assert (first["sslmode"], first["password"]) == (second["sslmode"], second["password"]) == ("verify-full", "p@ss")


@pytest.mark.parametrize(("given", "alone", "one_of_two"), [("", "3", "2"), ("1", "1", "1"), ("30", "30", "2")])
def test_one_of_several_servers_is_waited_for_no_longer_than_two_seconds(
    given: str, alone: str, one_of_two: str
) -> None:
    option = f"?connect_timeout={given}" if given else ""
    assert each_server(connection_parameters(f"postgresql://a/db{option}"))[0]["connect_timeout"] == alone
    assert each_server(connection_parameters(f"postgresql://a,b/db{option}"))[1]["connect_timeout"] == one_of_two


REFUSED = {
    "postgresql://gate:hunter2@[::1/db": "malformed",
    "postgresql://gate:hunter2@a/db?sslmod=require": "malformed",
    "postgresql://gate:hunter2@a/%00": "malformed",
    "postgresql://gate:hunter2@a,,b/db": "a host is empty",
    "postgresql://gate:hunter2@a,/db": "a host is empty",
    "postgresql://gate:hunter2@a,b,c/db?port=1,2": "as many ports as hosts",
    "postgresql://gate:hunter2@a/db?port=1,2": "as many ports as hosts",
    "postgresql://gate:hunter2@a,b/db?hostaddr=10.0.0.1": "as many addresses",
    "postgresql://gate:hunter2@a:hunter2/db": "port in the database address is a whole number",
    "postgresql://gate:hunter2@a:0/db": "port in the database address is a whole number",
    "postgresql://gate:hunter2@a:65536/db": "port in the database address is a whole number",
    "postgresql://gate:hunter2@a/db?target_session_attrs=standby": "target_session_attrs .* read-write, primary",
    "postgresql://gate:hunter2@a,b/db?target_session_attrs=any": "target_session_attrs .* read-write, primary",
    "postgresql://gate:hunter2@a/db?target_session_attrs=hunter2": "target_session_attrs",
    "postgresql://gate:hunter2@a/db?sslmode=hunter2": "sslmode .* verify-full",
    "postgresql://gate:hunter2@a,b/db?connect_timeout=0": "connect_timeout",
    "postgresql://gate:hunter2@a,b/db?connect_timeout=hunter2": "connect_timeout",
}


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_cannot_be_right_is_refused_and_nothing_of_it_repeated(url: str) -> None:
    with pytest.raises(Invalid, match=REFUSED[url]) as refused:
        PostgresStore(url)
    assert "ter2" not in refused.value.detail
    assert refused.value.__cause__ is None


def test_an_address_to_listen_at_may_name_several_servers_and_is_checked_too() -> None:
    with pytest.raises(Invalid, match="a host is empty"):
        PostgresStore("postgresql://gate@a/db", "postgresql://gate@a,,b/db")


SHOWN = {
    "postgresql://gate:hunter2@a:1,b:2/db?password=hunter2": "postgresql://gate@a:1,b:2/db",
    "postgresql://gate:hun/ter2@a/db": "postgresql://gate@a/db",
    "postgresql://gate:hun?ter2@a/db": "postgresql://…",
    "postgresql://gate:hun@ter2@a/db": "postgresql://gate@a/db",
    "postgres://a/db": "postgres://a/db",
}


@pytest.mark.parametrize("url", SHOWN)
def test_no_message_shows_a_password(url: str) -> None:
    assert shown_address(url) == SHOWN[url]
