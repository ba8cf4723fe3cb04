"""Redeeming approvals: once, by the agent or by the tool's verifier."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from stacksona_gate.domain.approvals import Claims, Redeemed, Redemption, Refused
from stacksona_gate.domain.audit import Actor, Entry
from stacksona_gate.domain.errors import Unauthenticated, Unavailable
from stacksona_gate.domain.requests import Request
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.installation import read_keys
from stacksona_gate.service.keyring import BadToken, UnknownKey
from stacksona_gate.service.requests import TRIES
from stacksona_gate.store.base import RedemptionEntries, Stale


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the caller sends to redeem. ``payload_digest`` is computed where a payload was sent."""

    task_id: str
    token: str
    tool_name: str | None = None
    payload_digest: str | None = None


async def redeem(gate: Gate, caller: Caller, attempt: Attempt) -> Redeemed | Refused:
    """Redeems an approval. A refusal uses nothing up.

    Raises Unauthenticated (key replaced meanwhile), Forbidden (paused), Unavailable (nothing was redeemed).
    """
    for _ in range(TRIES):
        result = await _try(gate, caller, attempt)
        if not isinstance(result, Stale):
            return result
        caller = await gate.directory.again(caller)
    raise Unavailable("configuration keeps changing: nothing was redeemed, try again", retry_after=1)


async def _try(gate: Gate, caller: Caller, attempt: Attempt) -> Redeemed | Refused | Stale:
    actor = redeemer(caller)
    now = gate.env.now()
    caller.require_usable_key(now)
    try:
        claims = await _read(gate, attempt.token)
    except BadToken:
        return await _refused_unread(gate, caller, actor, "bad_signature", now)
    if claims.tenant != caller.tenant_id:
        return await _refused_unread(gate, caller, actor, "unknown", now)
    redemption = _redemption(caller, actor, attempt, claims, now)
    entries = RedemptionEntries(
        redeemed=lambda request: _redeemed_entry(gate, actor, request, now),
        # Counted once, however often the store has to run the redemption.
        refused=functools.cache(lambda reason: _refused_entry(gate, caller, actor, reason, now, claims)),
    )
    return await gate.store.redeem(redemption, entries)


async def _read(gate: Gate, token: str) -> Claims:
    """Raises BadToken. A key that is not known here may have been put to use by another process a moment ago."""
    try:
        return gate.keyring.read(token)
    except UnknownKey:
        await read_keys(gate)
        return gate.keyring.read(token)


def redeemer(caller: Caller) -> Actor:
    """Who redeems. Raises Forbidden for a paused agent, Unauthenticated for a switched-off verifier."""
    if caller.verifier is None:
        return Actor("agent", caller.as_acting_agent().id)
    if caller.verifier.disabled_at is not None:
        raise Unauthenticated("this verifier is switched off")
    return Actor("verifier", caller.verifier.id)


def _redemption(caller: Caller, actor: Actor, attempt: Attempt, claims: Claims, now: int) -> Redemption:
    tool = caller.configuration.policy.tool(claims.aud)
    return Redemption(
        caller.config_version,
        claims,
        tenant_id=caller.tenant_id,
        actor_kind=actor.kind,
        actor_id=actor.id,
        task_id=attempt.task_id,
        tool_name=attempt.tool_name,
        payload_digest=attempt.payload_digest,
        verifier_tools=() if caller.verifier is None else caller.verifier.tools,
        now=now,
        demand_payload=tool is not None and tool.strict_binding,
    )


async def _refused_unread(gate: Gate, caller: Caller, actor: Actor, reason: str, now: int) -> Refused:
    redeemer(await gate.directory.again(caller))  # no batch looks at the key here
    entry = _refused_entry(gate, caller, actor, reason, now, None)
    if entry is not None:
        await gate.store.write(lambda tx: tx.audit.append(entry), holds=True)
    return Refused(reason)


def _redeemed_entry(gate: Gate, actor: Actor, request: Request, now: int) -> Entry:
    objects = {
        "agent": request.agent_id,
        "approval": request.approval_id or "",
        "request": request.id,
        "task": request.task_id,
        "tool": request.tool_name,
    }
    if request.thread_id is not None:
        objects["thread"] = request.thread_id
    return gate.env.entry(
        "approval.redeemed",
        tenant_id=request.tenant_id,
        at=now,
        actor=actor,
        objects=objects,
        private={"payload_digest": request.payload_digest},
        policy_version=request.policy_version,
        status=request.status,
    )


def _refused_entry(
    gate: Gate, caller: Caller, actor: Actor, reason: str, now: int, claims: Claims | None
) -> Entry | None:
    """At most one a minute per cause and caller: callers can cause these at will."""
    stands_for = gate.refusals.count(f"approval.{reason}", actor.id, now)
    if not stands_for:
        return None
    objects = {} if claims is None else {"request": claims.request_id, "approval": claims.jti}
    return gate.env.entry(
        "approval.refused",
        tenant_id=caller.tenant_id,
        at=now,
        actor=actor,
        objects=objects,
        private={"stands_for": stands_for},
        reason_code=reason,
    )
