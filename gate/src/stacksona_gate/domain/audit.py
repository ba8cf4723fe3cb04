"""Audit entries in their final form.

A leaf is the RFC 8785 form of what stays in the clear: entry id, tenant, event, time, actor, object ids, policy
version, status, reason code, and for every other value a commitment SHA-256(salt || RFC 8785 form). Values and salts
lie beside the leaf, so that redacting or erasing them leaves the leaf, and every proof over it, as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.times import rfc3339

LEAF_VERSION: Final = 1
SALT_BYTES: Final = 32
ID_BYTES: Final = 16

EVENTS: Final = frozenset(
    {
        "installation.created",
        "request.decided",
        "thread.opened",
        "thread.revised",
        "thread.approved",
        "thread.rejected",
        "thread.changes_requested",
        "thread.expired",
        "thread.cancelled",
        "thread.agent_paused",
        "thread.claimed",
        "thread.released",
        "thread.noted",
        "thread.exported",
        "approval.redeemed",
        "approval.refused",
        "task.event",
        "outcome.reported",
        "tool.discovered",
        "agent.created",
        "agent.changed",
        "agent.paused",
        "agent.resumed",
        "verifier.created",
        "verifier.changed",
        "key.created",
        "key.rotated",
        "key.revoked",
        "policy.changed",
        "policy.reverted",
        "user.created",
        "user.changed",
        "session.started",
        "session.ended",
        "session.refused",
        "token.created",
        "token.revoked",
        "signing_key.created",
        "signing_key.rotated",
        "webhook.changed",
        "webhook.delivered",
        "webhook.dead",
        "webhook.replayed",
        "webhook.secret_rotated",
        "webhook.switched_off",
        "webhook.switched_on",
        "webhook.tested",
        "calls.refused",
        "settings.changed",
        "thread.reminded",
        "thread.escalated",
        "notice.dismissed",
        "log_key.created",
        "log_key.rotated",
        "audit.exported",
        "content.erased",
        "content.expired",
        "data_key.rotated",
        "tenant.created",
        "tenant.renamed",
        "tenant.limited",
        "tenant.suspended",
        "tenant.resumed",
        "tenant.invited",
        "operator_key.created",
        "operator_key.revoked",
    }
)


class Actor(Struct, frozen=True):
    """Who did it: ``agent``, ``verifier``, ``user``, ``operator``, ``command_line``, ``gate`` or ``unknown``."""

    kind: str
    id: str


GATE: Final = Actor("gate", "gate")
COMMAND_LINE: Final = Actor("command_line", "command_line")
UNKNOWN: Final = Actor("unknown", "unknown")


class Entry(Struct, frozen=True):
    """One row of the log. ``leaf`` never changes; ``private`` may be redacted or erased later."""

    tenant_id: str
    id: str
    event: str
    at: int
    actor_kind: str
    actor_id: str
    request_id: str | None
    thread_id: str | None
    leaf: str
    private: str


def entry_randomness(values: int) -> int:
    """How many random bytes an entry with that many private values needs."""
    return ID_BYTES + SALT_BYTES * values


def entry(
    event: str,
    *,
    tenant_id: str,
    at: int,
    actor: Actor,
    randomness: bytes,
    objects: Mapping[str, str],
    private: Mapping[str, bytes],
    policy_version: int | None = None,
    status: str | None = None,
    reason_code: str | None = None,
) -> Entry:
    """Builds an entry.

    ``objects`` maps kinds to ids (``request``, ``thread``, ``task``, ``agent``, …); ``private`` maps names to values
    already in RFC 8785 form. ``randomness`` holds ``entry_randomness(len(private))`` bytes.
    """
    if event not in EVENTS:
        raise ValueError(f"unknown audit event {event}")
    entry_id = "aud_" + randomness[:ID_BYTES].hex()
    commitments, beside = _commit(private, randomness[ID_BYTES:])
    leaf: dict[str, object] = {
        "actor": {"id": actor.id, "kind": actor.kind},
        "at": rfc3339(at),
        "commitments": commitments,
        "event": event,
        "id": entry_id,
        "objects": dict(objects),
        "tenant": tenant_id,
        "v": LEAF_VERSION,
    }
    if policy_version is not None:
        leaf["policy_version"] = policy_version
    if status is not None:
        leaf["status"] = status
    if reason_code is not None:
        leaf["reason_code"] = reason_code
    return Entry(
        tenant_id,
        entry_id,
        event,
        at,
        actor.kind,
        actor.id,
        objects.get("request"),
        objects.get("thread"),
        _leaf(leaf),
        beside,
    )


_SORTED: Final = msgspec.json.Encoder(order="sorted")


def _leaf(leaf: Mapping[str, object]) -> str:
    """The RFC 8785 form. Of texts and whole numbers in ASCII without escapes, sorting is all there is to it."""
    encoded = _SORTED.encode(leaf)
    if encoded.isascii() and b"\\" not in encoded:
        return encoded.decode()
    return canonicalize(leaf).decode()


def _commit(private: Mapping[str, bytes], salts: bytes) -> tuple[dict[str, str], str]:
    commitments, beside, start = {}, [], 0
    for name, value in private.items():
        salt = salts[start : start + SALT_BYTES]
        start += SALT_BYTES
        commitments[name] = sha256(salt + value).hexdigest()
        beside.append(f'"{name}":{{"salt":"{salt.hex()}","value":{value.decode()}}}')
    return commitments, "{" + ",".join(beside) + "}"


def holds(commitment: str, salt: str, value: object) -> bool:
    """Whether a value and its salt are what was committed to."""
    return sha256(bytes.fromhex(salt) + canonicalize(value)).hexdigest() == commitment
