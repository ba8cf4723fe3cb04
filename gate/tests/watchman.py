"""Whatever tests start ends with them, and their folders go, also when they are killed.

A process of its own, which nobody kills, waits for the end of this one. Then it ends every process that has this one's
mark in its environment, and removes the folders that it was told of.
"""

from __future__ import annotations

import atexit
import os
import secrets
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

MARK: Final = "GATE_TESTS_OF"
"""The environment variable that a process is known by. Servers of PostgreSQL hand it on to what they start."""
SCRIPT: Final = """
folders=$(cat)
for round in 1 2 3; do
  for found in $(grep -slF -- "$1" /proc/[0-9]*/environ); do
    process=${found#/proc/}
    kill -KILL "${process%/environ}" 2>/dev/null
  done
done
for round in 1 2 3 4 5; do
  printf '%s\\n' "$folders" | while IFS= read -r folder; do [ -z "$folder" ] || rm -rf "$folder"; done && break
  sleep 0.2  # somebody who just died was still writing
done
"""


def new_folder(prefix: str, beneath: Path | None = None) -> Path:
    """A new folder, gone with this process. ``beneath``: on this disk, else where temporary files are."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place(beneath)))


def mark() -> dict[str, str]:
    """The environment of what is to end with this process."""
    _watch()
    return {MARK: os.environ[MARK]}


@cache
def place(beneath: Path | None = None) -> Path:
    """Where temporary files of this process are; see ``new_folder``."""
    made = Path(tempfile.mkdtemp(prefix="gate-tests-", dir=beneath))
    made.chmod(0o755)  # servers run as another user
    os.write(_watch(), f"{made}\n".encode())
    return made


@cache
def _watch() -> int:
    """Starts it. Returns where it is told of folders; it begins its work when that is closed, by whatever end."""
    name = secrets.token_hex(16)
    reading, writing = os.pipe()
    clean = {"PATH": os.environ["PATH"]}
    command = ["sh", "-c", SCRIPT, "watchman", name]
    process = subprocess.Popen(command, stdin=reading, env=clean, cwd="/", start_new_session=True)
    os.close(reading)
    os.environ[MARK] = name

    def end() -> None:
        os.close(writing)
        process.wait(60)

    # What registered itself later is done before: nobody is killed who can be told to end.
    atexit.register(end)
    return writing
