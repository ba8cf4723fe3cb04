"""What the gate runs with, and its signing key."""

from __future__ import annotations

from typing import Protocol

from stacksona_gate.api.admin.answers import LimitsAnswer, SettingsAnswer, SigningKeyAnswer
from stacksona_gate.api.fields import tagged_reply
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.metrics import VERSION
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.errors import Forbidden
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.times import SECOND, rfc3339, rfc3339_or_none
from stacksona_gate.service.administration import list_signing_keys
from stacksona_gate.service.installation import rotate_signing_key


class _Key(Protocol):
    @property
    def kid(self) -> str: ...
    @property
    def public(self) -> str: ...
    @property
    def created_at(self) -> int: ...
    @property
    def retired_at(self) -> int | None: ...


async def get_settings(context: PeopleContext, call: Call) -> Reply:
    """Version, address, limits and the public halves of the signing keys. Set by the environment, not here."""
    await context.auditor(call)
    gate = context.gate
    limits = gate.env.limits
    keys = await gate.store.scan(list_signing_keys)
    shown = LimitsAnswer(
        limits.held_requests, limits.discovered_tools, limits.thread_lasts // SECOND, limits.approval_lasts // SECOND
    )
    return tagged_reply(SettingsAnswer(VERSION, gate.env.public_url, shown, [_signing_key(key) for key in keys]))


def _signing_key(key: _Key) -> SigningKeyAnswer:
    return SigningKeyAnswer(key.kid, key.public, rfc3339(key.created_at), rfc3339_or_none(key.retired_at))


async def create_signing_key(context: PeopleContext, call: Call) -> Reply:
    """Signs with a fresh key from now on; tokens signed with the old one stay good until they expire."""
    person = await context.admin(call)
    if person.user.tenant_id != FIRST_TENANT:
        raise Forbidden("the signing key belongs to the whole installation: its first workspace's admins rotate it")
    gate = context.gate
    key = await context.change(person, lambda tx, actor: rotate_signing_key(tx, gate.env, gate.root, actor))
    return json_reply(_signing_key(key), 201)
