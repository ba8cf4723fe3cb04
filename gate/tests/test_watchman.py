"""Whatever is killed, nothing of it stays: no process, no folder."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from gate.tests.cli.processes import until
from gate.tests.test_architecture import ROOT

TESTS = """
import subprocess, sys
from gate.tests.watchman import mark, new_folder
print(new_folder("kept-"), flush=True)
process = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], env=mark() | {"PATH": "/usr/bin:/bin"})
print(process.pid, flush=True)
process.wait()
"""


def test_what_tests_started_ends_when_they_are_killed_and_their_folders_go(tmp_path: Path) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", TESTS],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}/gate:{ROOT}", "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )
    assert tests.stdout is not None
    folder, *processes = (tests.stdout.readline().strip() for _ in range(3))
    assert Path(folder).is_dir()
    tests.send_signal(signal.SIGKILL)
    tests.wait(60)
    tests.stdout.close()
    until(lambda: None if list(tmp_path.iterdir()) or any(map(lives, processes)) else True)


def lives(process: str) -> bool:
    """A process that ended and that nobody asked about is still listed, as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
