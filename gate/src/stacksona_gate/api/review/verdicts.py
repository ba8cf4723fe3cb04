"""Deciding, claiming, noting."""

from __future__ import annotations

from stacksona_gate.api.fields import read_as
from stacksona_gate.api.http import Call, Reply, json_reply, shown
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import note_of
from stacksona_gate.api.review.bodies import NoteBody, ReviewBody
from stacksona_gate.api.review.threads import thread_reply
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.service.reviews import Verdict, add_note, claim, release, review


async def create_review(context: PeopleContext, call: Call) -> Reply:
    """Decides, or asks the agent for changes. `revision` is the one that you looked at; any other is refused.

    With `approve`, `payload` replaces what the agent asked for: policy looks at it again, and a rule that rejects it
    refuses your approval. The answer is the thread as it then is.
    """
    person = await context.person(call)
    body = await read_as(call, ReviewBody)
    verdict = Verdict(body.verdict, body.message, body.revision, body.payload)
    gate, thread_id = context.gate, call.path["thread_id"]
    result = await context.write(person, lambda tx, user: review(tx, gate.env, user, thread_id, verdict))
    # That the thread expired is committed with its audit entry; only then is the caller told.
    if isinstance(result, Conflict):
        raise result
    return await shown(thread_reply(context, person.user, thread_id))


async def put_claim(context: PeopleContext, call: Call) -> Reply:
    """Says that you are on it. 409 while somebody else is; their claim is free again after 15 minutes."""
    person = await context.person(call)
    gate, thread_id = context.gate, call.path["thread_id"]
    await context.write(person, lambda tx, user: claim(tx, gate.env, user, thread_id))
    return await shown(thread_reply(context, person.user, thread_id))


async def delete_claim(context: PeopleContext, call: Call) -> Reply:
    """Takes your claim back; an admin may take back anybody's."""
    person = await context.person(call)
    gate, thread_id = context.gate, call.path["thread_id"]
    await context.write(person, lambda tx, user: release(tx, gate.env, user, thread_id))
    return await shown(thread_reply(context, person.user, thread_id))


async def create_note(context: PeopleContext, call: Call) -> Reply:
    """Leaves a word for other reviewers; agents never see it."""
    person = await context.person(call)
    body = await read_as(call, NoteBody)
    gate, thread_id = context.gate, call.path["thread_id"]
    note = await context.write(person, lambda tx, user: add_note(tx, gate.env, user, thread_id, body.text))
    return json_reply(note_of(note), 201)
