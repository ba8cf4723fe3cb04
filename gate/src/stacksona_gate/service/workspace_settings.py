"""A workspace's own settings: JSON under a name, each change on record."""

from __future__ import annotations

import msgspec

from stacksona_gate.domain.audit import Actor
from stacksona_gate.service.environment import Environment
from stacksona_gate.store.base import Tx

_ENCODER = msgspec.json.Encoder()


def encoded(value: msgspec.Struct) -> str:
    """A setting as it is kept."""
    return _ENCODER.encode(value).decode()


def change_setting(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, name: str, before: msgspec.Struct, after: msgspec.Struct
) -> None:
    """Keeps a checked setting and records who changed it from what to what; the same again is no change."""
    text = encoded(after)
    if text == encoded(before):
        return
    tx.tenants.set_setting(tenant_id, name, text)
    tx.tenants.bump_config(tenant_id)
    private: dict[str, object] = {"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)}
    entry = env.entry(
        "settings.changed",
        tenant_id=tenant_id,
        at=env.now(),
        actor=actor,
        objects={"setting": name},
        private=private,
    )
    tx.audit.append(entry)
