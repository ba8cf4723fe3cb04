"""A server that is killed as by a loss of power: nothing of it lives on and stands in the way of the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gate.tests.cli.processes import until
from gate.tests.replication import kill_server, working_in

SERVER = """
import os, pathlib, time
pathlib.Path("postmaster.pid").write_text(f"{os.getpid()}\\n")
for _ in range(1000):
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
"""
"""Starts one process after the other, as one that lets callers in; each ends by itself in time."""


def test_nothing_of_a_server_lives_on_that_was_starting_processes_when_it_was_killed(tmp_path: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], cwd=tmp_path)
    until(lambda: len(working_in(tmp_path)) > 20 or None)
    kill_server(tmp_path)
    left = working_in(tmp_path)
    server.wait(30)
    assert left == []
