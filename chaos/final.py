"""What the database holds when all is over, read without a gate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Reads(Protocol):
    def rows(self, sql: str) -> Sequence[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class RequestRow:
    """As in the table; what rests encrypted there is left out."""

    id: str
    thread: str | None
    task: str
    agent: str
    tool: str
    status: str
    reason: str
    policy: int
    revision: int
    approval: str | None
    redeemed_at: int | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """As in the table."""

    id: str
    request: str | None
    thread: str | None
    event: str
    state: str
    tries: int
    due_at: int | None = None
    leased_until: int | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """As in the table."""

    id: str
    request: str
    status: str
    flag: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """Of the audit log; ``index``: its leaf's number, None when it is not sealed."""

    index: int | None
    event: str
    request: str | None
    status: str | None
    leaf: str


@dataclass(slots=True)
class FinalState:
    """Everything that is held against the history."""

    requests: dict[str, RequestRow] = field(default_factory=dict)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    log_keys: str = ""
    """Verifier keys, one a line."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """What independent verifiers said to an export: empty when it is sound."""
    faults: list[str] = field(default_factory=list)
    """Nodes that ended by themselves, did not come back, or did not end when told to."""

    def events_of(self, *events: str) -> Counter[str]:
        """How many entries of these events each request has."""
        return Counter(entry.request for entry in self.entries if entry.request and entry.event in events)


_REQUESTS = (
    "SELECT id, thread_id, task_id, agent_id, tool_name, status, reason_code, policy_version, revision,"
    " approval_id, redeemed_at FROM requests"
)
_ENTRIES = (
    "SELECT log_leaves.leaf_index, audit.event, audit.request_id, audit.leaf FROM audit"
    " LEFT JOIN log_leaves ON log_leaves.seq = audit.seq ORDER BY log_leaves.leaf_index, audit.seq"
)


def read_final(database: Reads) -> FinalState:
    """Tables as they are now."""
    requests = [RequestRow(*row) for row in database.rows(_REQUESTS)]
    deliveries = database.rows(
        "SELECT id, request_id, thread_id, event, state, tries, due_at, leased_until FROM deliveries"
    )
    outcomes = database.rows("SELECT id, request_id, status, flag FROM outcomes")
    return FinalState(
        {row.id: row for row in requests},
        [DeliveryRow(*row) for row in deliveries],
        [OutcomeRow(*row) for row in outcomes],
        [_entry(*row) for row in database.rows(_ENTRIES)],
    )


def _entry(index: int | None, event: str, request: str | None, leaf: str) -> Entry:
    return Entry(index, event, request, json.loads(leaf).get("status"), leaf)
