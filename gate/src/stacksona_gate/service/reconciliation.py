"""Comparing what a tool says it executed with what the gate approved.

It reads only: nothing is decided, changed or recorded. Memory does not grow with the log: requests are looked up a
few hundred at a time, and which of them occurred is kept in a temporary file.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import batched
from typing import Final

from stacksona_gate.domain import status
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import MINUTE, rfc3339
from stacksona_gate.policy.numbers import number_of
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.tool_logs import Executed, json_in
from stacksona_gate.store.base import Tx

BATCH: Final = 500
"""Requests looked up in one read."""
CLOCKS_DIFFER: Final = 5 * MINUTE
"""How far a tool's clock may be behind before an execution counts as earlier than its approval."""
DIFFERENCES_MOST: Final = 20
THREAD_PREFIX: Final = "THR-"

UNAPPROVED: Final = "executed_without_approval"
TWICE: Final = "executed_twice"
OTHER_ARGUMENTS: Final = "executed_with_other_arguments"
NEVER: Final = "approved_and_never_executed"
OUTCOME: Final = "outcome_says_otherwise"
KINDS: Final = (UNAPPROVED, TWICE, OTHER_ARGUMENTS, NEVER, OUTCOME)


@dataclass(frozen=True, slots=True)
class Difference:
    """One argument. ``place``: a path in the payload, ``tool_name`` or ``payload_digest``. Values are JSON texts."""

    place: str
    approved: str
    executed: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not agree. ``line``: of the tool's log; None for what it does not have."""

    kind: str
    reason: str
    line: int | None
    request_id: str
    thread_id: str
    tool: str
    detail: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: one tool or all, executed from ``since`` (inclusive) until ``until`` (exclusive)."""

    tool: str | None = None
    since: int | None = None
    until: int | None = None

    def has(self, moment: int | None) -> bool:
        """What has no time is in every span."""
        return moment is None or (
            (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)
        )


@dataclass(slots=True)
class Tally:
    """Counts, complete once everything was compared."""

    records: int = 0
    outside: int = 0
    """Records of another tool or time: not judged."""
    redeemed: int = 0
    """Redeemed approvals of the tool and time."""
    not_comparable: int = 0
    """Executions whose approved payload was erased."""
    found: Counter[str] = field(default_factory=Counter)


async def reconcile(
    gate: Gate, tenant_id: str, records: Iterable[Executed], scope: Scope, tally: Tally
) -> AsyncIterator[Finding]:
    """Everything that does not agree: first by the log's order, then what was redeemed and is not in it.

    Raises Invalid when the log cannot be read on: what was found until then is not the whole.
    """
    until = min(scope.until or gate.env.now() + 1, gate.env.now() + 1)
    with closing(_Seen()) as seen:
        for batch in batched(records, BATCH):
            requests = await gate.store.scan(lambda tx, batch=batch: [_request(tx, tenant_id, one) for one in batch])  # type: ignore[misc]
            for executed, request in zip(batch, requests, strict=True):
                for finding in _judge(executed, request, scope, tally, seen):
                    tally.found[finding.kind] += 1
                    yield finding
        async for request in _redeemed(gate, tenant_id, Scope(scope.tool, scope.since, until)):
            tally.redeemed += 1
            for finding in () if seen.has(request.id) else _judge_absent(request):
                tally.found[finding.kind] += 1
                yield finding


class _Seen:
    """The requests that the log has, with the line of each one's first execution, in a temporary file."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")

    def first_line(self, request_id: str, line: int) -> int:
        """Notes an execution. Returns the line of the first one, which may be this."""
        self._rows.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (request_id, line))
        row = self._rows.execute("SELECT line FROM seen WHERE id = ?", (request_id,)).fetchone()
        return int(row[0])

    def has(self, request_id: str) -> bool:
        return self._rows.execute("SELECT 1 FROM seen WHERE id = ?", (request_id,)).fetchone() is not None

    def close(self) -> None:
        self._rows.close()


