"""The library that is loaded into processes: their clock, their syncs, their disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.shim import (
    CLOCK_OFFSET,
    CLOCK_READS,
    FAILED_WRITES,
    FULL,
    READ_ONLY,
    SLOW_SYNCS,
    SYNC_DELAY,
    WRITE_ERROR,
    Shim,
    build,
)

HOUR = 3600


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    library = build(tmp_path)
    if library is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "disk").mkdir()
    made = Shim(library, tmp_path / "control", tmp_path / "disk")
    yield made
    made.close()


def ran(shim: Shim, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | shim.environment()
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


WRITE = "import pathlib; pathlib.Path('{place}').write_text('x')"
SYNC = """
import os, time
file = open("disk/file", "w")
begun = time.monotonic()
os.fsync(file.fileno())
print(time.monotonic() - begun)
"""
COMMIT = "import apsw; apsw.Connection('disk/gate.db').execute('CREATE TABLE one (a)')"


def test_a_clock_is_set_and_the_one_that_nobody_sets_is_not(shim: Shim, tmp_path: Path) -> None:
    shim.tell(CLOCK_OFFSET, -HOUR * 1_000_000_000)
    told = ran(shim, "import time; print(time.time(), time.monotonic())", tmp_path).stdout.split()
    assert abs(float(told[0]) + HOUR - time.time()) < HOUR / 2
    assert abs(float(told[1]) - time.monotonic()) < HOUR / 2
    assert shim.told(CLOCK_READS) > 0


def test_a_sync_takes_as_long_as_it_is_told(shim: Shim, tmp_path: Path) -> None:
    shim.tell(SYNC_DELAY, 300)
    assert float(ran(shim, SYNC, tmp_path).stdout) >= 0.3
    assert shim.told(SLOW_SYNCS) == 1


@pytest.mark.parametrize(("error", "word"), [(FULL, "No space left"), (READ_ONLY, "Read-only file system")])
def test_the_disk_alone_takes_no_writes(shim: Shim, tmp_path: Path, error: int, word: str) -> None:
    shim.tell(WRITE_ERROR, error)
    assert word in ran(shim, WRITE.format(place="disk/file"), tmp_path).stderr
    assert ran(shim, WRITE.format(place="elsewhere"), tmp_path).returncode == 0
    assert shim.told(FAILED_WRITES) > 0


@pytest.mark.parametrize(("error", "word"), [(FULL, "FullError"), (READ_ONLY, "Error")])
def test_sqlite_sees_it_too(shim: Shim, tmp_path: Path, error: int, word: str) -> None:
    shim.tell(WRITE_ERROR, error)
    assert word in ran(shim, COMMIT, tmp_path).stderr


def test_nothing_is_different_while_nothing_is_told(shim: Shim, tmp_path: Path) -> None:
    assert ran(shim, COMMIT, tmp_path).returncode == 0
    assert [shim.told(number) for number in (CLOCK_READS, SLOW_SYNCS, FAILED_WRITES)] == [0, 0, 0]
