"""Durable decisions on PostgreSQL: against the same endpoint unstored, one node and two, one hot tenant and fifty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import records
from bench.decisions import check_answer, sync_microseconds
from bench.loader import Loader, Run
from bench.peers.postgres import create_database, postgres, version
from bench.prepare import prepare_database, request_template
from bench.processes import Server, serving, settle
from bench.report import Line, ratios, spread
from bench.speed import aimed

CALLERS: Final = 64
FEW_AND_MANY: Final = (1, 16, 256)
"""Callers of the full run's further rows, which have no target."""
TENANTS: Final = 50
UNSTORED, ONE, TWO, FIFTY = CELLS = (
    "store swapped for nothing",
    "durable, one node",
    "durable, two nodes",
    f"durable, one node, {TENANTS} tenants",
)


@dataclass(slots=True)
class Cell:
    """Servers with what they are asked; callers are shared out among them. Rates and latencies by number of callers.

    ``computed``: CPU time of the servers per answer in microseconds, PostgreSQL's not included.
    """

    targets: Sequence[tuple[Server, str]]
    rates: dict[int, list[float]] = field(default_factory=dict)
    runs: dict[int, list[Run]] = field(default_factory=dict)
    computed: dict[int, list[float]] = field(default_factory=dict)

    def run(self, loader: Loader, callers: int, seconds: int) -> None:
        begun = self._cpu_seconds()
        each = callers // len(self.targets)
        with ThreadPoolExecutor(len(self.targets)) as pool:
            runs = list(pool.map(lambda target: loader.run(target[0].port, target[1], each, seconds), self.targets))
        settle(*(server for server, _ in self.targets))
        self.rates.setdefault(callers, []).append(sum(run.rate for run in runs))
        self.runs.setdefault(callers, []).extend(runs)
        answers = sum(run.answers for run in runs)
        self.computed.setdefault(callers, []).append((self._cpu_seconds() - begun) * 1e6 / answers)

    def answered(self) -> int:
        return sum(run.answers for runs in self.runs.values() for run in runs)

    def _cpu_seconds(self) -> float:
        return sum(server.cpu_seconds() for server, _ in self.targets)


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Runs all cells interleaved. Raises BenchBroken."""
    rounds, seconds = (3, 2) if quick else (7, 3)
    with postgres() as address, _cells(address) as (cells, kept):
        told = f"{version(address)}, fsync and synchronous_commit on, its defaults else"
        for cell in cells.values():
            for server, text in cell.targets:
                check_answer(server.port, text.partition("\0")[0])
                loader.run(server.port, text, CALLERS, 1)
        settle(*{server.port: server for cell in cells.values() for server, _ in cell.targets}.values())
        mark = records.mark(kept)
        for number in range(rounds):
            for callers in (CALLERS,) if quick else (CALLERS, *FEW_AND_MANY):
                for name in [*CELLS][number % 4 :] + [*CELLS][: number % 4]:
                    if callers == CALLERS or name in (UNSTORED, ONE):
                        cells[name].run(loader, callers, seconds)
        answered = sum(cells[name].answered() for name in (ONE, TWO, FIFTY))
        unread = sum(len(runs) * callers for name in (ONE, TWO, FIFTY) for callers, runs in cells[name].runs.items())
        found = records.check_since(kept, mark, answered, unread)
        sync = sync_microseconds(folder)
    print(f"\npostgresql: {told}; {rounds} rounds of {seconds} s per cell; sync {sync:.0f} µs; rows on disk: {found}")
    return [*_rows(cells), *_lines(cells, told)]


@contextmanager
def _cells(address: str) -> Iterator[tuple[dict[str, Cell], str]]:
    """The cells, and the address of the database that keeps what they decide."""
    kept = prepare_database(create_database(address, "kept"), tenants=TENANTS)
    nothing = prepare_database(create_database(address, "nothing"))
    with ExitStack() as stack:
        one, other = (stack.enter_context(serving(kept.url)) for _ in range(2))
        unstored = stack.enter_context(serving(nothing.url, store_nothing=True))
        hot = [(server, request_template(server.port, kept.keys[0])) for server in (one, other)]
        fifty = "\0".join(request_template(one.port, key) for key in kept.keys[1:])
        yield (
            {
                UNSTORED: Cell([(unstored, request_template(unstored.port, nothing.keys[0]))]),
                ONE: Cell(hot[:1]),
                TWO: Cell(hot),
                FIFTY: Cell([(one, fifty)]),
            },
            kept.url,
        )


def _rows(cells: dict[str, Cell]) -> Iterator[Line]:
    for callers in sorted(cells[ONE].rates):
        for name, cell in cells.items():
            if callers in cell.rates:
                p50, p99 = (
                    spread([getattr(run, point) / 1000 for run in cell.runs[callers]]).middle
                    for point in ("p50", "p99")
                )
                measured = f"{spread(cell.rates[callers])}/s, CPU {spread(cell.computed[callers]).middle:.0f} µs"
                yield Line(f"{callers:>3} callers, {name}", measured, f"p50 {p50:.2f} p99 {p99:.2f} ms")


def _lines(cells: dict[str, Cell], told: str) -> Iterator[Line]:
    rates = {name: cell.rates[CALLERS] for name, cell in cells.items()}
    over = spread([run.p99 / run.p50 for run in cells[ONE].runs[CALLERS]])
    start = f" {CALLERS} callers, "
    yield aimed(
        "decision.postgresql.unstored", start + "durable / nothing", ratios(rates[ONE], rates[UNSTORED]), on=told
    )
    yield aimed("decision.postgresql.p99", start + "durable, p99 / p50", over, on=told)
    yield aimed("decision.postgresql.two_nodes", start + "two nodes / one", ratios(rates[TWO], rates[ONE]), on=told)
    yield aimed(
        "decision.postgresql.hot_tenant",
        start + f"one tenant / {TENANTS} tenants",
        ratios(rates[ONE], rates[FIFTY]),
        on=told,
    )
