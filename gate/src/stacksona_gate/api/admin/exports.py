"""Handing the audit log out, as long as it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from stacksona_gate.api.fields import chosen
from stacksona_gate.api.http import Call, Download, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Forbidden, Invalid, Unauthenticated
from stacksona_gate.domain.people import User, may_audit
from stacksona_gate.domain.times import parse_rfc3339
from stacksona_gate.service.exports import (
    BESIDE_DECISIONS,
    Form,
    Selection,
    Taking,
    open_export,
    record_export,
    written,
)
from stacksona_gate.service.people import Person
from stacksona_gate.service.redaction import Redactor, for_person
from stacksona_gate.service.transactions import Tx

TYPES: Final[dict[Form, bytes]] = {"jsonl": b"application/jsonl; charset=utf-8", "csv": b"text/csv; charset=utf-8"}
_HEAD: Final = "HEAD"


async def get_export(context: PeopleContext, call: Call) -> Reply | Download:
    """Audit entries with what proves them, streamed: all of them, or those of a time range.

    The first line states the log's size and its signed checkpoint. JSON Lines can be verified without the gate
    (`stacksona-gate audit verify`); CSV is for reading and proves nothing. Values that you may not see are withheld.
    Taking it out is itself recorded (`audit.exported`), and covered by the checkpoint.
    """
    person = await context.auditor(call)
    query = call.query()
    form: Form = "csv" if chosen(query, "format", ("jsonl", "csv")) == "csv" else "jsonl"
    selection = Selection(since=_moment(query, "from"), until=_moment(query, "to"))
    if call.scope["method"] == _HEAD:
        return Reply(b"", content_type=TYPES[form])
    with context.streams.place(person.user.id):
        await context.write(person, lambda tx, user: _record(context, tx, user, selection, form))
        taking = await open_export(context.gate, person.user.tenant_id, selection)
    disposition = f'attachment; filename="audit-{taking.header.size}.{form}"'.encode()
    return Download(_chunks(context, call, person, taking, form), TYPES[form], ((b"content-disposition", disposition),))


def _moment(query: dict[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise Invalid(f"{name} is a time with its zone, as in 2026-11-24T21:12:00Z", code=f"invalid_{name}") from None


def _record(context: PeopleContext, tx: Tx, user: User, selection: Selection, form: str) -> None:
    if not may_audit(user):
        raise Forbidden("this is for admins and auditors: ask one of them")
    record_export(tx, context.gate.env, Actor("user", user.id), user.tenant_id, selection, form)


async def _chunks(
    context: PeopleContext, call: Call, person: Person, taking: Taking, form: Form
) -> AsyncGenerator[bytes]:
    """The export's pages, as long as the reader still may have them."""
    with context.streams.place(person.user.id):
        made = written(context.gate, taking, form, lambda tx: _redactor(tx, person.user), BESIDE_DECISIONS)
        async with aclosing(made) as pages:
            async for page in pages:
                await _require_still(context, call, person)
                yield page


def _redactor(tx: Tx, user: User) -> Redactor:
    """By the rights that they have now."""
    return for_person(tx, tx.people.find_user(user.tenant_id, user.id) or user)


async def _require_still(context: PeopleContext, call: Call, person: Person) -> None:
    if (await context.auditor(call)).user.id != person.user.id:
        raise Unauthenticated("this is no longer the person who began")
