"""What a measurement says: a figure, what it is held against, and under which conditions it was taken."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import apsw

_WIDTHS: Final = (52, 40, 42)


class BenchBroken(Exception):
    """The run proves nothing: rows on disk do not match the answers, or an answer was not the expected one."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Runs of one thing: the median, and how far they lay apart."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{_short(self.middle)} ({_short(self.least)}-{_short(self.most)})"


@dataclass(frozen=True, slots=True)
class Target:
    """What a value is held against."""

    at: Literal["least", "most"]
    value: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. ``low`` and ``high`` are the least and the most of the interleaved rounds.

    ``name`` is what tables look it up by and does not change; ``what`` is for people. ``detail`` holds what was
    measured on the way: rates, latencies in milliseconds, rows.
    """

    name: str
    what: str
    value: float
    low: float
    high: float
    unit: str = ""
    target: Target | None = None
    conditions: tuple[str, ...] = ()
    detail: dict[str, float | str] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """None without a target."""
        if self.target is None:
            return None
        return self.value >= self.target.value if self.target.at == "least" else self.value <= self.target.value


def found(name: str, what: str, over: Spread, target: Target | None = None, **other: Any) -> Finding:
    """A finding of interleaved rounds."""
    return Finding(name, what, over.middle, over.least, over.most, target=target, **other)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the closing table. ``holds`` None: there is no target, the figure is for information.

    ``finding`` is what is kept of it, where tables of the documentation are made from it.
    """

    what: str
    measured: str
    target: str = ""
    holds: bool | None = None
    finding: Finding | None = None


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
    print(HEAD)
    for line in lines:
        print(row(line))
    print("\nconditions: " + "; ".join([*conditions, f"load at the end {os.getloadavg()[0]:.1f}"]))


def row(line: Line) -> str:
    """A line of the closing table."""
    verdict = "" if line.holds is None else ("holds" if line.holds else "BELOW TARGET")
    return _row(line.what, line.measured, line.target, verdict)


def _row(what: str, measured: str, target: str, verdict: str) -> str:
    cells = zip((what, measured, target), _WIDTHS, strict=True)
    return "  ".join([text.ljust(width) for text, width in cells] + [verdict]).rstrip()


HEAD: Final = _row("what", "measured", "target", "")


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
