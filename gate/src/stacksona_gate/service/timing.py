"""A workspace's settings of time: when reviewers are reminded, and how long an outcome may be missing."""

from __future__ import annotations

from typing import Final

import msgspec

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.reminders import Timing
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.environment import Environment
from stacksona_gate.store.base import Tx

_NAME: Final = "timing"
_STANDARD: Final = Timing()


def read_timing(tx: Tx, tenant_id: str) -> Timing:
    """What holds now: the standard values where nobody has set any."""
    kept = tx.tenants.get_setting(tenant_id, _NAME)
    return _STANDARD if kept is None else msgspec.json.decode(kept, type=Timing)


def change_timing(tx: Tx, env: Environment, actor: Actor, tenant_id: str, timing: Timing) -> None:
    """Sets them for threads that open from now on. Those that wait keep the time of their next reminder, and go by the
    new setting from then on.
    """
    if timing == read_timing(tx, tenant_id):
        return
    tx.tenants.set_setting(tenant_id, _NAME, msgspec.json.encode(timing).decode())
    tx.tenants.bump_config(tenant_id)
    private = {"reminders": list(timing.reminders), "outcome_within": timing.outcome_within // SECOND}
    tx.audit.append(
        env.entry(
            "settings.changed",
            tenant_id=tenant_id,
            at=env.now(),
            actor=actor,
            objects={"setting": _NAME},
            private=private,
        )
    )
