"""How long the workspace keeps content."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from stacksona_gate.api.fields import read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.service import retention
from stacksona_gate.service.retention import Retention
from stacksona_gate.service.transactions import Tx


class RetentionSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Days that content of decided requests is kept; 0 is for ever."""

    retention_days: Annotated[int, Meta(ge=0, le=36_500)]


async def get_retention(context: PeopleContext, call: Call) -> Reply:
    """How many days the content of decided requests is kept."""
    person = await context.auditor(call)
    found = await context.gate.store.scan(lambda tx: retention.read_retention(tx, person.user.tenant_id))
    return tagged_reply(RetentionSettings(found.retention_days))


async def put_retention(context: PeopleContext, call: Call) -> Reply:
    """Sets how long content is kept. Older content is removed within the hour, for good; proofs and statuses stay."""
    person = await context.admin(call)
    wanted = Retention((await read_as(call, RetentionSettings)).retention_days)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> Retention:
        require_match(call, RetentionSettings(retention.read_retention(tx, tenant_id).retention_days))
        return retention.change_retention(tx, gate.env, actor, tenant_id, wanted)

    changed = await context.change(person, unit)
    return tagged_reply(RetentionSettings(changed.retention_days))
