"""``webhooks`` on a database, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.cli.conftest import Shell

from stacksona_gate.domain.webhooks import Attempt


@pytest.fixture
def bot(shell: Shell) -> dict[str, Any]:
    """An agent with a webhook."""
    made: dict[str, Any] = shell.json("agent", "create", "bot", "--webhook", "https://example.com/hook")
    return made


def test_a_test_event_is_put_and_listed(shell: Shell, bot: dict[str, Any]) -> None:
    sent = shell.json("webhooks", "test", "bot")
    (listed,) = shell.json("webhooks", "list", "--agent", "bot")
    assert (listed["id"], listed["event"], listed["state"]) == (sent["id"], "test", "pending")
    assert shell.json("webhooks", "list", "--state", "dead") == []
    assert sent["id"] in shell.done("webhooks", "list")


def test_a_delivery_is_shown_with_its_attempts_and_nothing_in_them_reaches_the_terminal(
    shell: Shell, bot: dict[str, Any]
) -> None:
    sent = shell.json("webhooks", "test", "bot")
    attempt = Attempt("default", sent["id"], 1, 1_795_694_400_000_000, 2500, 500, None, "no\x1b[2J\nagain")
    shell.written(lambda tx: tx.webhooks.insert_attempt(attempt))
    text = shell.done("webhooks", "show", sent["id"])
    assert "attempt 1, 2026-11-26T12:00:00Z, 2 ms: 500" in text
    assert "\x1b" not in text
    assert shell.json("webhooks", "show", sent["id"])["attempts"][0]["status"] == 500


def test_a_secret_is_rotated_and_shown_once(shell: Shell, bot: dict[str, Any]) -> None:
    rotated = shell.json("webhooks", "rotate-secret", "bot", "--overlap", "1h")
    assert rotated["webhook_secret"].startswith("whsec_")
    assert (rotated["webhook_secret"] != bot["webhook_secret"], rotated["overlap"]) == (True, 3600)


def test_a_webhook_is_switched_on_and_what_died_is_replayed(shell: Shell, bot: dict[str, Any]) -> None:
    sent = shell.json("webhooks", "test", "bot")
    shell.written(lambda tx: tx.webhooks.give_up("default", bot["id"], 1))
    assert shell.json("webhooks", "switch-on", "bot")["switched_off_at"] is None
    assert shell.json("webhooks", "replay", "--dead") == {"replayed": 1}
    assert shell.json("webhooks", "list")[0]["state"] == "pending"
    assert shell.json("webhooks", "replay", sent["id"]) == {"replayed": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--state", "lost"), "pending, delivered, superseded or dead"),
        (("show", "msg_1"), "no such delivery"),
        (("replay",), "name one delivery"),
        (("replay", "msg_1", "--dead"), "name one delivery"),
        (("test", "nobody"), "no agent"),
        (("rotate-secret", "workspace"), "no webhook of its own"),
    ],
)
def test_what_cannot_be_done_is_said(shell: Shell, bot: dict[str, Any], arguments: tuple[str, ...], said: str) -> None:
    assert said in shell.refused("webhooks", *arguments)
