"""Results that are kept: a name, a value and its range, the target, the conditions. Machine facts, never host names."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.processes import ROOT
from bench.report import Finding, Line, Target, row

FOLDER: Final = ROOT / "bench" / "results"


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
    printed: tuple[str, ...] = ()
    """The rows of the table that the run closed with."""


def save(measurement: str, findings: Sequence[Finding], conditions: Sequence[str], **other: Any) -> None:
    """Keeps a measurement's findings in place of its former ones."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    taken = Taken(measurement, date, findings=tuple(findings), conditions=tuple(conditions), **other)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{measurement}.json").write_text(json.dumps(asdict(taken), indent=1, ensure_ascii=False) + "\n")


def save_lines(measurement: str, lines: Sequence[Line], conditions: Sequence[str], *, quick: bool) -> None:
    """The same for a measurement that prints lines: those with a finding are kept as such, all as they were printed."""
    findings = [line.finding for line in lines if line.finding is not None]
    printed = tuple(row(line) for line in lines)
    length = "short" if quick else "full"
    save(measurement, findings, [machine(), *conditions], length=length, printed=printed)


def load(folder: Path = FOLDER) -> dict[str, Taken]:
    """All measurements that are kept, by name."""
    return {path.stem: _taken(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}


def _taken(fields: dict[str, Any]) -> Taken:
    findings = tuple(_finding(each) for each in fields.pop("findings"))
    lists = {name: tuple(fields[name]) for name in ("conditions", "printed")}
    return Taken(**fields | lists, findings=findings)


def _finding(fields: dict[str, Any]) -> Finding:
    target = fields["target"]
    fields |= {"target": None if target is None else Target(**target), "conditions": tuple(fields["conditions"])}
    return Finding(**fields)


def machine() -> str:
    """Processor and kernel; how many there are is among the other conditions."""
    return f"{_processor()}, Linux {platform.release().split('-')[0]}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
