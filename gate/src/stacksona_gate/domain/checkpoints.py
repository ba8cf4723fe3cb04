"""Checkpoints: what a log says about itself, signed (C2SP tlog-checkpoint)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.errors import Invalid, Malformed
from stacksona_gate.domain.merkle import HASH_BYTES, MAX_SIZE
from stacksona_gate.domain.reading import quote
from stacksona_gate.domain.signed_notes import ED25519, Sign, VerifierKey, parse_note, sign_note, verified_by

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of ``size`` leaves of the log ``origin`` has this ``root`` (32 bytes). ``note`` is the whole text."""

    origin: str
    size: int
    root: bytes
    note: str


def log_origin(installation_id: str, tenant_id: str) -> str:
    """What names a workspace's log, in its checkpoints and as the name of its key."""
    return f"stacksona-gate/{installation_id}/{tenant_id}"


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign_checkpoint(size: int, root: bytes, key: VerifierKey, sign: Sign) -> Checkpoint:
    """The checkpoint of the log that ``key`` is named after; ``sign`` signs with the private half."""
    note = sign_note(checkpoint_body(key.name, size, root), key, sign)
    return Checkpoint(key.name, size, root, str(note))


def parse_checkpoint(note: str) -> Checkpoint:
    """Takes a checkpoint apart; verifies nothing. Raises Malformed."""
    lines = parse_note(note).text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise Malformed("a checkpoint has three lines: origin, size, root hash")
    origin, size, root = lines[:3]
    if _SIZE.fullmatch(size) is None or int(size) > MAX_SIZE:
        raise Malformed(f"{quote(size)} is no tree size")
    return Checkpoint(origin, int(size), parse_hash(root), note)


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint that one of the log's keys signed: an Ed25519 key that is named like the origin.

    Raises Malformed, or Invalid for a wrong signature and for none of these keys.
    """
    checkpoint = parse_checkpoint(note)
    own = [key for key in keys if key.algorithm == ED25519 and key.name == checkpoint.origin]
    if not own:
        raise Invalid(f"no key of the log {quote(checkpoint.origin)} is known")
    verified_by(parse_note(note), own)
    return checkpoint


def parse_hash(text: str) -> bytes:
    """32 bytes in the one spelling that base64 has for them. Raises Malformed."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != HASH_BYTES or base64.b64encode(decoded).decode() != text:
        raise Malformed(f"{quote(text)} is no hash: 32 bytes in base64")
    return decoded
