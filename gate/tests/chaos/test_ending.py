"""A run that is ended takes down what it put up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos.ending import run_until_told
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


ROUNDS = 10
"""Of the event loop, which taking down takes."""


def test_what_was_put_up_is_taken_down_whichever_task_runs_when_it_is_told() -> None:
    taken_down, over = [], asyncio.Event()

    async def one() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await over.wait()

    async def waits_for_it() -> None:
        await asyncio.gather(one(), over.wait())

    async def run() -> None:
        task = asyncio.create_task(waits_for_it())
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            over.set()
            await asyncio.gather(task, return_exceptions=True)
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            taken_down.append("all")

    with pytest.raises(SystemExit) as ended:
        run_until_told(run())
    assert (ended.value.code, taken_down) == (128 + signal.SIGTERM, ["all"])


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
