"""A disk that can be told to fail: an SQLite VFS over the real one."""

from __future__ import annotations

import threading
from collections.abc import Buffer, Iterator
from contextlib import contextmanager
from typing import Any

import apsw


class Disk(apsw.VFS):
    """Writes, syncs or reads fail while told to; syncs wait while told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failing: dict[str, type[apsw.Error]] = {}
        self.flowing = threading.Event()
        self.flowing.set()
        self.waiting = threading.Event()
        self.failed = threading.Event()
        self.reads = 0
        """Pages of the file, and what else is read."""
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)

    @contextmanager
    def failing_at(self, operation: str, error: type[apsw.Error]) -> Iterator[None]:
        """``write``, ``sync`` or ``read`` raises."""
        self.failing[operation] = error
        try:
            yield
        finally:
            del self.failing[operation]

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Syncs hang."""
        self.waiting.clear()
        self.flowing.clear()
        try:
            yield
        finally:
            self.flowing.set()

    def check(self, operation: str) -> None:
        if operation in self.failing:
            self.failed.set()
            raise self.failing[operation](f"this {operation} fails, as told")


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: Buffer, offset: int) -> None:
        self._disk.check("write")
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check("read")
        self._disk.reads += 1
        return super().xRead(amount, offset)

    def xSync(self, flags: int) -> None:
        self._disk.check("sync")
        if not self._disk.flowing.is_set():
            self._disk.waiting.set()
            self._disk.flowing.wait(30)
        super().xSync(flags)
