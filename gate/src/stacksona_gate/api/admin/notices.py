"""What admins are told: list, take off the list."""

from __future__ import annotations

from stacksona_gate.api.admin.webhook_answers import NoticeAnswer, NoticeList, notice_answer
from stacksona_gate.api.fields import tagged_reply
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.service.notices import dismiss_notice, list_notices
from stacksona_gate.service.transactions import Tx


async def get_notices(context: PeopleContext, call: Call) -> Reply:
    """What needs an admin's look: webhooks that were switched off or given up, and the like."""
    person = await context.auditor(call)
    found = await context.gate.store.scan(lambda tx: list_notices(tx, person.user.tenant_id))
    return tagged_reply(NoticeList([notice_answer(notice) for notice in found]))


async def delete_notice(context: PeopleContext, call: Call) -> Reply:
    """Takes a notice off the list, for all admins."""
    person = await context.admin(call)
    gate, tenant_id, notice_id = context.gate, person.user.tenant_id, call.path["notice_id"]

    def unit(tx: Tx, actor: Actor) -> NoticeAnswer:
        return notice_answer(dismiss_notice(tx, gate.env, actor, tenant_id, notice_id))

    return tagged_reply(await context.change(person, unit))
