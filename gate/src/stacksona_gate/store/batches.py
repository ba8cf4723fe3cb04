"""The two hot operations, over lists: one statement for many rows."""

from __future__ import annotations

from collections.abc import Sequence

from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused, refusal
from stacksona_gate.domain.requests import Request
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
from stacksona_gate.store.queries.conversation import ConversationQueries
from stacksona_gate.store.queries.requests import RequestQueries, insert_requests, redeem_row
from stacksona_gate.store.queries.tenants import AuditQueries, ReplayQueries, insert_entries
from stacksona_gate.store.rows import Rows


def submit_batch(rows: Rows, submissions: Sequence[Submission]) -> list[Submitted]:
    """Writes decisions. Those whose basis moved come back as Stale, nothing of them written."""
    versions: dict[str, int | None] = {}
    results: list[Submitted] = []
    fresh: list[Submission] = []
    for submission in submissions:
        result = _earlier(rows, submission, versions)
        results.append(result or Stored())
        if result is None:
            fresh.append(submission)
    _insert(rows, fresh)
    return results


def _earlier(rows: Rows, submission: Submission, versions: dict[str, int | None]) -> Submitted | None:
    """What makes this submission one that is not to be written."""
    if _is_stale(rows, submission.request.tenant_id, submission.config_version, versions):
        return Stale()
    if submission.idempotency is None:
        return None
    return _replay(rows, submission, submission.idempotency)


def _is_stale(rows: Rows, tenant_id: str, config_version: int, versions: dict[str, int | None]) -> bool:
    """Whether configuration moved since it was read. ``versions``: those already looked up in this batch."""
    if tenant_id not in versions:
        row = rows.one("SELECT config_version FROM tenants WHERE id = $1", tenant_id)
        versions[tenant_id] = row[0] if row else None
    return versions[tenant_id] != config_version


def _replay(rows: Rows, submission: Submission, asked: Idempotency) -> Submitted | None:
    """Keeps the key at once, so that a second call in the same batch meets it."""
    tenant_id = submission.request.tenant_id
    replays = ReplayQueries(rows)
    kept = replays.find(tenant_id, asked.scope, submission.request.created_at)
    if kept is None:
        replays.insert(tenant_id, asked, submission.request.created_at)
        insert_requests(rows, [submission.request])
        return None
    if kept.fingerprint != asked.fingerprint:
        return Mismatch()
    first = RequestQueries(rows).find(tenant_id, request_id_of(kept.answer))
    return Mismatch() if first is None else Replayed(kept.answer, first)


def request_id_of(answer: str) -> str:
    """The request that a kept answer is about."""
    start = answer.index('"request_id":"') + len('"request_id":"')
    return answer[start : answer.index('"', start)]


def _insert(rows: Rows, submissions: Sequence[Submission]) -> None:
    insert_requests(rows, [s.request for s in submissions if s.idempotency is None])
    insert_entries(rows, [entry for s in submissions for entry in s.entries])
    for submission in submissions:
        request = submission.request
        if submission.attachments:
            ConversationQueries(rows).insert_attachments(request.tenant_id, submission.attachments)
        if submission.discovered is not None:
            _discover(rows, submission.discovered, submission.discovered_most, request)
        if request.thread_id is not None:
            rows.changes.append(Change(request.tenant_id, request.id))


def _discover(rows: Rows, tool_name: str, most: int, request: Request) -> None:
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
    """Redeems one after the other: of several attempts at one approval the first wins.

    Those whose caller may have lost its key meanwhile come back as Stale.
    """
    versions: dict[str, int | None] = {}
    return [
        Stale()
        if _is_stale(rows, attempt.tenant_id, attempt.config_version, versions)
        else _redeem(rows, attempt, entries)
        for attempt, entries in attempts
    ]


def _redeem(rows: Rows, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused:
    request = RequestQueries(rows).find(attempt.tenant_id, attempt.claims.request_id)
    reason = refusal(attempt, request, _generation(rows, request))
    if reason is None and request is not None:
        redeemed = redeem_row(rows, request, now=attempt.now, actor_id=attempt.actor_id)
        if redeemed is not None:
            AuditQueries(rows).append(entries.redeemed(redeemed))
            return Redeemed(redeemed)
        reason = "already_used"
    reason = reason or "unknown"
    entry = entries.refused(reason)
    if entry is not None:
        AuditQueries(rows).append(entry)
    return Refused(reason)


def _generation(rows: Rows, request: Request | None) -> int:
    if request is None:
        return -1
    row = rows.one(
        "SELECT generation FROM agents WHERE tenant_id = $1 AND id = $2", request.tenant_id, request.agent_id
    )
    return row[0] if row else -1
