"""Results that are kept: a name, a value and its range, the target, the conditions. Machine facts, never host names."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from bench.processes import ROOT
from bench.report import Spread

FOLDER: Final = ROOT / "bench" / "results"


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
class Taken:
    """The findings of one measurement, and what they were taken on. ``length`` is full or short."""

    measurement: str
    date: str
    length: str
    conditions: tuple[str, ...]
    findings: tuple[Finding, ...]
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be measured here, and why."""


def save(measurement: str, findings: Sequence[Finding], conditions: Sequence[str], **other: Any) -> None:
    """Keeps a measurement's findings in place of its former ones."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    taken = Taken(measurement, date, findings=tuple(findings), conditions=tuple(conditions), **other)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{measurement}.json").write_text(json.dumps(asdict(taken), indent=1, ensure_ascii=False) + "\n")


def load(folder: Path = FOLDER) -> dict[str, Taken]:
    """All measurements that are kept, by name."""
    return {path.stem: _taken(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}


def _taken(fields: dict[str, Any]) -> Taken:
    findings = tuple(_finding(each) for each in fields.pop("findings"))
    return Taken(**fields | {"conditions": tuple(fields["conditions"])}, findings=findings)


def _finding(fields: dict[str, Any]) -> Finding:
    target = fields["target"]
    fields |= {"target": None if target is None else Target(**target), "conditions": tuple(fields["conditions"])}
    return Finding(**fields)


def machine() -> str:
    """Processor, cores, kernel: what figures depend on."""
    return f"{os.cpu_count()} CPUs ({_processor()}), Linux {platform.release().split('-')[0]}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
