"""How long a process takes from its start to its first answer."""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.fill import fill
from bench.loader import Loader
from bench.prepare import prepare
from bench.processes import free_port, running, wait_until_healthy
from bench.report import Line, spread

_ROUNDS: Final = 5
_EXISTING: Final = 20_000
_SERVE: Final = """
import sys, uvloop
from stacksona_gate.config import read_settings
from stacksona_gate.main import serve
uvloop.run(serve(read_settings(), "127.0.0.1", int(sys.argv[1])))
"""


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Empty and existing database in turn."""
    prepared = prepare(folder, "existing")
    fill(prepared, _EXISTING)
    empty, existing = [], []
    for number in range(_ROUNDS):
        empty.append(_seconds(folder / f"empty-{number}.db"))
        existing.append(_seconds(prepared.path))
    return [
        _line("start to first answer, empty database", empty),
        _line(f"start to first answer, {_EXISTING:,} requests", existing),
    ]


def _line(what: str, seconds: list[float]) -> Line:
    taken = spread(seconds)
    return Line(what, f"{taken} s", "under 1.5 s", taken.middle < 1.5)


def _seconds(database: Path) -> float:
    port = free_port()
    environment = os.environ | {"STACKSONA_DATABASE_URL": f"sqlite:///{database}", "STACKSONA_LOG_LEVEL": "error"}
    begun = time.perf_counter()
    with running(_command(port), environment) as process:
        wait_until_healthy(port, process)
        return time.perf_counter() - begun


def _command(port: int) -> list[str]:
    """The command line where there is one, else what it would call."""
    if find_spec("stacksona_gate.cli") is None:
        return [sys.executable, "-c", _SERVE, str(port)]
    program = Path(sys.executable).with_name("stacksona-gate")
    return [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
