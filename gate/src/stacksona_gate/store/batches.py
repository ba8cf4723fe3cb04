"""The two hot operations, over lists: one statement for many rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused, refusal
from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import DAY, HOUR
from stacksona_gate.store.base import (
    Change,
    Idempotency,
    Mismatch,
    RedemptionEntries,
    Replayed,
    Stale,
    Stored,
    Submission,
    Submitted,
)
from stacksona_gate.store.queries.agents import generations
from stacksona_gate.store.queries.conversation import ConversationQueries
from stacksona_gate.store.queries.requests import RequestQueries, insert_requests, lock_requests, redeem_requests
from stacksona_gate.store.queries.tenants import ReplayQueries, insert_entries
from stacksona_gate.store.rows import Rows

CLOCKS_APART: Final = HOUR
"""Microseconds: two nodes' clocks may differ by so much, and a key that is sent to both at once is still one."""


def submit_batch(rows: Rows, submissions: Sequence[Submission]) -> list[Submitted]:
    """Writes decisions. Those whose basis moved come back as Stale, nothing of them written."""
    versions = rows.hold_configuration(sorted({s.request.tenant_id for s in submissions}))
    kept = _replays(rows, submissions)
    results: list[Submitted] = []
    fresh: list[Submission] = []
    for submission in submissions:
        result = _earlier(rows, submission, versions, kept)
        results.append(result or Stored())
        if result is None:
            fresh.append(submission)
    _insert(rows, fresh)
    return results


Kept = dict[tuple[str, str], tuple[Idempotency, Request | None]]
"""By tenant and scope, what was answered, and the request if it is one of this batch."""


def _replays(rows: Rows, submissions: Sequence[Submission]) -> Kept:
    """What the calls with an idempotency key were answered before."""
    asked: dict[str, list[Submission]] = {}
    for submission in submissions:
        if submission.idempotency is not None:
            asked.setdefault(submission.request.tenant_id, []).append(submission)
    kept: Kept = {}
    _hold_near_midnight(rows, asked)
    for tenant_id, calls in asked.items():
        scopes = sorted({call.idempotency.scope for call in calls if call.idempotency is not None})
        found = ReplayQueries(rows).find_all(tenant_id, scopes, calls[0].request.created_at)
        kept |= {(tenant_id, scope): (replay, None) for scope, replay in found.items()}
    return kept


def _hold_near_midnight(rows: Rows, asked: Mapping[str, Sequence[Submission]]) -> None:
    """Keys are kept by day, and one of a day is no other's twin: where two nodes may be on two sides of midnight, who
    sends the same key waits for the other, and then finds what it was answered."""
    if any(
        min(call.request.created_at % DAY, -call.request.created_at % DAY) < CLOCKS_APART
        for calls in asked.values()
        for call in calls
    ):
        scopes = {
            f"retry {tenant_id} {call.idempotency.scope}"
            for tenant_id, calls in asked.items()
            for call in calls
            if call.idempotency is not None
        }
        rows.alone(*scopes)


def _earlier(rows: Rows, submission: Submission, versions: dict[str, int], kept: Kept) -> Submitted | None:
    """What makes this submission one that is not to be written."""
    request, asked = submission.request, submission.idempotency
    if versions.get(request.tenant_id) != submission.config_version:
        return Stale()
    if asked is None:
        return None
    known = kept.get((request.tenant_id, asked.scope))
    if known is None:
        kept[request.tenant_id, asked.scope] = (asked, request)  # a second call in the same batch meets it
        return None
    replay, first = known
    if replay.fingerprint != asked.fingerprint:
        return Mismatch()
    first = first or RequestQueries(rows).find(request.tenant_id, request_id_of(replay.answer))
    return Mismatch() if first is None else Replayed(replay.answer, first)


def request_id_of(answer: str) -> str:
    """The request that a kept answer is about."""
    start = answer.index('"request_id":"') + len('"request_id":"')
    return answer[start : answer.index('"', start)]


