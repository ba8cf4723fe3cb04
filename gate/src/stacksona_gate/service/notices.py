"""What admins are told until one of them takes it off the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.errors import NotFound
from stacksona_gate.domain.webhooks import Notice
from stacksona_gate.service.environment import Environment
from stacksona_gate.store.base import Tx

NOTICES_MOST: Final = 100
"""Open ones that are listed."""


def add_notice(tx: Tx, env: Environment, tenant_id: str, kind: str, text: str, objects: Mapping[str, str]) -> None:
    """Tells a workspace's admins. One that is open already, of this kind and about these objects, says it: no second.

    ``text`` is shown as it is and holds nothing that came from outside.
    """
    about = canonicalize(dict(objects)).decode()
    if tx.notices.find_open(tenant_id, kind, about) is None:
        now = env.now()
        tx.notices.insert(Notice(0, tenant_id, env.id("ntc_", now), kind, text, about, now))


def list_notices(tx: Tx, tenant_id: str) -> tuple[Notice, ...]:
    """The open ones, newest first."""
    return tuple(tx.notices.list_open(tenant_id, NOTICES_MOST))


def dismiss_notice(tx: Tx, env: Environment, actor: Actor, tenant_id: str, notice_id: str) -> Notice:
    """Takes it off the list; one that is off already stays as it is. Raises NotFound."""
    notice = tx.notices.find(tenant_id, notice_id)
    if notice is None:
        raise NotFound("there is no such notice")
    if tx.notices.dismiss(tenant_id, notice_id, env.now(), actor.id):
        entry = env.entry(
            "notice.dismissed",
            tenant_id=tenant_id,
            at=env.now(),
            actor=actor,
            objects={"notice": notice_id},
            private={"kind": notice.kind},
        )
        tx.audit.append(entry)
    return tx.notices.find(tenant_id, notice_id) or notice