def _request(tx: Tx, tenant_id: str, executed: Executed) -> Request | None:
    named = executed.request_id or executed.thread_id
    if not named:
        return None
    if named.startswith(THREAD_PREFIX):
        request = tx.requests.find_thread(tenant_id, named)
    else:
        request = tx.requests.find(tenant_id, named)
    if request is not None and executed.request_id and executed.thread_id not in ("", request.thread_id):
        return None  # the two ids are of different requests
    return request


async def _redeemed(gate: Gate, tenant_id: str, scope: Scope) -> AsyncIterator[Request]:
    after, page = 0, BATCH
    while page == BATCH:
        found = await gate.store.scan(
            lambda tx, after=after: tx.requests.list_redeemed(  # type: ignore[misc]
                tenant_id, tool_name=scope.tool, since=scope.since, until=scope.until, after=after, limit=BATCH
            )
        )
        for request in found:
            yield request
        page, after = len(found), found[-1].seq if found else after


# One execution


def _judge(executed: Executed, request: Request | None, scope: Scope, tally: Tally, seen: _Seen) -> Iterator[Finding]:
    tally.records += 1
    first = None if request is None else seen.first_line(request.id, executed.line)
    other_tool = scope.tool is not None and executed.tool not in (None, scope.tool)
    if other_tool or not scope.has(executed.executed_at):
        tally.outside += 1
        return
    if request is None or first is None:
        yield _unknown(executed)
        return
    unapproved = _unapproved(executed, request)
    if unapproved is not None:
        yield _finding(UNAPPROVED, unapproved, executed, request, _REASONS[unapproved])
    if first != executed.line:
        yield _finding(TWICE, "again", executed, request, f"the request was executed before, on line {first}")
    yield from _judge_arguments(executed, request, scope, tally)
    if request.outcome in ("failed", "skipped"):
        said = f"its agent reported {request.outcome}, and the log has it executed"
        yield _finding(OUTCOME, f"reported_{request.outcome}", executed, request, said)


_REASONS: Final = {
    "rejected": "the request was rejected",
    "pending_review": "the request still waits for people",
    "not_redeemed": "the approval was never redeemed",
    "before_approval": "it was executed before it was approved",
}


def _unknown(executed: Executed) -> Finding:
    named = executed.request_id or executed.thread_id
    reason = "no_such_request" if named else "no_reference"
    detail = "the gate has no such request" if named else "the record names no request"
    return Finding(
        UNAPPROVED, reason, executed.line, executed.request_id, executed.thread_id, executed.tool or "", detail
    )


def _unapproved(executed: Executed, request: Request) -> str | None:
    if request.is_pending:
        return "pending_review"
    if request.status not in status.MAY_RUN:
        return "rejected"
    if request.approval_id is not None and request.redeemed_at is None:
        return "not_redeemed"
    decided = request.decided_at or request.created_at
    if executed.executed_at is not None and executed.executed_at < decided - CLOCKS_DIFFER:
        return "before_approval"
    return None


def _judge_arguments(executed: Executed, request: Request, scope: Scope, tally: Tally) -> Iterator[Finding]:
    tool = executed.tool or scope.tool
    differences = list(_differences(executed, request)) if request.erased_at is None else []
    if request.erased_at is not None and request.status in status.MAY_RUN:
        tally.not_comparable += 1
    if tool is not None and tool != request.tool_name:
        differences.insert(0, Difference("tool_name", _shown(request.tool_name), _shown(tool)))
    if differences and request.status in status.MAY_RUN:
        places = ", ".join(one.place for one in differences[:DIFFERENCES_MOST])
        detail = f"executed is not what was approved: {places}"
        shown = tuple(differences[:DIFFERENCES_MOST])
        yield _finding(OTHER_ARGUMENTS, "differs", executed, request, detail, shown)


def _finding(
    kind: str,
    reason: str,
    executed: Executed | None,
    request: Request,
    detail: str,
    differences: tuple[Difference, ...] = (),
) -> Finding:
    line = None if executed is None else executed.line
    thread_id = request.thread_id or ""
    return Finding(kind, reason, line, request.id, thread_id, request.tool_name, detail, differences)


