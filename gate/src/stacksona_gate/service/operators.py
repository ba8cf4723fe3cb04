"""The operator of the installation: makes workspaces and limits them, and looks into none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.agents import key_hash
from stacksona_gate.domain.audit import COMMAND_LINE, Actor
from stacksona_gate.domain.errors import NotFound, Unauthenticated
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.tenants import OPERATOR_KEY_PREFIX, OperatorKey
from stacksona_gate.service.agents import checked_name, record
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.store.base import Tx

UNKNOWN_KEY: Final = "the operator's key is unknown or revoked: `stacksona-gate operator create` makes one"


@dataclass(frozen=True, slots=True)
class MadeKey:
    """``secret`` is shown now and never again."""

    key: OperatorKey
    secret: str


def create_operator_key(tx: Tx, env: Environment, name: str) -> MadeKey:
    """Made by commands alone: no key makes another. Raises Invalid."""
    name, now = checked_name(name), env.now()
    secret = env.secret(OPERATOR_KEY_PREFIX)
    key = OperatorKey(env.id("opk_", now), name, key_hash(secret), secret[:7] + "…", now, None)
    tx.installations.insert_operator_key(key)
    record(tx, env, FIRST_TENANT, "operator_key.created", COMMAND_LINE, {"operator_key": key.id}, {"name": name})
    return MadeKey(key, secret)


def revoke_operator_key(tx: Tx, env: Environment, key_id: str) -> None:
    """Ends it at once. Raises NotFound."""
    if not tx.installations.revoke_operator_key(key_id, env.now()):
        raise NotFound(f"there is no operator's key {key_id!r} that works: `operator list` shows them")
    record(tx, env, FIRST_TENANT, "operator_key.revoked", COMMAND_LINE, {"operator_key": key_id}, {})


async def operator_of(gate: Gate, secret: str) -> OperatorKey:
    """Whose key it is. Raises Unauthenticated."""
    if not secret.startswith(OPERATOR_KEY_PREFIX) or len(secret) > 200:
        raise Unauthenticated("this takes an operator's key: Authorization: Bearer so_…")
    hashed = key_hash(secret)
    return await gate.store.read(lambda tx: _usable(tx, hashed))


def still_operator[T](key: OperatorKey, unit: Callable[[Tx, Actor], T]) -> Callable[[Tx], T]:
    """The use-case behind one more look at the key, inside its transaction."""
    return lambda tx: unit(tx, Actor("operator", _usable(tx, key.hash).id))


def _usable(tx: Tx, hashed: str) -> OperatorKey:
    key = tx.installations.find_operator_key(hashed)
    if key is None or key.revoked_at is not None:
        raise Unauthenticated(UNKNOWN_KEY)
    return key
