"""A history in which everything holds, and the state that it ends in: small enough to break one thing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from chaos.final import DeliveryRow, Entry, FinalState, OutcomeRow, RequestRow
from chaos.history import FAILED, OK, UNKNOWN, Facts, History, Operation
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stacksona_gate.domain.checkpoints import log_origin, sign_checkpoint
from stacksona_gate.domain.merkle import Frontier, leaf_hash
from stacksona_gate.domain.signed_notes import ED25519, VerifierKey

SECRET: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY: Final = VerifierKey(log_origin("gate_1", "default"), ED25519, SECRET.public_key().public_bytes_raw())
APPROVED: Final = "req_approved"
ALLOWED: Final = "req_allowed"
CANCELLED: Final = "req_cancelled"


class Told:
    """Operations by number, to be changed before they are checked."""

    def __init__(self) -> None:
        self.history = History()

    def call(self, do: str, begun: float, ended: float | None, outcome: str = OK, **facts: Any) -> Operation:
        """``got_…`` are the answer's facts, the others the call's."""
        got = {name.removeprefix("got_"): value for name, value in facts.items() if name.startswith("got_")}
        given = {name: value for name, value in facts.items() if not name.startswith("got_")}
        number = len(self.history.operations) + 1
        made = Operation(number, do, "somebody", 0, begun, given, outcome, ended, got)
        self.history.operations.append(made)
        return made

    def note(self, what: str, **facts: Any) -> None:
        self.history.notes.append({"note": what, **facts})


def decision(request: str, status: str, reason: str = "rule", **more: object) -> Facts:
    """What an agent is told."""
    thread = None if status in ("allow", "reject") else f"THR-{request}"
    told = {"request": request, "thread": thread, "status": status, "reason": reason, "digest": f"sha-256:{request}"}
    return {f"got_{name}": value for name, value in (told | {"policy": 1, "revision": 1} | more).items()}


def good() -> tuple[History, FinalState]:
    """One thread approved, redeemed and executed; one request allowed; one thread cancelled; an admin at work."""
    told = Told()
    _approved(told)
    _allowed(told)
    _cancelled(told)
    _administered(told)
    final = _final()
    _evidence(told, final)
    return told.history, final


def _approved(told: Told) -> None:
    ask: Facts = {"task": "task-1", "tool": "issue_refund", "key": "k1"}
    told.call("submit", 1.0, None, UNKNOWN, **ask)
    told.call("submit", 2.0, 2.1, **ask, **decision(APPROVED, "pending_review"))
    told.call("held", 2.2, 3.15, asked=APPROVED, key="k1", **decision(APPROVED, "approved", "reviewer", token="t1"))
    told.call("review", 3.0, 3.1, asked=APPROVED, verdict="approve", edited=False, revision=1)
    told.call("review", 3.0, 3.1, FAILED, asked=APPROVED, verdict="reject", edited=False, revision=1)
    redeem: Facts = {"asked": APPROVED, "agent": "agent-1", "token": "t1", "key": "k1"}
    told.call("redeem", 4.0, 4.1, **redeem)
    told.call("redeem", 4.0, 4.2, FAILED, **redeem, got_reason="already_used")
    told.call("report", 4.5, 4.6, asked=APPROVED, status="executed", key="k1", got_flag=None, got_report="out_1")
    told.call("poll", 5.0, 5.1, asked=APPROVED, key="k1", **decision(APPROVED, "approved", "reviewer"))
    facts = {"event": "decision.approved", "decision": "approved", "reason": "reviewer"}
    told.note("webhook", id="msg_1", request=APPROVED, is_signed=True, answered="ok", at=3.3, **facts)


def _allowed(told: Told) -> None:
    ask: Facts = {"task": "task-2", "tool": "wire_money", "key": "k1"}
    told.call("submit", 6.0, 6.1, **ask, **decision(ALLOWED, "allow", token="t2"))
    told.call("submit", 6.2, 6.3, **ask, **decision(ALLOWED, "allow", token="t2"))


def _cancelled(told: Told) -> None:
    told.call("submit", 7.0, 7.1, task="task-3", tool="issue_refund", key="k1", **decision(CANCELLED, "pending_review"))
    told.call("cancel", 7.2, 7.3, asked=CANCELLED, key="k1", **decision(CANCELLED, "rejected", "cancelled"))
    facts = {"event": "decision.rejected", "decision": "rejected", "reason": "cancelled"}
    told.note("webhook", id="msg_2", request=CANCELLED, is_signed=True, answered="ok", at=7.4, **facts)
    told.call("submit", 7.5, 7.6, FAILED, task="task-4", tool="issue_refund", key="k1", got_status_code=503)


def _administered(told: Told) -> None:
    told.call("rule", 8.0, 8.1, tool="wire_money", default="reject")
    told.call("pause", 9.0, 9.1, agent="agent-1")
    told.call("resume", 9.2, 9.3, agent="agent-1")
    told.call("rotate", 10.0, 10.1, agent="agent-1", key="k1", got_made="k2")
    told.note("fault", kind="node-kill", target=0, begun=20.0, ended=21.0, hits=1)
    for moment in range(40):
        told.note("probe", target=0, seconds=0.002, at=moment / 4)


def _final() -> FinalState:
    rows = [
        RequestRow(
            APPROVED, f"THR-{APPROVED}", "task-1", "agt_1", "issue_refund", "approved", "reviewer", 1, 1, "a1", 4
        ),
        RequestRow(ALLOWED, None, "task-2", "agt_1", "wire_money", "allow", "rule", 1, 1, "a2", None),
        RequestRow(
            CANCELLED, f"THR-{CANCELLED}", "task-3", "agt_1", "issue_refund", "rejected", "cancelled", 1, 1, None, None
        ),
    ]
    events = (
        ("thread.opened", APPROVED, "pending_review"),
        ("thread.approved", APPROVED, "approved"),
        ("approval.redeemed", APPROVED, "approved"),
        ("request.decided", ALLOWED, "allow"),
        ("thread.opened", CANCELLED, "pending_review"),
        ("thread.cancelled", CANCELLED, "rejected"),
    )
    return FinalState(
        {row.id: row for row in rows},
        [
            DeliveryRow("msg_1", APPROVED, f"THR-{APPROVED}", "decision.approved", "delivered", 1),
            DeliveryRow("msg_2", CANCELLED, f"THR-{CANCELLED}", "decision.rejected", "delivered", 1),
        ],
        [OutcomeRow("out_1", APPROVED, "executed", None)],
        [Entry(number, *event, leaf=f"leaf {number}") for number, event in enumerate(events)],
        log_keys=f"{KEY}\n",
        verdicts={"audit verify": ""},
    )


def _evidence(told: Told, final: FinalState) -> None:
    """A checkpoint at every size."""
    tree = Frontier()
    for entry in final.entries:
        tree.add(leaf_hash(entry.leaf.encode()))
        note = sign_checkpoint(tree.size, tree.root(), KEY, SECRET.sign).note
        told.call("checkpoint", 11.0, 11.1, got_size=tree.size, got_checkpoint=note)


def first(history: History, do: str, outcome: str = OK) -> Operation:
    return next(history.of(do, outcome=outcome))


def with_row(final: FinalState, request: str, **fields: Any) -> None:
    final.requests[request] = replace(final.requests[request], **fields)