def _judge_absent(request: Request) -> Iterator[Finding]:
    """A redeemed approval that the log does not have. That its agent reported it failed or skipped explains it."""
    if request.outcome in ("failed", "skipped"):
        return
    redeemed = rfc3339(request.redeemed_at or 0)
    yield _finding(NEVER, "not_in_the_log", None, request, f"redeemed {redeemed}, and the log does not have it")
    if request.outcome == "executed":
        said = "its agent reported executed, and the log does not have it"
        yield _finding(OUTCOME, "reported_executed", None, request, said)


# Arguments


_NOTHING: Final = object()


def _differences(executed: Executed, request: Request) -> Iterator[Difference]:
    payload: object = json.loads(request.payload, parse_float=Decimal)
    if executed.digest is not None and _digest(executed.digest) != request.payload_digest:
        yield Difference("payload_digest", _shown(request.payload_digest), _shown(executed.digest))
    if executed.payload is not None:
        yield from _deep(payload, executed.payload, "")
    for place, value in executed.values.items():
        yield from _compare(_at(payload, place), _NOTHING if value is None else value, place)


def _digest(text: str) -> str:
    text = text.lower()
    return text if text.startswith("sha-256:") else f"sha-256:{text}"


def _at(payload: object, place: str) -> object:
    for key in place.split("."):
        payload = payload.get(key, _NOTHING) if isinstance(payload, dict) else _NOTHING
    return payload


def _compare(approved: object, logged: object, place: str) -> Iterator[Difference]:
    """A value of a log's column: in a CSV an object or list is its JSON, and an empty cell is no value."""
    if isinstance(logged, str) and isinstance(approved, dict | list):
        try:
            logged = json_in(logged)
        except Invalid:
            yield Difference(place, _shown(approved), _shown(logged))
            return
    if logged == "" and approved in (_NOTHING, None):
        return
    if isinstance(approved, bool) and isinstance(logged, str):
        logged = {"true": True, "false": False}.get(logged.lower(), logged)
    yield from _deep(approved, logged, place)


def _deep(approved: object, executed: object, place: str) -> Iterator[Difference]:
    if isinstance(approved, dict) and isinstance(executed, dict):
        for key in sorted({*approved, *executed}):
            inner = f"{place}.{key}" if place else key
            yield from _deep(approved.get(key, _NOTHING), executed.get(key, _NOTHING), inner)
    elif isinstance(approved, list) and isinstance(executed, list) and len(approved) == len(executed):
        for i, (one, other) in enumerate(zip(approved, executed, strict=True)):
            yield from _deep(one, other, f"{place}[{i}]")
    elif not _are_same(approved, executed):
        yield Difference(place, _shown(approved), _shown(executed))


def _are_same(approved: object, executed: object) -> bool:
    if approved in (_NOTHING, None) and executed in (_NOTHING, None):
        return True
    if isinstance(approved, str) and isinstance(executed, str) and (_is_code(approved) or _is_code(executed)):
        return approved == executed
    one, other = number_of(approved), number_of(executed)
    if one is not None and other is not None:
        return one == other
    return type(approved) is type(executed) and approved == executed


def _is_code(text: str) -> bool:
    """A text that begins with a zero is an account or an article, never an amount: 0071 is not 71."""
    digits = text.removeprefix("-")
    return len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()


def _shown(value: object) -> str:
    """JSON, short; empty: nothing is there."""
    if value is _NOTHING:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 500 else text[:499] + "…"


def as_json(finding: Finding) -> Mapping[str, object]:
    """A finding for programs. ``approved`` and ``executed`` are JSON texts."""
    differences: Sequence[Mapping[str, object]] = [
        {"place": one.place, "approved": one.approved, "executed": one.executed} for one in finding.differences
    ]
    return {
        "kind": finding.kind,
        "reason": finding.reason,
        "line": finding.line,
        "request_id": finding.request_id or None,
        "thread_id": finding.thread_id or None,
        "tool": finding.tool or None,
        "detail": finding.detail,
        "differences": differences,
    }
