"""Asking: what each answer is, and what is on disk when it leaves."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from gate.tests.factories import START, World, an_ask

from stacksona_gate.domain.audit import Entry, holds
from stacksona_gate.domain.canonical import canonicalize, digest
from stacksona_gate.domain.errors import Conflict, Forbidden, Invalid
from stacksona_gate.domain.times import DAY
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.requests import Ask, File

RECEIPT = File("receipt.txt", "text/plain", b"40 EUR")
SECRETIVE = Ask(
    "issue_refund",
    "Subject-unsaid",
    preview="Preview-unsaid",
    summary=("Summary-unsaid",),
    payload={"amount": 100, "iban": "Payload-unsaid"},
    metadata={"run": "Metadata-unsaid"},
    workflow_name="Workflow-unsaid",
    task_label="Label-unsaid",
)


@pytest.mark.parametrize(
    ("amount", "tool", "status", "reason_code"),
    [
        (100, "issue_refund", "allow", "default"),
        (500, "issue_refund", "pending_review", "rule"),
        (9000, "issue_refund", "reject", "rule"),
        ("much", "issue_refund", "pending_review", "rule_error"),
        (100, "wire_transfer", "pending_review", "default"),
        (100, "unheard_of", "pending_review", "tool_unknown"),
    ],
)
async def test_policy_answers(w: World, amount: object, tool: str, status: str, reason_code: str) -> None:
    answer = await w.ask(amount, tool=tool)
    assert (answer.status, answer.request.reason_code) == (status, reason_code)


@pytest.mark.parametrize(("amount", "thread", "token"), [(100, False, True), (500, True, False), (9000, False, False)])
async def test_only_what_waits_has_a_thread_and_only_what_may_run_a_token(
    w: World, amount: int, thread: bool, token: bool
) -> None:
    answer = await w.ask(amount)
    assert (answer.thread_id is not None, answer.token is not None) == (thread, token)


async def test_an_agent_without_signed_approvals_is_allowed_without_a_token(w: World) -> None:
    await w.change_agent(AgentChange(signed_approvals=False))
    answer = await w.ask(100)
    assert (answer.status, answer.token) == ("allow", None)


async def test_the_answer_is_on_disk_as_it_was_given(w: World) -> None:
    answer = await w.ask()
    body, stored = json.loads(answer.body), await w.stored(answer)
    assert (body["status"], body["payload_digest"]) == (stored.status, digest({"amount": 500}))


async def test_a_paused_agent_asks_nothing(w: World) -> None:
    await w.pause()
    with pytest.raises(Forbidden):
        await w.ask(100)


@pytest.mark.parametrize(("asked", "agents", "seconds"), [(None, None, DAY // 1_000_000), (None, 60, 60), (45, 60, 45)])
async def test_a_thread_waits_as_long_as_the_request_or_else_its_agent_says(
    w: World, asked: int | None, agents: int | None, seconds: int
) -> None:
    await w.change_agent(AgentChange(expires_in=agents))
    answer = await w.ask(ask=Ask("wire_transfer", "Pay", expires_in=asked))
    assert answer.request.expires_at == START + seconds * 1_000_000


@pytest.mark.parametrize("amount", [100, 500, 9000])
async def test_each_answer_has_one_audit_entry(w: World, amount: int) -> None:
    answer = await w.ask(amount)
    entries = [entry for entry in await w.entries() if entry.request_id == answer.request.id]
    assert [entry.event for entry in entries] == ["thread.opened" if amount == 500 else "request.decided"]


async def entry_of(w: World) -> tuple[Entry, dict[str, Any], dict[str, Any]]:
    await w.ask(ask=SECRETIVE)
    (entry,) = await w.entries("request.decided")
    return entry, json.loads(entry.leaf), json.loads(entry.private)


async def test_a_leaf_is_in_canonical_form(w: World) -> None:
    entry, leaf, _ = await entry_of(w)
    assert canonicalize(leaf).decode() == entry.leaf


async def test_a_leaf_says_who_when_on_what_and_with_which_result(w: World) -> None:
    _, leaf, _ = await entry_of(w)
    assert leaf["actor"] == {"id": w.agent.id, "kind": "agent"}
    assert (leaf["event"], leaf["tenant"], leaf["status"], leaf["reason_code"], leaf["policy_version"]) == (
        "request.decided",
        "default",
        "allow",
        "default",
        1,
    )
    assert leaf["at"] == "2026-11-26T12:00:00Z"


async def test_every_commitment_of_a_leaf_holds_for_its_value_and_for_no_other(w: World) -> None:
    _, leaf, private = await entry_of(w)
    assert leaf["commitments"].keys() == private.keys()
    for name, commitment in leaf["commitments"].items():
        kept = private[name]
        assert holds(commitment, kept["salt"], kept["value"])
        assert not holds(commitment, kept["salt"], "another value")


async def test_what_an_agent_sent_is_committed_to_and_not_in_the_clear(w: World) -> None:
    entry, leaf, _ = await entry_of(w)
    assert "unsaid" not in entry.leaf
    assert leaf["commitments"].keys() >= {"payload", "payload_digest", "subject", "preview", "summary", "metadata"}
    assert SECRETIVE.payload["iban"] in entry.private  # type: ignore[operator]


async def test_the_same_value_twice_has_two_commitments(w: World) -> None:
    for _ in range(2):
        await w.ask(100)
    first, second = [json.loads(entry.leaf)["commitments"]["payload"] for entry in await w.entries("request.decided")]
    assert first != second


async def test_a_retry_gets_the_first_answer_with_a_token_of_its_own_time(w: World) -> None:
    first = await w.ask(100, idempotency="once")
    w.clock.advance(60)
    again = await w.ask(100, idempotency="once")
    assert (again.body, again.token != first.token) == (first.body, True)


async def test_a_retry_with_another_body_is_refused(w: World) -> None:
    await w.ask(100, idempotency="once")
    with pytest.raises(Invalid) as refused:
        await w.ask(101, idempotency="once")
    assert refused.value.code == "idempotency_mismatch"


async def test_a_retry_a_day_later_still_gets_the_first_answer(w: World) -> None:
    first = await w.ask(idempotency="once")
    w.clock.advance(86_399)
    assert (await w.ask(idempotency="once")).body == first.body


async def test_a_retry_after_redemption_carries_no_token(w: World) -> None:
    first = await w.ask(100, idempotency="once")
    await w.redeem(first)
    assert (await w.ask(100, idempotency="once")).token is None


async def test_an_allow_replayed_after_a_pause_is_a_conflict(w: World) -> None:
    await w.ask(100, idempotency="once")
    await w.pause()
    await w.resume()
    with pytest.raises(Conflict) as refused:
        await w.ask(100, idempotency="once")
    assert refused.value.code == "approval_revoked"


async def test_a_subject_may_hold_any_text(w: World) -> None:
    answer = await w.ask(ask=an_ask(subject="\U0001f600 \u202e ' -- %"))
    assert (await w.stored(answer)).subject == "\U0001f600 \u202e ' -- %"


async def committed_files(w: World, event: str) -> list[dict[str, Any]]:
    """The attachments of the newest entry of this event: as it commits to them."""
    entries = await w.read(lambda tx: tx.audit.list_entries(w.tenant_id))
    entry = next(entry for _, entry in entries if entry.event == event)
    beside = json.loads(entry.private)["attachments"]
    assert holds(json.loads(entry.leaf)["commitments"]["attachments"], beside["salt"], beside["value"])
    return beside["value"]  # type: ignore[no-any-return]


async def test_the_log_commits_to_attachments(w: World) -> None:
    await w.ask(ask=Ask("issue_refund", "A refund", payload={"amount": 500}, attachments=(RECEIPT,)))
    (file,) = await committed_files(w, "thread.opened")
    assert (file["name"], file["digest"]) == ("receipt.txt", "sha-256:" + sha256(b"40 EUR").hexdigest())


async def test_the_log_commits_to_attachments_that_a_revision_keeps(w: World) -> None:
    answer = await w.ask(ask=Ask("issue_refund", "A refund", payload={"amount": 500}, attachments=(RECEIPT,)))
    await w.revise(answer)
    (file,) = await committed_files(w, "thread.revised")
    assert file["name"] == "receipt.txt"
