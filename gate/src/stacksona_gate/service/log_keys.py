"""The key that signs checkpoints of the sealed log: another than the one that signs approvals, wrapped like it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from stacksona_gate.domain.audit import COMMAND_LINE, GATE, Actor
from stacksona_gate.domain.checkpoints import log_origin
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.sealed_log import LogKey
from stacksona_gate.domain.signed_notes import ED25519, Sign, VerifierKey, parse_note, verified_by
from stacksona_gate.service.agents import record
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.base import Tx

PURPOSE: Final = "log key "


@dataclass(frozen=True, slots=True)
class LogSigner:
    """The key in use, as one workspace's log signs with it."""

    kid: str
    key: VerifierKey
    sign: Sign


def ensure_log_key(tx: Tx, env: Environment, root: RootSecret) -> None:
    """Makes the first log key, where there is none."""
    if not tx.log.list_keys():
        key = _add_key(tx, env, root)
        record(tx, env, FIRST_TENANT, "log_key.created", GATE, {"log_key": key.kid}, {"public_key": key.public})


def rotate_log_key(tx: Tx, env: Environment, root: RootSecret, actor: Actor = COMMAND_LINE) -> LogKey:
    """Checkpoints are signed with another key from now on; the old one still verifies what it signed.

    Each workspace's log tells of it, so that each has a next checkpoint, by the new key.
    """
    key = _add_key(tx, env, root)
    tx.log.retire_keys(env.now(), except_kid=key.kid)
    for tenant in tx.tenants.list_all():
        record(tx, env, tenant.id, "log_key.rotated", actor, {"log_key": key.kid}, {"public_key": key.public})
    return key


def _add_key(tx: Tx, env: Environment, root: RootSecret) -> LogKey:
    private = Ed25519PrivateKey.from_private_bytes(env.randomness(32))
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kid = env.id("log_", env.now())
    wrapped = root.wrap(raw, PURPOSE + kid, env)
    key = LogKey(kid, base64.b64encode(public).decode(), wrapped, env.now(), None)
    tx.log.insert_key(key)
    return key


def origin_of(tx: Tx, tenant_id: str) -> str:
    """What names a workspace's log. Raises Unavailable before there is an installation."""
    installation = tx.installations.find()
    if installation is None:
        raise Unavailable("the database has no identity yet: start the gate on it once")
    return log_origin(installation.id, tenant_id)


def key_in_use(tx: Tx) -> LogKey:
    """Raises Unavailable when there is none."""
    for key in tx.log.list_keys():
        if key.retired_at is None:
            return key
    raise Unavailable("there is no key to sign the log with: start the gate on this database once")


def log_signer(tx: Tx, root: RootSecret, tenant_id: str) -> LogSigner:
    """Raises Unavailable when there is no key, or the root secret does not open it."""
    key = key_in_use(tx)
    private = Ed25519PrivateKey.from_private_bytes(root.unwrap(key.private, PURPOSE + key.kid))
    return LogSigner(key.kid, verifier_key(origin_of(tx, tenant_id), key), private.sign)


def verifier_key(origin: str, key: LogKey) -> VerifierKey:
    """The public half, named after the log that it signs."""
    return VerifierKey(origin, ED25519, base64.b64decode(key.public))


def verifier_keys(tx: Tx, tenant_id: str) -> list[VerifierKey]:
    """Every key that ever signed this log, the one in use first."""
    origin = origin_of(tx, tenant_id)
    return [verifier_key(origin, key) for key in _newest_first(tx)]


def _newest_first(tx: Tx) -> list[LogKey]:
    newest_first = reversed(tx.log.list_keys())
    return sorted(newest_first, key=lambda key: key.retired_at is not None)


def own_keys(tx: Tx, root: RootSecret, tenant_id: str) -> list[VerifierKey]:
    """As ``verifier_keys``, only those whose private half the root secret opens: who can write to the database, and
    has no more than that, can add another one to it."""
    origin = origin_of(tx, tenant_id)
    return [verifier_key(origin, key) for key in _newest_first(tx) if _is_own(root, key)]


def _is_own(root: RootSecret, key: LogKey) -> bool:
    try:
        private = Ed25519PrivateKey.from_private_bytes(root.unwrap(key.private, PURPOSE + key.kid))
    except (Unavailable, ValueError):
        return False
    return base64.b64encode(private.public_key().public_bytes_raw()).decode() == key.public


def signer_of(tx: Tx, tenant_id: str, note: str) -> VerifierKey:
    """Which of the log's keys signed a checkpoint. Raises Invalid when none of them did."""
    return verified_by(parse_note(note), verifier_keys(tx, tenant_id))[0]
