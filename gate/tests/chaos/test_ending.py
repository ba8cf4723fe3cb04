"""A run that is ended takes down what it put up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gate.tests.docs.pages import ROOT
from gate.tests.watchman import mark


def processes_in(folder: Path) -> list[str]:
    """Those that were told of it, by their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in place.read_bytes():
                found.append(place.parent.name)
        except OSError:
            continue
    return found


PATIENCE = 240.0
"""Seconds: two gates start, on a machine that may be busy with other tests."""


@pytest.mark.slow
def test_a_run_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    history, place = tmp_path / "out/sqlite/history.jsonl", tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-m", "chaos", "--database", "sqlite", "--minutes", "5", "--out", str(tmp_path / "out")]
    run = subprocess.Popen(command, cwd=ROOT, env=os.environ | mark() | {"TMPDIR": str(place)})
    try:
        deadline = time.monotonic() + PATIENCE
        while not (history.exists() and b'"submit"' in history.read_bytes()):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [made] = place.iterdir()
        assert processes_in(made)
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        run.terminate()
        run.wait(PATIENCE)
    assert not made.exists()
    assert processes_in(made) == []
