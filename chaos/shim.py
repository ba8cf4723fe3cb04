"""What a process is told about its disk and its clock, by a library that is loaded into it before the C library."""

from __future__ import annotations

import errno
import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
NUMBERS: Final = 8
CLOCK_OFFSET, SYNC_DELAY, WRITE_ERROR, CLOCK_READS, SLOW_SYNCS, FAILED_WRITES = range(6)
READ_ONLY: Final = errno.EROFS
FULL: Final = errno.ENOSPC


def build(folder: Path) -> Path | None:
    """The library, made in the folder. None where there is no C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    made = folder / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(made), str(SOURCE), "-ldl"],
        check=True,
        timeout=60,
    )
    made.chmod(0o755)
    return made


class Shim:
    """One process's, or one server's with all its processes."""

    def __init__(self, library: Path | None, control: Path, folder: Path) -> None:
        """``folder``: whose files are the disk in question."""
        self._library = library
        self._control = control
        self._folder = folder
        control.write_bytes(bytes(NUMBERS * 8))
        control.chmod(0o666)
        with control.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), NUMBERS * 8)

    def environment(self) -> dict[str, str]:
        """Of the process that is told."""
        if self._library is None:
            return {}
        return {
            "LD_PRELOAD": str(self._library),
            "CHAOS_SHIM_FILE": str(self._control),
            "CHAOS_SHIM_FOLDER": str(self._folder),
        }

    def tell(self, number: int, value: int) -> None:
        struct.pack_into("q", self._shared, number * 8, value)

    def told(self, number: int) -> int:
        return int(struct.unpack_from("q", self._shared, number * 8)[0])

    def close(self) -> None:
        self._shared.close()
