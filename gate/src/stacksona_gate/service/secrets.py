"""Secrets at rest, and passwords."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stacksona_gate.domain.errors import Invalid, Unavailable
from stacksona_gate.service.environment import Environment

_HASHER: Final = PasswordHasher()

PASSWORD_LEAST: Final = 12
PASSWORD_MOST: Final = 1024


class RootSecret:
    """Wraps keys and secrets before they are stored (AES-256-GCM under a key derived by HKDF-SHA-256, RFC 5869)."""

    def __init__(self, secret: bytes) -> None:
        """``secret``: at least 32 bytes. Raises Invalid."""
        if len(secret) < 32:
            raise Invalid("the root secret needs at least 32 bytes: make one with `openssl rand -hex 32`")
        derived = HKDF(SHA256(), 32, salt=None, info=b"stacksona-gate wrapping key v1").derive(secret)
        self._cipher = AESGCM(derived)

    def wrap(self, value: bytes, purpose: str, env: Environment) -> str:
        """``purpose`` is bound in: what was wrapped for one thing does not open as another."""
        nonce = env.randomness(12)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, value, purpose.encode())).decode()

    def unwrap(self, wrapped: str, purpose: str) -> bytes:
        """Raises Unavailable when the secret is not the one it was wrapped with."""
        raw = base64.b64decode(wrapped)
        try:
            return self._cipher.decrypt(raw[:12], raw[12:], purpose.encode())
        except InvalidTag:
            raise Unavailable(
                "the root secret is not the one this database was made with:"
                " set STACKSONA_SECRET_KEY or STACKSONA_SECRET_KEY_FILE"
            ) from None


@dataclass(frozen=True, slots=True)
class RootWrapping:
    """The root secret as a store uses it. Implements store.evidence.Wrapping."""

    root: RootSecret
    env: Environment

    def wrap(self, value: bytes, purpose: str) -> str:
        return self.root.wrap(value, purpose, self.env)

    def unwrap(self, wrapped: str, purpose: str) -> bytes:
        return self.root.unwrap(wrapped, purpose)

    def randomness(self, count: int) -> bytes:
        return self.env.randomness(count)

    def now(self) -> int:
        return self.env.now()


@cache
def _nobody() -> str:
    """Checked when there is no such account, so that the time taken does not tell."""
    return _HASHER.hash("nobody's password")


def hash_password(password: str) -> str:
    """Argon2id with the library's current parameters. Slow on purpose: call it in a thread. Raises Invalid."""
    if len(password) < PASSWORD_LEAST:
        raise Invalid(f"a password needs at least {PASSWORD_LEAST} characters")
    if len(password) > PASSWORD_MOST:
        raise Invalid(f"a password has at most {PASSWORD_MOST} characters")
    return _HASHER.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Takes as long when there is no account as when the password is wrong. Call it in a thread."""
    if len(password) > PASSWORD_MOST:
        password = ""
    try:
        _HASHER.verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None
