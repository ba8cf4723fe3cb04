"""Files that are there complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from stacksona_gate.domain.errors import Conflict


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A new file for its owner alone (mode 0600), named ``path`` once the block has ended well.

    It is written under another name in the same folder and synchronised to disk. ``force``: it may replace a file;
    otherwise raises Conflict where one is, whenever that one was made. Raises OSError.
    """
    if not force and os.path.lexists(path):
        raise _exists(path)
    partial = path.with_name(f".{path.name[:200]}.partial-{os.getpid()}")
    with suppress(FileNotFoundError):
        partial.unlink()  # of a process of that number that was killed
    try:
        with cast(BinaryIO, os.fdopen(_opened(partial, path), "wb")) as file:
            yield file
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        _name(partial, path, force=force)
    finally:
        partial.unlink(missing_ok=True)


def _opened(partial: Path, path: Path) -> int:
    try:
        return os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _name(partial: Path, path: Path, *, force: bool) -> None:
    if force:
        partial.replace(path)
    else:
        _link(partial, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(partial: Path, path: Path) -> None:
    """Unlike a rename, a link never replaces. A file system without links has to do with a look before."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        if os.path.lexists(path):
            raise _exists(path) from None
        partial.rename(path)


def _exists(path: Path) -> Conflict:
    return Conflict(f"{path} exists: name a new file, or overwrite it with --force")
