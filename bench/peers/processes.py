"""Sides as processes of their own, asked over their input and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from bench.processes import ROOT, Server, cpu_seconds
from bench.report import BenchBroken

PEERS: Final = ROOT / ".venv-bench-peers" / "bin" / "python"
_TOLD: Final = {
    "LANGSMITH_TRACING": "false",
    "PYTHONWARNINGS": "ignore",
}
"""Nothing is sent anywhere, and nothing but errors is printed."""


class CouldNotRun(Exception):
    """A peer that cannot be measured here; the reason is in a few words."""


@dataclass(frozen=True, slots=True)
class Side:
    """A running side. ``server``: the gate that it calls, when that is another process."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]
    server: Server | None = None

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """What the side answers. Raises BenchBroken."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do} | given) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        if answer is None or "error" in answer:
            raise BenchBroken(f"{self.name} failed at {do}: {(answer or {}).get('error') or self.complaint()}")
        return answer

    def wait_ready(self) -> None:
        """Raises CouldNotRun."""
        if self._read() is None:
            lines = [line for line in self.complaint().splitlines() if line.strip()]
            raise CouldNotRun(lines[-1][:200] if lines else "ended without a word")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid) + (self.server.cpu_seconds() if self.server else 0.0)

    def undone(self) -> float:
        return self.server.undone() if self.server else 0.0

    def complaint(self) -> str:
        """The end of what it printed."""
        self.errors.seek(0)
        return self.errors.read()[-3000:]

    def _read(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line else None
        return answer


@contextmanager
def side(name: str, *arguments: str, ours: bool = False, server: Server | None = None) -> Iterator[Side]:
    """A side until the block ends. ``ours``: in the gate's environment. Raises CouldNotRun."""
    python = sys.executable if ours else str(PEERS)
    if not ours and not PEERS.exists():
        raise CouldNotRun("not installed: scripts/bench-peers")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [python, "-m", f"bench.peers.sides.{name}", *arguments],
            cwd=ROOT,
            env=os.environ | _TOLD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            started = Side(name, process, errors, server)
            started.wait_ready()
            yield started
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def versions(packages: list[str]) -> dict[str, str]:
    """Of those that are installed in the peers' environment."""
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    if not PEERS.exists():
        return {}
    ended = subprocess.run([str(PEERS), "-c", program, *packages], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(ended.stdout)
    return found
