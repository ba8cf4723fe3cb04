"""Callers in a closed loop: wrk where there is one, else a loader in Python, always in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import ROOT
from bench.report import BenchBroken

_SCRIPT: Final = """
function done(summary, latency, requests)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('\\n{"answers":%d,"seconds":%.6f,"p50":%.1f,"p99":%.1f,"refused":%d,"lost":%d}\\n',
    summary.requests, summary.duration / 1000000, latency:percentile(50), latency:percentile(99),
    summary.errors.status, lost))
end
local count, texts = 0, {}
function init(args)
  local file = io.open(args[1], "rb")
  for text in file:read("*a"):gmatch("[^%z]+") do texts[#texts + 1] = text end
  file:close()
  math.randomseed(tonumber(args[2]))
end
function request()
  count = count + 1
  return string.format(texts[count % #texts + 1], math.random(0, 2147483647), count)
end
"""


WARM_SECONDS: Final = 1
"""Of the same load before a window: what rested is cold, and its first answers take ten times as long."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the callers saw. Latencies are microseconds."""

    answers: int
    seconds: float
    p50: float
    p99: float
    refused: int
    lost: int

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


class Loader:
    """Drives a port with one text, over and over. ``name`` says what with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wrk = find_wrk()
        self.name = "wrk, one thread" if self._wrk else "a loader in Python (slower than wrk: ratios to null flatter)"
        self._seed = 0

    def run(self, port: int, text: str, callers: int, seconds: int) -> Run:
        """``text`` may hold ``%08x`` twice: each request gets numbers of its own. Texts with zero bytes between
        them are sent in turn. Raises BenchBroken.
        """
        file = self._kept(port, text)
        return _ran(self._wrk_command(port, file) if self._wrk else self._python_command(port, file), callers, seconds)

    def run_paced(self, port: int, text: str, callers: int, seconds: int, pause: float) -> Run:
        """Callers that think about ``pause`` seconds between two questions. As ``run``."""
        return _ran([*self._python_command(port, self._kept(port, text)), str(pause)], callers, seconds)

    def _kept(self, port: int, text: str) -> Path:
        """In a file of the port's, for a run with a seed of its own."""
        self._seed += 1
        file = self._folder / f"request-{port}.txt"
        file.write_text(text, newline="")
        return file

    def _wrk_command(self, port: int, file: Path) -> list[str]:
        script = self._folder / f"load-{port}.lua"
        script.write_text(_SCRIPT)
        seed = str(self._seed)
        command = [str(self._wrk), "-t1", "-c{callers}", "-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        return [*command, f"http://127.0.0.1:{port}/", "--", str(file), seed]

    def _python_command(self, port: int, file: Path) -> list[str]:
        return [sys.executable, "-m", "bench.callers", str(port), str(file), str(self._seed), "{callers}", "{seconds}"]


def _ran(command: list[str], callers: int, seconds: int) -> Run:
    filled = [part.format(callers=callers, seconds=seconds) for part in command]
    return _read(subprocess.run(filled, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=False))


def _read(ended: subprocess.CompletedProcess[str]) -> Run:
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode or not lines:
        raise BenchBroken(f"the loader failed: {ended.stderr[-500:]}{ended.stdout[-500:]}")
    run = Run(**json.loads(lines[-1]))
    if run.refused or run.lost or not run.answers:
        raise BenchBroken(f"of {run.answers} answers {run.refused} were refusals, and {run.lost} were lost")
    return run


def find_wrk() -> str | None:
    """The program's path; installed first where that is possible."""
    found = shutil.which("wrk")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], ["install", "-y", "--no-install-recommends", "wrk"]):
            subprocess.run(["apt-get", "-qq", *step], capture_output=True, check=False, timeout=300, env=quiet)
        found = shutil.which("wrk")
    return found
