"""The demo's agent against a gate that is made up: it refunds on nothing but a redeemed approval."""

from __future__ import annotations

import ast
import threading
from pathlib import Path
from typing import Any

import pytest

from stacksona_gate.demo import agent
from stacksona_gate.demo.agent import Answer, DemoAgent, Wire

Json = dict[str, Any]
DECISION: Json = {
    "status": "allow",
    "request_id": "req_1",
    "task_id": "demo-1",
    "thread_id": "THR-1",
    "reason_code": "rule",
    "message": "fine",
    "rule": None,
    "payload_digest": "sha-256:0",
    "approval_token": "a.b.c",
    "review_url": "http://gate/inbox/THR-1",
}


class MadeUp(Wire):
    """Answers from a table of path endings; None: no answer at all. The last of a list answers for good."""

    def __init__(self, **answers: list[Answer | None]) -> None:
        super().__init__("http://gate", "sg_x", threading.Event())
        self.answers = {"threads": [answer({"threads": []})], "outcomes": [answer({}, 201)]} | answers
        self.calls: list[str] = []

    def _try(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer | None:
        name = path.partition("?")[0].rpartition("/")[2]
        self.calls.append(name)
        queue = self.answers[name]
        return queue.pop(0) if len(queue) > 1 else queue[0]

    def rest(self, seconds: float) -> None:
        return


def answer(body: Json, status: int = 200) -> Answer:
    return Answer(status, '"1"', None, body)


def told(wire: Wire) -> str:
    lines: list[str] = []
    DemoAgent(wire, lines.append).run()
    return "\n".join(lines)


VALID = answer({"valid": True})


def test_it_refunds_what_is_allowed_and_redeemed() -> None:
    assert told(MadeUp(requests=[answer(DECISION)], validate=[VALID])).count("refunded 40 usd") == 1


@pytest.mark.parametrize(
    "redemption",
    [
        answer({"valid": False, "reason": "expired"}, 403),
        answer({"valid": False}),
        answer({"valid": "true"}),
        answer({}),
        answer({"detail": "key unknown"}, 401),
        answer({}, 500),
    ],
)
def test_a_redemption_that_does_not_succeed_refunds_nothing(redemption: Answer) -> None:
    wire = MadeUp(requests=[answer(DECISION)], validate=[redemption])
    said = told(wire)
    assert "redeemed, refunded" not in said
    assert "outcomes" not in wire.calls


@pytest.mark.parametrize("status", ["reject", "rejected", "approved", "", "ALLOW", "yes"])
def test_any_other_status_refunds_nothing(status: str) -> None:
    wire = MadeUp(requests=[answer(DECISION | {"status": status})], validate=[VALID])
    assert "redeemed" not in told(wire)
    assert "validate" not in wire.calls


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_it_refunds_nothing(token: str | None) -> None:
    wire = MadeUp(requests=[answer(DECISION | {"approval_token": token})], validate=[VALID])
    assert "redeemed, refunded" not in told(wire)


def test_it_asks_again_when_nobody_answers() -> None:
    wire = MadeUp(requests=[None, answer({}, 503), answer({}, 429), answer(DECISION)], validate=[VALID])
    assert "refunded 40 usd" in told(wire)
    assert wire.calls.count("requests") == 3 + 3


def test_a_refused_key_is_said_and_ends_it() -> None:
    wire = MadeUp(threads=[answer({"detail": "the key is unknown"}, 401)])
    assert told(wire) == "[demo agent] the gate refuses this agent: the key is unknown"
    assert wire.calls == ["threads"]


def test_it_waits_until_people_have_decided_and_shows_their_words_without_what_a_terminal_obeys() -> None:
    pending = DECISION | {"status": "pending_review", "revision_requested": True, "feedback": "which order?"}
    rejected = DECISION | {"status": "rejected", "message": "no\x1b[2J", "payload": agent.REFUNDS[1]}
    decisions: list[Answer | None] = [answer(pending), None, answer(pending), answer(rejected)]
    said = told(MadeUp(requests=[answer(pending)], decisions=decisions))
    assert said.count('asks for changes: "which order?"') == 1
    assert ': "no\N{REPLACEMENT CHARACTER}[2J"' in said
    assert "  not refunded" in said
    assert "redeemed" not in said


def test_it_knows_the_wire_alone() -> None:
    tree = ast.parse(Path(agent.__file__).read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert [name for name in names if (name or "").startswith("stacksona")] == []
