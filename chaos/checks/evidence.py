"""The audit log and the webhooks: nothing is missing, nothing was ever different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chaos.checks.violations import Violation
from chaos.final import FinalState
from chaos.history import OK, History
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint
from stacksona_gate.domain.errors import GateError
from stacksona_gate.domain.merkle import Frontier, leaf_hash
from stacksona_gate.domain.signed_notes import parse_verifier_key
from stacksona_gate.domain.status import APPROVED, REJECTED

ENDS = {APPROVED: "decision.approved", REJECTED: "decision.rejected"}


def log_extends_every_checkpoint(history: History, final: FinalState) -> Iterator[Violation]:
    """Every checkpoint that anybody ever saved is one of the log as it is at the end."""
    keys = [parse_verifier_key(line) for line in final.log_keys.splitlines()]
    saved: list[tuple[int, Checkpoint]] = []
    for operation in history.of("checkpoint", outcome=OK):
        try:
            saved.append((operation.number, open_checkpoint(operation.got["checkpoint"], keys)))
        except GateError as error:
            yield Violation(f"a checkpoint that does not verify: {error.detail}", (operation.number,))
    roots = _roots(final, {checkpoint.size for _, checkpoint in saved})
    for number, checkpoint in saved:
        if roots.get(checkpoint.size) != checkpoint.root:
            yield Violation(f"the first {checkpoint.size} entries are not those of a saved checkpoint", (number,))


def _roots(final: FinalState, sizes: set[int]) -> dict[int, bytes]:
    """Of the log's beginnings of these sizes."""
    tree = Frontier()
    roots = {0: tree.root()}
    for entry in final.entries:
        if entry.index is None:
            continue
        tree.add(leaf_hash(entry.leaf.encode()))
        if tree.size in sizes:
            roots[tree.size] = tree.root()
    return roots


def log_is_whole(history: History, final: FinalState) -> Iterator[Violation]:
    """Every entry is sealed, in one unbroken order, and independent verifiers find an export of it sound."""
    indexes = sorted(entry.index for entry in final.entries if entry.index is not None)
    unsealed = len(final.entries) - len(indexes)
    if unsealed:
        yield Violation(f"{unsealed} entries are not sealed")
    if indexes != list(range(len(indexes))):
        yield Violation("the leaves' numbers have a gap, or one is there twice")
    for verifier, said in final.verdicts.items():
        if said:
            yield Violation(f"{verifier}: {said}")


def webhooks_arrive(history: History, final: FinalState) -> Iterator[Violation]:
    """Whatever is decided or asked of an agent arrives, at least once, signed, and as it was decided."""
    arrived = Counter(note["id"] for note in history.noted("webhook"))
    put = {(one.request, one.event) for one in final.deliveries}
    for row in final.requests.values():
        if row.thread is not None and row.status in ENDS and (row.id, ENDS[row.status]) not in put:
            yield Violation("it is decided, and no webhook was put for it", (), row.id)
    for one in final.deliveries:
        if one.state == "superseded":
            continue
        if not arrived[one.id]:
            yield Violation(f"webhook {one.id} ({one.event}, {one.state}) never arrived", (), one.request)
        elif one.state == "dead":
            yield Violation(f"webhook {one.id} is {one.state} after {one.tries} tries", (), one.request)
    yield from _arrivals_are_true(history, final)


def _arrivals_are_true(history: History, final: FinalState) -> Iterator[Violation]:
    deliveries = {one.id: one for one in final.deliveries}
    for note in history.noted("webhook"):
        if not note["is_signed"]:
            yield Violation(f"webhook {note['id']} is not signed", (), note["request"])
        if note["id"] not in deliveries:
            yield Violation(f"webhook {note['id']} arrived, and was never put", (), note["request"])
        row = final.requests.get(note["request"])
        told = note["event"] in ENDS.values()
        if told and (row is None or (row.status, row.reason) != (note["decision"], note["reason"])):
            yield Violation(f"a webhook says {note['decision']}, and it is {row and row.status}", (), note["request"])
