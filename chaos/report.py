"""What a run says: counts, faults, the verdict, and what led to whatever was found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from chaos.checks.bounds import judged_wakes
from chaos.checks.violations import Violation
from chaos.history import FAILED, OK, UNKNOWN, Facts, History, Operation
from chaos.run import Ran

LEAST_PER_MINUTE: Final = {"submit": 30, "review": 8, "redeem": 8, "pause": 0.5, "rotate": 0.3, "checkpoint": 5}
"""Acknowledged calls of each kind below which a run proves nothing."""
SHOWN: Final = 5
"""Violations of each property that are printed; all of them are in the folder."""
AROUND: Final = 3.0
"""Seconds before the first and after the last operation of a violation, in which faults are shown with it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``too_little``: why the run proves nothing, if it does."""

    violations: dict[str, list[Violation]]
    too_little: tuple[str, ...]

    @property
    def is_green(self) -> bool:
        return not self.too_little and not any(self.violations.values())


def too_little(ran: Ran, kinds: Iterable[str], minutes: float) -> tuple[str, ...]:
    """Calls that hardly ever succeeded, and faults that never hit anything."""
    acknowledged = Counter(operation.do for operation in ran.history.operations if operation.outcome == OK)
    missing = [
        f"{acknowledged[do]} acknowledged {do}, at least {round(least * minutes)} expected"
        for do, least in LEAST_PER_MINUTE.items()
        if acknowledged[do] < least * minutes
    ]
    return (*missing, *(f"{kind} never hit anything" for kind in kinds if not ran.hits.get(kind)))


def lines(ran: Ran, verdict: Verdict, conditions: Sequence[str]) -> list[str]:
    """All that is printed."""
    return [
        *conditions,
        "",
        "Faults",
        *ran.timeline,
        "",
        "Calls",
        *_calls(ran.history),
        "",
        *(f"{name}: {value:g}" for name, value in _figures(ran).items()),
        "",
        "Properties",
        *_properties(ran.history, verdict),
    ]


def _calls(history: History) -> list[str]:
    counts = Counter((operation.do, operation.outcome) for operation in history.operations)
    names = sorted({do for do, _ in counts})
    return [
        f"  {name:<12} ok {counts[name, OK]:>7}  refused {counts[name, FAILED]:>7}  unknown {counts[name, UNKNOWN]:>6}"
        for name in names
    ]


def _figures(ran: Ran) -> dict[str, float]:
    wakes = judged_wakes(ran.history)
    worst = max((wake.seconds for wake in wakes), default=0.0)
    arrivals = sum(1 for _ in ran.history.noted("webhook"))
    return ran.figures | {
        "webhooks arrived": arrivals,
        "webhooks not recorded yet": sum(one.state == "pending" for one in ran.final.deliveries),
        "audit entries": len(ran.final.entries),
        "held answers judged": len(wakes),
        "slowest of them, s": round(worst, 3),
    }


def _properties(history: History, verdict: Verdict) -> list[str]:
    told = []
    for name, found in verdict.violations.items():
        told.append(f"  {name.replace('_', ' '):<42} {'holds' if not found else f'BROKEN, {len(found)} times'}")
        for violation in found[:SHOWN]:
            told += [f"    {violation.text} ({violation.request or '-'})", *_around(history, violation)]
    told += [f"  TOO LITTLE: {reason}" for reason in verdict.too_little]
    return told


def _around(history: History, violation: Violation) -> list[str]:
    """The least that shows it: its operations, and the faults at that time."""
    shown = [one for one in history.operations if one.number in violation.operations][:8]
    moments = [one.begun for one in shown] + [one.ended for one in shown if one.ended is not None]
    told = [_call(one) for one in shown]
    return told + [_fault(note) for note in history.noted("fault") if moments and _is_near(note, moments)]


def _call(one: Operation) -> str:
    ended = "never" if one.ended is None else f"{one.ended:.3f}"
    facts = _short(one.given | one.got)
    return f"      {one.begun:.3f} to {ended} {one.do} by {one.who} at node {one.node}: {one.outcome} {facts}"


def _fault(note: Facts) -> str:
    return f"      {note['begun']:.3f} to {note['ended']:.3f} fault {note['kind']} at node {note['target']}"


def _is_near(note: Facts, moments: Sequence[float]) -> bool:
    return bool(note["begun"] - AROUND < max(moments) and min(moments) < note["ended"] + AROUND)


def _short(facts: Facts) -> str:
    text = json.dumps({name: value for name, value in facts.items() if value is not None and name != "note"})
    return text if len(text) < 300 else text[:300] + "…"


def keep(out: Path, told: Sequence[str], ran: Ran, verdict: Verdict, settings: dict[str, Any]) -> None:
    """Everything, beside the history: the report, and the same for programs."""
    (out / "report.txt").write_text("\n".join(told) + "\n")
    found = {
        name: [{"text": one.text, "operations": one.operations, "request": one.request} for one in violations]
        for name, violations in verdict.violations.items()
    }
    facts = settings | {
        "green": verdict.is_green,
        "too_little": verdict.too_little,
        "hits": ran.hits,
        "figures": _figures(ran),
        "undelivered": [asdict(one) for one in ran.final.deliveries if one.state not in ("delivered", "superseded")],
        "violations": found,
    }
    (out / "report.json").write_text(json.dumps(facts, indent=2) + "\n")
