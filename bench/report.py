"""What a measurement says: a figure, what it is held against, and under which conditions it was taken."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import apsw

_WIDTHS: Final = (52, 40, 26)


class BenchBroken(Exception):
    """The run proves nothing: rows on disk do not match the answers, or an answer was not the expected one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the closing table. ``holds`` None: there is no target, the figure is for information."""

    what: str
    measured: str
    target: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Runs of one thing: the median, and how far they lay apart."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{_short(self.middle)} ({_short(self.least)}-{_short(self.most)})"


def spread(values: Sequence[float]) -> Spread:
    """``values`` is not empty."""
    return Spread(median(values), min(values), max(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Round by round: what one round's noise does to both sides cancels out."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100).__trunc__() - 1))]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_table(lines: Sequence[Line], conditions: Sequence[str]) -> None:
    """The end of every run."""
    print()
    print(_row("what", "measured", "target", ""))
    for line in lines:
        verdict = "" if line.holds is None else ("holds" if line.holds else "BELOW TARGET")
        print(_row(line.what, line.measured, line.target, verdict))
    print("\nconditions: " + "; ".join([*conditions, f"load at the end {os.getloadavg()[0]:.1f}"]))


def _row(what: str, measured: str, target: str, verdict: str) -> str:
    cells = zip((what, measured, target), _WIDTHS, strict=True)
    return "  ".join([text.ljust(width) for text, width in cells] + [verdict]).rstrip()


def conditions(folder: Path) -> list[str]:
    """Of this machine and these versions."""
    return [
        f"{os.cpu_count()} CPUs, load at the start {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}",
        f"SQLite {apsw.sqlite_lib_version()}",
        f"files on {_file_system(folder)}",
        "loopback, nothing pinned, server and load share the CPUs",
    ]


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on; only Linux says."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "an unknown file system"
    inside = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1] if inside else "an unknown file system"
