"""The audit log, to read."""

from __future__ import annotations

from stacksona_gate.api.admin.answers import AuditEntry, AuditPage
from stacksona_gate.api.fields import page_of, tagged_reply
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import as_is
from stacksona_gate.service.administration import list_audit


async def get_audit(context: PeopleContext, call: Call) -> Reply:
    """What happened, newest first: each entry's leaf, and its private values with the salts of their commitments."""
    person = await context.auditor(call)
    limit, before = page_of(call.query())
    user = person.user
    found = await context.gate.store.scan(lambda tx: list_audit(tx, user, before=before, limit=limit + 1))
    entries = [AuditEntry(seq, as_is(entry.leaf), as_is(entry.private)) for seq, entry in found[:limit]]
    return tagged_reply(AuditPage(entries, str(entries[-1].seq) if len(found) > limit else None))
