"""A quiet workspace beside one that floods, against the same one alone: its p99, in turn, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import records
from bench.decisions import check_answer
from bench.loader import WARM_SECONDS, Loader, Run
from bench.peers.postgres import create_database, postgres, version
from bench.prepare import Prepared, prepare_database, request_template
from bench.processes import Server, serving, settle
from bench.report import BenchBroken, Line, ratios, spread
from bench.speed import aimed

QUIET: Final = 4
"""Callers of the quiet workspace."""
PAUSE: Final = 0.02
"""Seconds on average for which each of them thinks between two questions: quiet callers do not use the machine up."""
LOUD: Final = 64
_OUTLASTS_SECONDS: Final = 4
"""The flood is there when the quiet callers begin, and goes on for a moment after them."""


@dataclass(slots=True)
class Side:
    """What the quiet callers saw, alone and beside the flood; and what the flood was answered."""

    alone: list[Run] = field(default_factory=list)
    beside: list[Run] = field(default_factory=list)
    flood: list[Run] = field(default_factory=list)
    warming: list[Run] = field(default_factory=list)

    def answered(self) -> int:
        return sum(run.answers for runs in (self.alone, self.beside, self.flood, self.warming) for run in runs)

    def unread(self) -> int:
        return len(self.alone + self.beside + self.warming) * QUIET + len(self.flood) * LOUD


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken."""
    rounds, seconds = (4, 3) if quick else (10, 5)
    other = Loader(_made(folder / "flood"))
    file = prepare_database(f"sqlite:///{folder / 'noisy.db'}", tenants=2)
    lines = _measured("sqlite", "SQLite", file, (loader, other), rounds, seconds)
    with postgres() as address:
        kept = prepare_database(create_database(address, "noisy"), tenants=2)
        return lines + _measured("postgresql", version(address), kept, (loader, other), rounds, seconds)


def _made(folder: Path) -> Path:
    """The two loaders have a folder each: they write the texts of one port."""
    folder.mkdir()
    return folder


def _measured(
    name: str, told: str, prepared: Prepared, loaders: tuple[Loader, Loader], rounds: int, seconds: int
) -> list[Line]:
    side, database = Side(), prepared.database
    with serving(database) as server:
        quiet, loud = (request_template(server.port, key) for key in prepared.keys[1:])
        for text in (quiet, loud):
            check_answer(server.port, text)
            loaders[0].run(server.port, text, LOUD, 3)
        mark = records.mark(database)
        for number in range(rounds):
            for beside in (False, True) if number % 2 else (True, False):
                _run(side, server, loaders, (quiet, loud), seconds, beside=beside)
    found = records.check_since(database, mark, side.answered(), side.unread())
    print(f"\nnoisy, {told}: {rounds} rounds of {seconds} s, alone and beside in turn; rows on disk: {found}")
    return _lines(name, side)


def _run(
    side: Side, server: Server, loaders: tuple[Loader, Loader], texts: tuple[str, str], seconds: int, *, beside: bool
) -> None:
    quiet, loud = texts

    def asks(so_long: int) -> Run:
        return loaders[0].run_paced(server.port, quiet, QUIET, so_long, PAUSE)

    settle(server)
    if not beside:
        side.warming.append(asks(WARM_SECONDS))
        side.alone.append(asks(seconds))
        return
    before = server.told("decisions_total")
    with ThreadPoolExecutor(1) as pool:
        flood = pool.submit(loaders[1].run, server.port, loud, LOUD, WARM_SECONDS + seconds + _OUTLASTS_SECONDS)
        server.wait_for_load(LOUD, before)
        side.warming.append(asks(WARM_SECONDS))
        side.beside.append(asks(seconds))
        if flood.done():
            raise BenchBroken("the flood ended before the quiet callers did")
        side.flood.append(flood.result())


def _lines(name: str, side: Side) -> list[Line]:
    p99 = ratios([run.p99 for run in side.beside], [run.p99 for run in side.alone])
    p50 = ratios([run.p50 for run in side.beside], [run.p50 for run in side.alone])
    alone, beside = (spread([run.p99 / 1000 for run in runs]) for runs in (side.alone, side.beside))
    rates = [spread([run.rate for run in runs]) for runs in (side.alone, side.beside, side.flood)]
    return [
        Line(f"{QUIET} callers of a quiet workspace, alone ({name})", f"{rates[0]}/s", f"p99 {alone} ms"),
        Line(f"  beside {LOUD} callers of another", f"{rates[1]}/s", f"p99 {beside} ms"),
        Line("  the other's", f"{rates[2]}/s"),
        Line("  p50 beside / alone", str(p50)),
        aimed(f"noisy.{name}.p99", "  p99 beside / alone", p99),
    ]
