"""Verifiers: the tools' side."""

from __future__ import annotations

from msgspec import UNSET

from stacksona_gate.api.admin.answers import (
    VerifierAnswer,
    VerifierCreated,
    VerifierList,
    verifier_answer,
    verifier_fields,
)
from stacksona_gate.api.admin.bodies import NewVerifier, VerifierPatch
from stacksona_gate.api.fields import created, read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.service import agents
from stacksona_gate.service.administration import list_verifiers, view_verifier
from stacksona_gate.service.transactions import Tx


async def get_verifiers(context: PeopleContext, call: Call) -> Reply:
    """All verifiers, by name."""
    person = await context.auditor(call)
    views = await context.gate.store.scan(lambda tx: list_verifiers(tx, person.user.tenant_id))
    return tagged_reply(VerifierList([verifier_answer(view) for view in views]))


async def get_verifier(context: PeopleContext, call: Call) -> Reply:
    """One verifier, by id or name."""
    person = await context.auditor(call)
    tenant_id, verifier_id = person.user.tenant_id, call.path["verifier_id"]
    view = await context.gate.store.scan(lambda tx: view_verifier(tx, tenant_id, verifier_id))
    return tagged_reply(verifier_answer(view))


async def create_verifier(context: PeopleContext, call: Call) -> Reply:
    """Makes a verifier. Its key is in this answer and nowhere else."""
    person = await context.admin(call)
    body = await read_as(call, NewVerifier)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> VerifierCreated:
        made = agents.create_verifier(tx, gate.env, actor, tenant_id, body.name, tuple(body.tools))
        return VerifierCreated(**verifier_fields(view_verifier(tx, tenant_id, made.made.id)), key=made.key)

    answer = await context.change(person, unit)
    return created(answer, f"/api/admin/verifiers/{answer.id}")


async def change_verifier(context: PeopleContext, call: Call) -> Reply:
    """Changes what a verifier may redeem, or switches it off and on."""
    person = await context.admin(call)
    body = await read_as(call, VerifierPatch)
    gate, tenant_id = context.gate, person.user.tenant_id
    tools = None if body.tools is UNSET else tuple(body.tools)
    enabled = None if body.enabled is UNSET else body.enabled

    def unit(tx: Tx, actor: Actor) -> VerifierAnswer:
        view = view_verifier(tx, tenant_id, call.path["verifier_id"])
        require_match(call, verifier_answer(view))
        changed = agents.change_verifier(tx, gate.env, actor, tenant_id, view.verifier.id, tools=tools, enabled=enabled)
        return verifier_answer(view_verifier(tx, tenant_id, changed.id))

    return tagged_reply(await context.change(person, unit))
