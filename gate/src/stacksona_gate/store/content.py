"""Content at rest: columns encrypted by a key per tenant (AES-256-GCM), the keys wrapped by the root secret.

A process derives a key of its own from the tenant's (HKDF-SHA-256, RFC 5869, over a random 64-bit session id) and
counts its nonces: none repeats however much is written, where random nonces of 96 bits would be good for 2^32 texts
only (NIST SP 800-38D, section 8.3). What is stored names the tenant's key, the session and the count.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import threading
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.store.evidence import DataKey, Wrapping
from stacksona_gate.store.rows import MARK, Mapper, Rows

DATA_KEYS: Final = Mapper(DataKey, "data_keys")
MARK_BYTES: Final = MARK.encode()
PURPOSE: Final = "data key "

_ID, _SESSION, _COUNT, _NONCE = 8, 8, 6, 12
_HEAD: Final = _ID + _SESSION + _COUNT
_INFO: Final = b"stacksona-gate content v1"


@dataclass(frozen=True, slots=True)
class _Writing:
    """A tenant's key in use, as this process writes with it."""

    head: bytes
    cipher: AESGCM


class Content:
    """Encrypts and decrypts for one store. Locked until ``unlock``: nothing is written or read before."""

    def __init__(self) -> None:
        self._wrapping: Wrapping | None = None
        self._session = b""
        self._counter = itertools.count()
        self._writing: dict[bytes, _Writing] = {}
        self._secrets: dict[bytes, tuple[str, bytes]] = {}
        self._reading: dict[bytes, tuple[str, AESGCM]] = {}
        self._lock = threading.Lock()

    def unlock(self, wrapping: Wrapping) -> None:
        """Gives the root secret's wrapping; without it keys can be neither made nor opened."""
        self._wrapping = wrapping
        self._session = wrapping.randomness(_SESSION)

    def seal(self, rows: Rows, tenant_id: str, place: str, text: str | bytes) -> str:
        """``text``: as it is, or in UTF-8 already. ``place``: table and column, bound in: what was written to one place
        does not open in another."""
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        return MARK + binascii.b2a_base64(self._seal(rows, tenant_id, place, data), newline=False).decode("ascii")

    def seal_bytes(self, rows: Rows, tenant_id: str, place: str, data: bytes) -> bytes:
        return MARK_BYTES + self._seal(rows, tenant_id, place, data)

    def open(self, rows: Rows, place: str, stored: str) -> str:
        """The text; one that was written before content was encrypted comes back as it is. Raises Unavailable."""
        if not stored.startswith(MARK):
            return stored
        try:
            raw = base64.b64decode(stored[len(MARK) :], validate=True)
        except binascii.Error:
            raise _damaged(place) from None
        return self._open(rows, place, raw).decode("utf-8", "surrogatepass")

    def open_bytes(self, rows: Rows, place: str, stored: bytes) -> bytes:
        return self._open(rows, place, stored[len(MARK_BYTES) :]) if stored.startswith(MARK_BYTES) else stored

    def is_current(self, rows: Rows, tenant_id: str, stored: str | bytes) -> bool:
        """Whether it was written with the tenant's key in use."""
        if isinstance(stored, str):
            if not stored.startswith(MARK):
                return False
            stored = MARK_BYTES + base64.b64decode(stored[len(MARK) : len(MARK) + 12])
        start = len(MARK_BYTES)
        return stored[start : start + _ID] == self._key_in_use(rows, tenant_id)

    def forget(self) -> None:
        """Drops keys that this process holds: a transaction that may have made one was undone, or keys changed."""
        with self._lock:
            self._writing.clear()
            self._secrets.clear()
            self._reading.clear()

    def new_key(self, rows: Rows, tenant_id: str, now: int) -> DataKey:
        """Makes a key and puts it to use; the one before goes on opening what it closed."""
        wrapping = self._unlocked()
        key_id = wrapping.randomness(_ID).hex()
        key = DataKey(
            tenant_id, key_id, wrapping.wrap(wrapping.randomness(32), PURPOSE + tenant_id + key_id), now, None
        )
        rows.run("UPDATE data_keys SET retired_at = $1 WHERE tenant_id = $2 AND retired_at IS NULL", now, tenant_id)
        rows.run(DATA_KEYS.insert, *DATA_KEYS.values(key))
        rows.keys_in_use.pop(tenant_id, None)
        return key

    def _seal(self, rows: Rows, tenant_id: str, place: str, data: bytes) -> bytes:
        key_id = rows.keys_in_use.get(tenant_id) or self._key_in_use(rows, tenant_id)
        writing = self._writing.get(key_id) or self._writing_with(rows, key_id)
        count = next(self._counter).to_bytes(_COUNT)
        sealed = writing.cipher.encrypt(count.rjust(_NONCE, b"\0"), data, f"{tenant_id}\n{place}".encode())
        return writing.head + count + sealed

    def _open(self, rows: Rows, place: str, raw: bytes) -> bytes:
        head = raw[: _ID + _SESSION]
        tenant_id, cipher = self._reading.get(head) or self._cipher(rows, head)
        nonce = raw[_ID + _SESSION : _HEAD].rjust(_NONCE, b"\0")
        try:
            return cipher.decrypt(nonce, raw[_HEAD:], f"{tenant_id}\n{place}".encode())
        except (InvalidTag, ValueError):
            raise _damaged(place) from None

    def _key_in_use(self, rows: Rows, tenant_id: str) -> bytes:
        """The id of the tenant's key; held, so that no rotation forgets it before what it closes is committed."""
        known = rows.keys_in_use.get(tenant_id)
        if known is None:
            sql = f"{DATA_KEYS.select} WHERE tenant_id = $1 AND retired_at IS NULL{rows.for_share}"
            key = DATA_KEYS.optional(rows.one(sql, tenant_id)) or self.new_key(rows, tenant_id, self._unlocked().now())
            known = rows.keys_in_use[tenant_id] = bytes.fromhex(key.id)
        return known

    def _writing_with(self, rows: Rows, key_id: bytes) -> _Writing:
        head = key_id + self._session
        writing = self._writing[key_id] = _Writing(head, self._cipher(rows, head)[1])
        return writing

    def _cipher(self, rows: Rows, head: bytes) -> tuple[str, AESGCM]:
        """The cipher of a key and a session. No lock is held while the database is asked: it may wait for another
        transaction of this process."""
        kept = self._secrets.get(head[:_ID])
        if kept is None:
            key = DATA_KEYS.optional(rows.one(f"{DATA_KEYS.select} WHERE id = $1", head[:_ID].hex()))
            if key is None:
                raise Unavailable("the key that this content was encrypted with is not in the database")
            kept = (key.tenant_id, self._secret(key))
        tenant_id, secret = kept
        cipher = AESGCM(HKDF(SHA256(), 32, salt=head[_ID:], info=_INFO).derive(secret))
        with self._lock:
            self._secrets[head[:_ID]] = kept
            self._reading[head] = (tenant_id, cipher)
        return tenant_id, cipher

    def _secret(self, key: DataKey) -> bytes:
        return self._unlocked().unwrap(key.wrapped, PURPOSE + key.tenant_id + key.id)

    def _unlocked(self) -> Wrapping:
        if self._wrapping is None:
            raise Unavailable("the store is not unlocked: nothing was decided")
        return self._wrapping


def _damaged(place: str) -> Unavailable:
    return Unavailable(f"stored content of {place} does not open: the database was damaged or changed from outside")
