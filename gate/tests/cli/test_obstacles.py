"""A database that cannot be used: what is in the way, and what to do, and no secret."""

from __future__ import annotations

import psycopg
import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.ports import free_port
from gate.tests.postgres import address, server
from typer.testing import CliRunner

from stacksona_gate.cli import app
from stacksona_gate.cli.obstacles import obstacle
from stacksona_gate.config import Settings, variable

SECRET = "x" * 32


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("secret_key"), SECRET)


def test_a_server_that_does_not_run_is_told_with_its_host_and_port() -> None:
    port = free_port()
    said = Shell(f"postgresql://gate@127.0.0.1:{port}/gate").refused("agent", "list")
    assert "Connection refused" in said
    assert f'"127.0.0.1", port {port}' in said
    assert "see that the server runs" in said


def test_a_database_that_is_missing_is_told_apart_from_a_server_that_does_not_run() -> None:
    said = Shell(address(server(15), "nowhere")).refused("serve", "--port", str(free_port()))
    assert 'database "nowhere" does not exist; make it first' in said


def test_a_role_that_is_missing_is_told() -> None:
    said = Shell(server(15).replace("postgres@", "nobody-here@")).refused("db", "migrate")
    assert 'role "nobody-here" does not exist; make it first' in said


def test_a_password_that_was_written_wrongly_into_the_address_is_not_told() -> None:
    result = CliRunner().invoke(app, ["--database", "postgresql://gate:half@otherhalf@127.0.0.1/gate", "agent", "list"])
    assert result.exit_code == 1
    assert "otherhalf" not in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('FATAL:  password authentication failed for user "gate"', "~/.pgpass or PGPASSWORD"),
        ("fe_sendauth: no password supplied", "~/.pgpass or PGPASSWORD"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "gate", no encryption', "pg_hba.conf"),
        ("connection timeout expired", "see that the server runs"),
        ("the server takes no writes", "docs/how-to/failover.md"),
        ("permission denied for schema public", "must belong to this role"),
        ("FATAL:  sorry, too many clients already", "max_connections"),
    ],
)
def test_the_drivers_words_are_followed_by_the_next_step(words: str, said: str) -> None:
    settings = Settings(database_url="postgresql://gate@db.internal/gate")
    told = obstacle(settings, psycopg.OperationalError(f"{words}\nDETAIL:  a row's content"))
    assert told is not None
    assert told.startswith(words.partition('"')[0])
    assert said in told
    assert "content" not in told
