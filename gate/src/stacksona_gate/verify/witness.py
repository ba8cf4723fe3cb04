"""A witness of logs (C2SP tlog-witness): remembers the last checkpoint of each, and cosigns only what extends it."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint, parse_checkpoint, parse_hash
from stacksona_gate.domain.errors import Conflict, Invalid, Malformed, Unavailable
from stacksona_gate.domain.merkle import EMPTY_ROOT, MAX_PROOF, verify_consistency
from stacksona_gate.domain.signed_notes import Sign, VerifierKey, cosignature, parse_note

FORMAT: Final = "stacksona-witness-1"
MAX_BODY: Final = 65_536
SIZE_TYPE: Final = "text/x.tlog.size"
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


class _Kept(msgspec.Struct):
    """The state file: the last note of each origin that was cosigned."""

    format: str
    checkpoints: dict[str, str]


class Memory:
    """The last checkpoint of each log, in a file that one process holds.

    Raises Conflict when another process holds it, Unavailable when it cannot be read: a witness that forgot is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = os.open(_beside(path, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.is_new = not path.exists()
            self._notes = {} if self.is_new else _read(path)
        except BlockingIOError:
            os.close(self._lock)
            raise Conflict(f"{path}: another witness is running with this state") from None
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        os.close(self._lock)

    def latest(self, origin: str) -> Checkpoint | None:
        note = self._notes.get(origin)
        return None if note is None else parse_checkpoint(note)

    def keep(self, checkpoint: Checkpoint) -> None:
        """On disk when it returns. Raises OSError, and then nothing changed."""
        notes = self._notes | {checkpoint.origin: checkpoint.note}
        _replace(self.path, json.dumps({"format": FORMAT, "checkpoints": notes}, ensure_ascii=False, indent=1))
        self._notes = notes


class Witness:
    """Answers add-checkpoint. ``clock`` gives seconds since 1970; ``tell`` takes a line on what was done.

    Not for threads: checking and keeping must not be parted.
    """

    def __init__(
        self,
        key: VerifierKey,
        sign: Sign,
        logs: Sequence[VerifierKey],
        memory: Memory,
        clock: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._key, self._sign, self._logs = key, sign, logs
        self._memory, self._clock, self._tell = memory, clock, tell

    def add_checkpoint(self, body: bytes) -> Reply:
        """The answer to a request's body, in the order of checks of the specification. Never raises for the body."""
        try:
            old, proof, note = _parts(body)
            checkpoint = parse_checkpoint(note)
        except Malformed as error:
            return Reply(400, f"{error.detail}\n")
        if all(log.name != checkpoint.origin for log in self._logs):
            return Reply(404, "this log is not known here\n")
        try:
            open_checkpoint(note, self._logs)
        except Invalid as error:
            return Reply(403, f"{error.detail}\n")
        return self._extend(old, proof, checkpoint)

    def _extend(self, old: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> Reply:
        if old > checkpoint.size:
            return Reply(400, "the old size is larger than the checkpoint's\n")
        latest = self._memory.latest(checkpoint.origin)
        size, root = (0, EMPTY_ROOT) if latest is None else (latest.size, latest.root)
        if old != size:
            return self._refused(checkpoint, Reply(409, f"{size}\n", SIZE_TYPE))
        if old == checkpoint.size and root != checkpoint.root:
            return self._refused(checkpoint, Reply(409, f"{size}\n", SIZE_TYPE))
        if not verify_consistency(old, root, checkpoint.size, checkpoint.root, proof):
            return self._refused(checkpoint, Reply(422, "the proof of consistency does not hold\n"))
        return self._cosigned(checkpoint, is_new=latest is None or old != checkpoint.size)

    def _cosigned(self, checkpoint: Checkpoint, *, is_new: bool) -> Reply:
        signature = cosignature(parse_note(checkpoint.note).text, self._key, self._sign, self._clock())
        if is_new:
            try:
                self._memory.keep(checkpoint)
            except OSError as error:
                self._tell(f"cannot keep the state: {error.strerror}")
                return Reply(500, "the state cannot be kept\n")
            self._tell(f"cosigned {checkpoint.origin} {checkpoint.size}")
        return Reply(200, str(signature))

    def _refused(self, checkpoint: Checkpoint, reply: Reply) -> Reply:
        # The log signed it: together with the note in the state it may prove that the log has two histories.
        self._tell(f"refused {reply.status} {json.dumps(checkpoint.note, ensure_ascii=False)}")
        return reply


def _parts(body: bytes) -> tuple[int, list[bytes], str]:
    """Old size, proof and note of a request. Raises Malformed."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    head, separator, note = text.partition("\n\n")
    first, *hashes = head.split("\n")
    old = _OLD.fullmatch(first)
    if not separator or old is None:
        raise Malformed("the body is a line with the old size, the proof, an empty line and a checkpoint")
    if len(hashes) > MAX_PROOF:
        raise Malformed(f"a proof has at most {MAX_PROOF} hashes")
    return int(old[1]), [parse_hash(one) for one in hashes], note


def _read(path: Path) -> dict[str, str]:
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        if kept.format != FORMAT or any(parse_checkpoint(note).origin != at for at, note in kept.checkpoints.items()):
            raise Malformed("another format")
    except (msgspec.MsgspecError, UnicodeDecodeError, Malformed):
        raise Unavailable(f"{path}: this is no state of a witness; put the right file back") from None
    return kept.checkpoints


def _replace(path: Path, text: str) -> None:
    """All of it or nothing, and on disk."""
    partial = _beside(path, "partial")
    with open(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")
