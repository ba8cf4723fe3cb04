"""When reviewers are reminded, and how long an outcome may be missing."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from stacksona_gate.api.fields import read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import FieldError, Invalid
from stacksona_gate.domain.reminders import REMINDERS_MOST, Timing
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.timing import change_timing, read_timing
from stacksona_gate.service.transactions import Tx

Percent = Annotated[int, Meta(ge=1, le=99)]


class TimingBody(msgspec.Struct, forbid_unknown_fields=True):
    """`reminders`: whole percents of a thread's window, ascending; the last one escalates, an empty list reminds
    nobody. `outcome_within`: seconds after a redemption until a missing outcome counts as unknown."""

    reminders: Annotated[list[Percent], Meta(max_length=REMINDERS_MOST)]
    outcome_within: Annotated[int, Meta(ge=60, le=2_592_000)]


async def get_timing(context: PeopleContext, call: Call) -> Reply:
    """The workspace's reminders, and the time in which an outcome is awaited."""
    person = await context.auditor(call)
    return tagged_reply(_body(await context.gate.store.scan(lambda tx: read_timing(tx, person.user.tenant_id))))


async def put_timing(context: PeopleContext, call: Call) -> Reply:
    """Sets both. Threads that wait already keep the time of their next reminder."""
    person = await context.admin(call)
    wanted = _timing(await read_as(call, TimingBody))
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> TimingBody:
        require_match(call, _body(read_timing(tx, tenant_id)))
        change_timing(tx, gate.env, actor, tenant_id, wanted)
        return _body(wanted)

    return tagged_reply(await context.change(person, unit))


def _body(timing: Timing) -> TimingBody:
    return TimingBody(list(timing.reminders), timing.outcome_within // SECOND)


def _timing(body: TimingBody) -> Timing:
    """Raises Invalid."""
    if any(later <= earlier for earlier, later in pairwise(body.reminders)):
        message = "each percent is over the one before it"
        raise Invalid(message, errors=(FieldError("reminders", message),))
    return Timing(tuple(body.reminders), body.outcome_within * SECOND)
