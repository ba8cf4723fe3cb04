"""What a database needs before it can decide: an identity, a workspace, a key to sign with."""

from __future__ import annotations

from typing import Final

from stacksona_gate.domain.audit import COMMAND_LINE, GATE, Actor
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.service.agents import record
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.keyring import Keyring, new_signing_key
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.base import Installation, SigningKey, Tenant, Tx

_CHECKED: Final = b"stacksona-gate"
_PURPOSE: Final = "secret check"


def ensure_installation(tx: Tx, env: Environment, root: RootSecret) -> Installation:
    """Makes what is missing; on a database that has it all, checks the root secret. Raises Unavailable."""
    installation = tx.installations.find()
    if installation is not None:
        root.unwrap(installation.secret_check, _PURPOSE)
        return installation
    now = env.now()
    installation = Installation(env.id("gate_", now), root.wrap(_CHECKED, _PURPOSE, env), now)
    tx.installations.insert(installation)
    tx.tenants.insert(Tenant(FIRST_TENANT, FIRST_TENANT, 1, 0, now))
    record(tx, env, FIRST_TENANT, "installation.created", GATE, {"installation": installation.id}, {})
    _add_signing_key(tx, env, root, GATE, "signing_key.created")
    return installation


def read_keyring(tx: Tx, env: Environment, root: RootSecret) -> Keyring:
    """The keys as they are stored now. Raises Unavailable when none can sign."""
    installation = tx.installations.find()
    issuer = "" if installation is None else installation.id
    return Keyring(issuer, tx.installations.list_signing_keys(), root, env.now())


def rotate_signing_key(tx: Tx, env: Environment, root: RootSecret, actor: Actor = COMMAND_LINE) -> SigningKey:
    """From now on another key signs; tokens signed with the old ones stay good until they expire."""
    key = _add_signing_key(tx, env, root, actor, "signing_key.rotated")
    tx.installations.retire_signing_keys(env.now(), except_kid=key.kid)
    # The keyring belongs to everybody: each workspace's caches are dropped with it.
    tx.tenants.bump_all_configs()
    return key


async def read_keys(gate: Gate) -> None:
    """Reads the keyring anew. Raises Unavailable."""
    gate.keyring = await gate.store.read(lambda tx: read_keyring(tx, gate.env, gate.root))


def check_writable(tx: Tx, env: Environment) -> None:
    """Writes something: whether a commit comes through is not to be had for less."""
    tx.leases.take("ready", "anybody", env.now(), 0)


def _add_signing_key(tx: Tx, env: Environment, root: RootSecret, actor: Actor, event: str) -> SigningKey:
    key = new_signing_key(env, root, env.now())
    tx.installations.insert_signing_key(key)
    record(tx, env, FIRST_TENANT, event, actor, {"signing_key": key.kid}, {})
    return key
