"""The rounds: everybody does the same work in turn, another one first each time; then what is on disk is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.peers.contestants import GATES, PEERS, Field, Peer, field as everybody
from bench.peers.processes import CouldNotRun, Side, side
from bench.peers.questions import TABLE
from bench.processes import settle
from bench.report import BenchBroken, Finding, found, ratios, spread

CELLS: Final = (("decide", 1), ("decide", 64), ("cycle", 1), ("cycle", 64), ("wake", 1))
"""Works and callers. How soon somebody is woken is asked of one caller: with 64 in a loop it would be
the length of a queue."""
POLICIES: Final = (("cedar", "cedarpy"), ("rego", "regopy"))

type Key = tuple[str, str, int]
"""Who, which work, how many callers."""


@dataclass(slots=True)
class Results:
    """All runs by who, work and callers, and the rows found afterwards."""

    runs: dict[Key, list[dict[str, Any]]] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rates(self, key: Key) -> list[float]:
        return [run["answers"] / run["seconds"] for run in self.runs[key]]

    def times(self, key: Key, point: str) -> list[float]:
        return [run[point] for run in self.runs[key]]


def measure(folder: Path, *, quick: bool) -> tuple[list[Finding], dict[str, str], list[str]]:
    """The findings, who could not run and why, and the conditions. Raises BenchBroken."""
    rounds, seconds = (2, 1.0) if quick else (5, 2.0)
    with everybody(folder) as made:
        results = _run(made, rounds, seconds)
        findings = [each for peer in PEERS if peer.name in made.sides for each in _findings(peer, results)]
        told = [f"{rounds} rounds of {seconds:.0f} s per cell", made.postgresql or "no PostgreSQL"]
        missing = {name: why for name, why in made.missing.items() if name != "postgresql"}
    judged, unable = _policies(rounds, seconds)
    return [*findings, *judged], missing | unable, told


def _run(made: Field, rounds: int, seconds: float) -> Results:
    results = Results()
    for work, callers in CELLS:
        for name in _able(made, work):
            made.sides[name].ask("run", work=work, callers=callers, seconds=seconds / 2)
    for turn in range(rounds):
        for work, callers in CELLS:
            for name in _turned(_able(made, work), turn):
                run = made.sides[name].ask("run", work=work, callers=callers, seconds=seconds)
                results.runs.setdefault((name, work, callers), []).append(run)
                settle(made.sides[name])
        print(f"peers: round {turn + 1} of {rounds}", flush=True)
    for name, each in made.sides.items():
        results.rows[name] = _counted(each)
    return results


def _able(made: Field, work: str) -> list[str]:
    """Who runs and does such work."""
    able = [*GATES, *(peer.name for peer in PEERS if work in peer.works)]
    return [name for name in able if name in made.sides]


def _turned(names: Sequence[str], turn: int) -> Iterator[str]:
    for position in range(len(names)):
        yield names[(position + turn) % len(names)]


def _counted(each: Side) -> dict[str, Any]:
    """Raises BenchBroken when not exactly what was answered was kept."""
    rows = each.ask("rows")
    print(f"peers: {each.name}: {rows['done']:,} done, {rows['kept']:,} kept, {rows['rows']:,} rows on disk")
    if rows["kept"] != rows["done"]:
        raise BenchBroken(f"{each.name} answered {rows['done']} times and kept {rows['kept']}")
    return rows


def _findings(peer: Peer, results: Results) -> Iterator[Finding]:
    for work, callers in CELLS:
        for way in ("library", "server") if work in peer.works else ():
            yield _compared(peer, f"{way}.{peer.store}", work, callers, results)


def _compared(peer: Peer, gate: str, work: str, callers: int, results: Results) -> Finding:
    """How many times as fast as the peer the gate is: by rate, or where waking is measured by p50."""
    ours, theirs = (gate, work, callers), (peer.name, work, callers)
    if work == "wake":
        ratio = ratios(results.times(theirs, "resume_p50"), results.times(ours, "resume_p50"))
        detail = _wake_detail("peer", results, theirs) | _wake_detail("gate", results, ours)
    else:
        ratio = ratios(results.rates(ours), results.rates(theirs))
        detail = _rate_detail("peer", results, theirs) | _rate_detail("gate", results, ours)
    rows: dict[str, float | str] = {
        "peer_kept": results.rows[peer.name]["kept"],
        "peer_rows": results.rows[peer.name]["rows"],
    }
    return found(
        f"peer.{peer.name}.{work}.{callers}.{gate.split('.')[0]}",
        f"{peer.shown}, {work}, {callers} callers, gate as {gate.split('.')[0]}",
        ratio,
        unit="times the peer's speed",
        conditions=(peer.durability, f"the gate on {gate.split('.')[1]}"),
        detail=detail | rows,
    )


def _rate_detail(whose: str, results: Results, key: Key) -> dict[str, float | str]:
    detail: dict[str, float | str] = {f"{whose}_rate": spread(results.rates(key)).middle}
    for part in (50, 99):
        detail[f"{whose}_p{part}"] = spread(results.times(key, f"whole_p{part}")).middle
    return detail


def _wake_detail(whose: str, results: Results, key: Key) -> dict[str, float | str]:
    return {f"{whose}_p{part}": spread(results.times(key, f"resume_p{part}")).middle for part in (50, 99)}


def _policies(rounds: int, seconds: float) -> tuple[list[Finding], dict[str, str]]:
    """Policy alone. Whoever does not give the table's answers is not measured."""
    with ExitStack() as stack:
        sides = {"gate": stack.enter_context(side("gate_policy", ours=True))}
        missing = {}
        for name, _ in POLICIES:
            try:
                sides[name] = stack.enter_context(side(f"{name}_policy"))
            except CouldNotRun as error:
                missing[name] = f"could not run here: {error}"
        for each in sides.values():
            _check_answers(each)
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds):
            for name in _turned(list(sides), turn):
                run = sides[name].ask("judge", seconds=seconds)
                rates[name].append(run["answers"] / run["seconds"])
    return [_judged(name, shown, rates) for name, shown in POLICIES if name in rates], missing


def _judged(name: str, shown: str, rates: dict[str, list[float]]) -> Finding:
    detail: dict[str, float | str] = {
        "peer_rate": spread(rates[name]).middle,
        "gate_rate": spread(rates["gate"]).middle,
        "answers_equal": len(TABLE),
    }
    ratio = ratios(rates["gate"], rates[name])
    return found(f"peer.{name}.judge", f"{shown}, five rules", ratio, unit="times the peer's speed", detail=detail)


def _check_answers(each: Side) -> None:
    """Raises BenchBroken."""
    answers = each.ask("answers")["answers"]
    for (payload, expected), answer in zip(TABLE, answers, strict=True):
        if answer != expected:
            raise BenchBroken(f"{each.name} answers {answer}, not {expected}, to {payload}")
