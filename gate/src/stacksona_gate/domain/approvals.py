"""Approval tokens: what they claim, and when a redemption is refused.

A token is a compact JWS (RFC 7515) signed with Ed25519 (RFC 8037, algorithm name of RFC 9864). Signing and reading
signatures is ``service/keyring.py``; here are only the statements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.requests import Request, approval_state
from stacksona_gate.domain.times import MINUTE, SECOND

TOKEN_TYPE: Final = "gate-approval+jwt"  # noqa: S105 - a media type, not a secret
TOKEN_ALGORITHM: Final = "Ed25519"  # noqa: S105
TOKEN_LASTS: Final = 15 * MINUTE

REFUSALS: Final = frozenset(
    {
        "already_used",
        "expired",
        "wrong_task",
        "wrong_tool",
        "wrong_agent",
        "payload_mismatch",
        "payload_required",
        "bad_signature",
        "revoked",
        "unknown",
    }
)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. Times are microseconds here and whole seconds on the wire."""

    iss: str
    aud: str
    sub: str
    jti: str
    exp: int
    tenant: str
    task_id: str
    request_id: str
    thread_id: str | None
    revision: int
    payload_digest: str
    policy_version: int
    approved_by: int


@dataclass(frozen=True, slots=True)
class Redemption:
    """An attempt to redeem: who tries, with which token, for which action.

    ``config_version`` is the configuration that who tries was looked up in.
    """

    config_version: int
    claims: Claims
    tenant_id: str
    actor_kind: str
    actor_id: str
    task_id: str
    tool_name: str | None
    payload_digest: str | None
    verifier_tools: tuple[str, ...]
    now: int
    demand_payload: bool = False
    """The tool is bound strictly by today's policy, whatever was in force when it was decided."""


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The one redemption."""

    request: Request


@dataclass(frozen=True, slots=True)
class Refused:
    """Not redeemed, and nothing used up."""

    reason: str


def token_claims(request: Request, *, issuer: str, now: int) -> dict[str, object]:
    """Claims of a fresh token for an approved, unredeemed request."""
    if request.approval_id is None or request.approval_expires_at is None:
        raise ValueError("only an approved request has claims")
    claims: dict[str, object] = {
        "iss": issuer,
        "aud": request.tool_name,
        "sub": request.agent_id,
        "jti": request.approval_id,
        "iat": now // SECOND,
        "exp": min(now + TOKEN_LASTS, request.approval_expires_at) // SECOND,
        "tenant": request.tenant_id,
        "task_id": request.task_id,
        "request_id": request.id,
        "revision": request.revision,
        "payload_digest": request.payload_digest,
        "policy_version": request.policy_version,
        "approved_by": request.approved_by,
    }
    if request.thread_id is not None:
        claims["thread_id"] = request.thread_id
    return claims


def refusal(attempt: Redemption, request: Request | None, agent_generation: int) -> str | None:
    """Why this redemption is refused, or None when it may be carried out."""
    if request is None or request.approval_id != attempt.claims.jti or request.tenant_id != attempt.tenant_id:
        return "unknown"
    return (
        _wrong_party(attempt, request)
        or _wrong_state(attempt, request, agent_generation)
        or _wrong_action(attempt, request)
    )


def _wrong_party(attempt: Redemption, request: Request) -> str | None:
    if attempt.actor_kind == "agent" and attempt.actor_id != request.agent_id:
        return "wrong_agent"
    if attempt.actor_kind == "verifier" and request.tool_name not in attempt.verifier_tools:
        return "wrong_tool"
    return None


def _wrong_state(attempt: Redemption, request: Request, agent_generation: int) -> str | None:
    state = approval_state(request, agent_generation, attempt.now)
    if state == "redeemed":
        return "already_used"
    if state == "revoked" or request.revision != attempt.claims.revision:
        return "revoked"
    if state == "expired" or attempt.now >= attempt.claims.exp:
        return "expired"
    return None


def _wrong_action(attempt: Redemption, request: Request) -> str | None:
    if attempt.task_id != request.task_id:
        return "wrong_task"
    if attempt.tool_name is not None and attempt.tool_name != request.tool_name:
        return "wrong_tool"
    if attempt.payload_digest is not None and attempt.payload_digest != request.payload_digest:
        return "payload_mismatch"
    bound = request.edited or request.strict_binding or attempt.demand_payload
    if bound and (attempt.tool_name is None or attempt.payload_digest is None):
        return "payload_required"
    return None
