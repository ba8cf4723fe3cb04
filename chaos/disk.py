"""The disk of the database that is tested: a small file system of its own where this process may mount one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chaos.shim import FULL, READ_ONLY, SYNC_DELAY, WRITE_ERROR, Shim

SIZE_MEGABYTES: Final = 3072
FILL_TRIES: Final = 200
UNMOUNT_TRIES: Final = 50


class Disk:
    """Below ``folder``. Whether it is ``real``: full when it is full, and not because it is said to be."""

    def __init__(self, folder: Path, *, real: bool) -> None:
        self.folder = folder
        self.real = real

    def fill(self, shims: Sequence[Shim]) -> None:
        """Leaves no space on it."""
        if not self.real:
            _tell(shims, WRITE_ERROR, FULL)
            return
        for _ in range(FILL_TRIES):  # somebody writes meanwhile: it may have grown beyond what it is told to be
            state = os.statvfs(self.folder)
            if self._resize(f"{(state.f_blocks - state.f_bfree) * state.f_frsize}"):
                return
        raise RuntimeError(f"{self.folder} cannot be made full")

    def clear(self, shims: Sequence[Shim]) -> None:
        if self.real:
            self._resize(f"{SIZE_MEGABYTES}m")
        _tell(shims, WRITE_ERROR, 0)

    def _resize(self, size: str) -> bool:
        """Whether the file system took it: it refuses to be smaller than what is in it."""
        command = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def refuse(self, shims: Sequence[Shim]) -> None:
        """Takes no writes, as after ``mount -o remount,ro``, which a disk in use refuses."""
        _tell(shims, WRITE_ERROR, READ_ONLY)

    def slow_down(self, shims: Sequence[Shim], milliseconds: int) -> None:
        _tell(shims, SYNC_DELAY, milliseconds)


def _tell(shims: Sequence[Shim], number: int, value: int) -> None:
    for shim in shims:
        shim.tell(number, value)


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A disk below the folder, which is empty; gone at the end, with everything on it."""
    real = os.getuid() == 0 and _mount(folder)
    folder.chmod(0o755)
    try:
        yield Disk(folder, real=real)
    finally:
        if real:
            _unmount(folder)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MEGABYTES}m,mode=755", "chaos", str(folder)]
    if shutil.which("mount") is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    for _ in range(UNMOUNT_TRIES):
        if subprocess.run(["umount", str(folder)], capture_output=True, timeout=30, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{folder} is still in use: end what uses it, then `umount {folder}`")


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for one run's servers, which an ordinary user can enter. Gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="stacksona-chaos-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
