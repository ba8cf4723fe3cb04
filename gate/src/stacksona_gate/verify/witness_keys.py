"""A witness's own key, in a file: ``PRIVATE+KEY+<name>+<key ID>+<base64 of type and seed>``."""

from __future__ import annotations

import base64
import binascii
import os
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.signed_notes import COSIGNATURE_V1, Sign, VerifierKey

_START: Final = "PRIVATE+KEY+"
_SEED_BYTES: Final = 32


def make_key(path: Path, name: str | None) -> VerifierKey:
    """Makes a key in a new file, for its owner alone. Raises Malformed for the name, OSError for a file that exists."""
    secret = Ed25519PrivateKey.generate()
    public = secret.public_key().public_bytes_raw()
    key = VerifierKey(name or f"stacksona-witness/{sha256(public).hexdigest()[:8]}", COSIGNATURE_V1, public)
    encoded = base64.b64encode(bytes((COSIGNATURE_V1,)) + secret.private_bytes_raw()).decode()
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(f"{_START}{key.name}+{key.key_id.hex()}+{encoded}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(path: Path) -> tuple[VerifierKey, Sign]:
    """The key in a file, and what signs with it. Raises Unavailable, which never repeats what is in the file."""
    try:
        name, key_id, encoded = path.read_text(encoding="utf-8").strip().removeprefix(_START).split("+", 2)
        decoded = base64.b64decode(encoded, validate=True)
    except (UnicodeDecodeError, ValueError, binascii.Error):
        raise _no_key(path) from None
    if len(decoded) != 1 + _SEED_BYTES or decoded[0] != COSIGNATURE_V1:
        raise _no_key(path)
    secret = Ed25519PrivateKey.from_private_bytes(decoded[1:])
    key = VerifierKey(name, COSIGNATURE_V1, secret.public_key().public_bytes_raw())
    if key.key_id.hex() != key_id:
        raise _no_key(path)
    return key, secret.sign


def _no_key(path: Path) -> Unavailable:
    return Unavailable(f"{path}: this is no witness's key; make one with --init-key")
