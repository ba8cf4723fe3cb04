"""Measures and prints. usage: python -m bench [--quick] [--keep] [names…]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final, Protocol

from bench import decisions, deliveries, expiry, growth, longpoll, nodes, noisy, proofs, reads, startup, wake
from bench.findings import save_lines
from bench.loader import Loader
from bench.processes import raise_file_limit, workspace
from bench.report import BenchBroken, Line, conditions, print_table


class Measurement(Protocol):
    def __call__(self, folder: Path, loader: Loader, *, quick: bool) -> list[Line]: ...


MEASUREMENTS: Final[dict[str, Measurement]] = {
    "decisions": decisions.measure,
    "postgresql": nodes.measure,
    "deliveries": deliveries.measure,
    "reads": reads.measure,
    "longpoll": longpoll.measure,
    "noisy": noisy.measure,
    "wake": wake.measure,
    "growth": growth.measure,
    "startup": startup.measure,
    "expiry": expiry.measure,
    "proofs": proofs.measure,
    "growth-10m-sqlite": growth.measure_most_on_sqlite,
    "growth-10m-postgresql": growth.measure_most_on_postgresql,
}
HOURS: Final = ("growth-10m-sqlite", "growth-10m-postgresql")
"""Measured where they are named, and by a full report: each takes tens of gigabytes, and the better part of an hour."""
ALWAYS: Final = [name for name in MEASUREMENTS if name not in HOURS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(MEASUREMENTS)}; left out: all but {', '.join(HOURS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--keep", action="store_true", help="keep the findings in bench/results")
    given = parser.parse_args()
    unknown = set(given.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    raise_file_limit()
    return run(given.names or ALWAYS, quick=given.quick, keep=given.keep)


def run(names: list[str], *, quick: bool, keep: bool) -> int:
    """A figure below its target is a finding, a run that proves nothing a failure."""
    lines: list[Line] = []
    failures: list[str] = []
    with workspace() as folder:
        loader = Loader(folder)
        told = [*conditions(folder), f"load by {loader.name}", "quick" if quick else "full"]
        for name in names:
            print(f"{name} …", flush=True)
            try:
                measured = MEASUREMENTS[name](folder, loader, quick=quick)
            except BenchBroken as error:
                failures.append(f"{name}: {error}")
                continue
            lines += measured
            if keep:
                save_lines(name, measured, told, quick=quick)
    print_table(lines, told)
    for failure in failures:
        print(f"BROKEN {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