def _insert(rows: Rows, submissions: Sequence[Submission]) -> None:
    ReplayQueries(rows).insert_all(
        [(s.request.tenant_id, s.idempotency, s.request.created_at) for s in submissions if s.idempotency is not None]
    )
    insert_requests(rows, [s.request for s in submissions])
    insert_entries(rows, [entry for s in submissions for entry in s.entries])
    for submission in submissions:
        request = submission.request
        if submission.attachments:
            ConversationQueries(rows).insert_attachments(request.tenant_id, submission.attachments)
        if request.thread_id is not None:
            rows.changes.append(Change(request.tenant_id, request.id))
    unheard = [submission for submission in submissions if submission.discovered is not None]
    # In one order, so that no two batches wait for each other.
    for submission in sorted(unheard, key=lambda one: one.request.tenant_id):
        _discover(rows, submission.discovered or "", submission.discovered_most, submission.request)


def _discover(rows: Rows, tool_name: str, most: int, request: Request) -> None:
    """Keeps a tool that is new as long as there is room; only that is done by one batch at a time."""
    known = rows.one(
        "SELECT EXISTS (SELECT 1 FROM discovered_tools WHERE tenant_id = $1 AND name = $2)"
        " OR (SELECT COUNT(*) FROM discovered_tools WHERE tenant_id = $1) >= $3",
        request.tenant_id,
        tool_name,
        most,
    )
    if known is not None and known[0]:
        return
    rows.alone(f"discovered {request.tenant_id}")
    rows.run(
        "INSERT INTO discovered_tools (tenant_id, name, first_seen_at, first_agent_id) SELECT $1, $2, $3, $4"
        " WHERE (SELECT COUNT(*) FROM discovered_tools WHERE tenant_id = $1) < $5 ON CONFLICT DO NOTHING",
        request.tenant_id,
        tool_name,
        request.created_at,
        request.agent_id,
        most,
    )


def redeem_batch(
    rows: Rows, attempts: Sequence[tuple[Redemption, RedemptionEntries]]
) -> list[Redeemed | Refused | Stale]:
    """Redeems in order: of several attempts at one approval the first wins.

    Those whose caller may have lost its key meanwhile come back as Stale.
    """
    versions = rows.hold_configuration(sorted({attempt.tenant_id for attempt, _ in attempts}))
    held = _Held(rows, [attempt for attempt, _ in attempts])
    results = [
        held.redeem(attempt, entries) if versions.get(attempt.tenant_id) == attempt.config_version else Stale()
        for attempt, entries in attempts
    ]
    held.write()
    return results


class _Held:
    """The requests that a batch of redemptions is about, and what becomes of them."""

    def __init__(self, rows: Rows, attempts: Sequence[Redemption]) -> None:
        self._rows = rows
        self._requests: dict[tuple[str, str], Request] = {}
        self._generations: dict[tuple[str, str], int] = {}
        self._redeemed: list[Request] = []
        self._entries: list[Entry] = []
        for tenant_id in sorted({attempt.tenant_id for attempt in attempts}):
            wanted = [attempt.claims.request_id for attempt in attempts if attempt.tenant_id == tenant_id]
            found = lock_requests(rows, tenant_id, wanted)
            self._requests |= {(tenant_id, request_id): request for request_id, request in found.items()}
            agents = sorted({request.agent_id for request in found.values()})
            self._generations |= {(tenant_id, agent_id): n for agent_id, n in generations(rows, tenant_id, agents)}

    def redeem(self, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused:
        request = self._requests.get((attempt.tenant_id, attempt.claims.request_id))
        generation = -1 if request is None else self._generations.get((request.tenant_id, request.agent_id), -1)
        reason = refusal(attempt, request, generation)
        if reason is None and request is not None:
            redeemed = replace(request, redeemed_at=attempt.now, redeemed_by=attempt.actor_id)
            self._requests[request.tenant_id, request.id] = redeemed
            self._redeemed.append(redeemed)
            self._entries.append(entries.redeemed(redeemed))
            return Redeemed(redeemed)
        entry = entries.refused(reason or "unknown")
        if entry is not None:
            self._entries.append(entry)
        return Refused(reason or "unknown")

    def write(self) -> None:
        redeem_requests(self._rows, self._redeemed)
        insert_entries(self._rows, self._entries)
        told = [(entry.tenant_id, entry.request_id) for entry in self._entries if entry.request_id is not None]
        self._rows.changes += [Change(tenant_id, request_id) for tenant_id, request_id in told]
