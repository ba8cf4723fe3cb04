"""Durable decisions per second, against endpoints of the same server that do less."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import records
from bench.client import ask
from bench.loader import WARM_SECONDS, Loader, Run
from bench.prepare import get_text, prepare, request_template
from bench.processes import Server, serving, settle
from bench.report import BenchBroken, Line, percentile, ratios, spread
from bench.speed import aimed
from bench.waiting import until

CALLERS: Final = (1, 16, 64, 256)
OWN, BARE, UNSTORED, STORED = CELLS = ("null (/healthz)", "bare null", "store swapped for nothing", "durable")
"""``OWN`` is the endpoint of the server that does nothing; ``BARE`` one added for the bench, first in the route table:
no endpoint of this server can be faster."""
_BLOCK: Final = b"x" * 4096


@dataclass(slots=True)
class Target:
    """A cell: which server, which text, and its runs by number of callers.

    ``computed``: the server's CPU time per answer in microseconds; other programs on the machine move it least.
    """

    server: Server
    text: str
    runs: dict[int, list[Run]] = field(default_factory=dict)
    computed: dict[int, list[float]] = field(default_factory=dict)
    warmed: int = 0
    """Answers before the windows."""

    def run(self, loader: Loader, callers: int, seconds: int, *, settles: bool) -> None:
        self.warmed += loader.run(self.server.port, self.text, callers, WARM_SECONDS).answers
        until(lambda: not self.server.undone(), "what the callers left", seconds=30, every=0.02)
        begun = self.server.cpu_seconds()
        run = loader.run(self.server.port, self.text, callers, seconds)
        if settles:
            settle(self.server)
        self.runs.setdefault(callers, []).append(run)
        self.computed.setdefault(callers, []).append((self.server.cpu_seconds() - begun) * 1e6 / run.answers)

    def rates(self, callers: int) -> list[float]:
        return [run.rate for run in self.runs[callers]]

    def p50s(self, callers: int) -> list[float]:
        return [run.p50 for run in self.runs[callers]]


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Runs all cells interleaved. Raises BenchBroken."""
    rounds, seconds = (2, 1) if quick else (5, 2)
    kept, nothing = prepare(folder, "decisions"), prepare(folder, "nothing")
    with ExitStack() as stack:
        stored = stack.enter_context(serving(kept.path))
        unstored = stack.enter_context(serving(nothing.path, store_nothing=True))
        cells = _cells(stored, unstored, kept.keys[0], nothing.keys[0])
        for cell in cells.values():
            check_answer(cell.server.port, cell.text)
            loader.run(cell.server.port, cell.text, 64, 1)
        settle(stored, unstored)
        before = records.count(kept.path)
        syncs: list[float] = []
        for number in range(rounds):
            earlier = sync_microseconds(folder)
            for callers in CALLERS:
                _round(cells, loader, callers, seconds, turn=number)
                if callers == 1:  # the disk is shared: asked right before and right after
                    syncs.append((earlier + sync_microseconds(folder)) / 2)
        check_answer(stored.port, cells[STORED].text)
    answered = 1 + cells[STORED].warmed + sum(run.answers for runs in cells[STORED].runs.values() for run in runs)
    found = records.check(before, records.count(kept.path), answered, 2 * rounds * sum(CALLERS))
    _check_nothing(nothing.path)
    print(f"\ndecisions: {rounds} rounds of {seconds} s per cell, medians (min-max); rows on disk: {found}")
    return [*_rows(cells), *_lines(cells, syncs)]


def _cells(stored: Server, unstored: Server, key: str, other_key: str) -> dict[str, Target]:
    return {
        OWN: Target(stored, get_text(stored.port, "/healthz", key)),
        BARE: Target(stored, get_text(stored.port, "/null", key)),
        UNSTORED: Target(unstored, request_template(unstored.port, other_key)),
        STORED: Target(stored, request_template(stored.port, key)),
    }


def _round(cells: dict[str, Target], loader: Loader, callers: int, seconds: int, *, turn: int) -> None:
    for name in _turned(CELLS, turn):
        cells[name].run(loader, callers, seconds, settles=name == STORED)


def _turned(names: Sequence[str], turn: int) -> Iterator[str]:
    """Another cell goes first in each round."""
    for position in range(len(names)):
        yield names[(position + turn) % len(names)]


def check_answer(port: int, text: str) -> None:
    """One answer, looked at: 200, and what it is about. Raises BenchBroken."""
    decides = "%08x" in text
    status, body = ask(port, text % (0, time.time_ns() & 0xFFFFFFFF) if decides else text)
    answer = json.loads(body)
    if status != 200 or (decides and (answer["status"] != "allow" or "approval_token" not in answer)):
        raise BenchBroken(f"not the answer that is to be measured: {status} {body[:300]!r}")


def _check_nothing(database: Path) -> None:
    rows = records.count(database)
    if rows.requests:
        raise BenchBroken(f"the store swapped for nothing kept {rows.requests} requests")


def sync_microseconds(folder: Path) -> float:
    """What one append and its fdatasync take here, the least that a durable answer waits for."""
    taken = []
    with (folder / "sync").open("ab", buffering=0) as file:
        end = time.perf_counter() + 0.3
        while (begun := time.perf_counter()) < end:
            file.write(_BLOCK)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - begun) * 1e6)
    return percentile(taken, 50)


def _rows(cells: dict[str, Target]) -> list[Line]:
    lines = []
    for callers in CALLERS:
        for name, cell in cells.items():
            p50 = spread(cell.p50s(callers)).middle / 1000
            p99 = spread([run.p99 for run in cell.runs[callers]]).middle / 1000
            rates = spread(cell.rates(callers))
            computed = spread(cell.computed[callers]).middle
            measured = f"{rates}/s, CPU {computed:.0f} µs"
            lines.append(Line(f"{callers:>3} callers, {name}", measured, f"p50 {p50:.2f} p99 {p99:.2f} ms"))
    return lines


def _lines(cells: dict[str, Target], syncs: Sequence[float]) -> list[Line]:
    lines = []
    for callers in CALLERS:
        durable = cells[STORED].rates(callers)
        for name, finding in ((OWN, "null"), (BARE, "bare"), (UNSTORED, "unstored")):
            ratio = ratios(durable, cells[name].rates(callers))
            kept = f"decision.sqlite.{finding}" + ("" if callers == 64 else f".{callers}")
            lines.append(aimed(kept, f"{callers:>3} callers, durable / {name}", ratio))
    return [*lines, _steadiness(cells), _computed(cells), _one_caller(cells, syncs)]


def _steadiness(cells: dict[str, Target]) -> Line:
    runs = cells[STORED].runs[64]
    over = spread([run.p99 / run.p50 for run in runs])
    return aimed("decision.sqlite.p99", " 64 callers, durable, p99 / p50", over)


def _computed(cells: dict[str, Target]) -> Line:
    null, bare, unstored, durable = (cells[name].computed[64] for name in CELLS)
    parts = ((null, "null"), (bare, "bare null"), (unstored, "nothing"))
    measured = ", ".join(f"{ratios(part, durable).middle:.2f} of {name}" for part, name in parts)
    return Line(" 64 callers, the same by server CPU", measured)


def _one_caller(cells: dict[str, Target], syncs: Sequence[float]) -> Line:
    floors = [unstored + sync for unstored, sync in zip(cells[UNSTORED].p50s(1), syncs, strict=True)]
    ratio = ratios(cells[STORED].p50s(1), floors)
    sync = spread(syncs).middle
    return Line(f"one caller's p50 / (nothing's + sync {sync:.0f} µs)", str(ratio), "at most 2", ratio.middle <= 2)
