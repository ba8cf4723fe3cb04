"""Where webhooks go: addresses, secrets, switching off and on. An agent's endpoint has its agent's id."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from stacksona_gate.domain import webhooks
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Conflict, FieldError, Invalid, NotFound
from stacksona_gate.domain.times import DAY, SECOND
from stacksona_gate.domain.webhooks import Endpoint
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.webhooks import record, switch_off
from stacksona_gate.store.base import Tx

OVERLAP_MOST: Final = 30 * DAY
WEBHOOK_PURPOSE: Final = "webhook secret "
BY_HAND: Final = "somebody switched it off"


def set_address(
    tx: Tx,
    env: Environment,
    root: RootSecret,
    actor: Actor,
    tenant_id: str,
    endpoint_id: str,
    url: str | None,
) -> str | None:
    """Sends an endpoint's webhooks somewhere else, None: nowhere. Returns its secret when it is the first.

    A new address starts afresh: switched on, not failing. Without one, what waits is dead. ``url`` is checked already.
    """
    endpoint = tx.webhooks.lock_endpoint(tenant_id, endpoint_id) or _new(tenant_id, endpoint_id)
    if endpoint.url == url and (url is None or endpoint.secret is not None):
        return None
    secret = new_webhook_secret(env) if url is not None and endpoint.secret is None else None
    changed = replace(endpoint, url=url, failing_since=None, switched_off_at=None, switched_off_because=None)
    if secret is not None:
        changed = replace(changed, secret=_wrapped(root, env, secret, endpoint_id))
    tx.webhooks.put_endpoint(changed)
    if url is None:
        tx.webhooks.give_up(tenant_id, endpoint_id, env.now())
    record(tx, env, changed, "webhook.changed", actor, {"address": url})
    return secret


def _new(tenant_id: str, endpoint_id: str) -> Endpoint:
    kind = webhooks.WORKSPACE if endpoint_id == webhooks.WORKSPACE else webhooks.AGENT
    return Endpoint(tenant_id, endpoint_id, kind, None, None)


def _wrapped(root: RootSecret, env: Environment, secret: str, endpoint_id: str) -> str:
    return root.wrap(secret.encode(), WEBHOOK_PURPOSE + endpoint_id, env)


def opened_secrets(root: RootSecret, endpoint_id: str, wrapped: tuple[str, ...]) -> tuple[str, ...]:
    """Secrets to sign with. Raises Unavailable where the root secret is another one."""
    return tuple(root.unwrap(one, WEBHOOK_PURPOSE + endpoint_id).decode() for one in wrapped)


def find_endpoint(tx: Tx, tenant_id: str, reference: str) -> Endpoint | None:
    """By the id or the name of its agent, or ``workspace``; None where there never was a webhook."""
    agent = tx.agents.find_by_name(tenant_id, reference)
    return tx.webhooks.lock_endpoint(tenant_id, reference if agent is None else agent.id)


def get_endpoint(tx: Tx, tenant_id: str, reference: str) -> Endpoint:
    """As ``find_endpoint``, of those that have an address. Raises NotFound, Conflict (an agent without a webhook)."""
    endpoint = find_endpoint(tx, tenant_id, reference)
    if endpoint is not None and endpoint.url is not None:
        return endpoint
    if reference == webhooks.WORKSPACE:
        raise NotFound("this workspace has no webhook of its own")
    if tx.agents.find(tenant_id, reference) is None and tx.agents.find_by_name(tenant_id, reference) is None:
        raise NotFound(f"there is no agent {reference!r}")
    raise Conflict("this agent has no webhook: give it an address first", code="no_webhook")


def rotate_webhook_secret(
    tx: Tx, env: Environment, root: RootSecret, actor: Actor, tenant_id: str, reference: str, *, overlap: int
) -> str:
    """Gives an endpoint a new secret, shown once. The one before signs beside it for ``overlap`` seconds, up to 30
    days. Raises NotFound, Conflict, Invalid."""
    if not 0 <= overlap * SECOND <= OVERLAP_MOST:
        raise Invalid("the overlap is 0 to 2,592,000 seconds", errors=(FieldError("overlap", "0 to 2,592,000"),))
    endpoint = get_endpoint(tx, tenant_id, reference)
    secret = new_webhook_secret(env)
    tx.webhooks.put_endpoint(
        replace(
            endpoint,
            secret=_wrapped(root, env, secret, endpoint.id),
            previous_secret=endpoint.secret if overlap else None,
            previous_until=env.now() + overlap * SECOND if overlap else None,
        )
    )
    record(tx, env, endpoint, "webhook.secret_rotated", actor, {"overlap": overlap})
    return secret


def switch_off_by_hand(tx: Tx, env: Environment, actor: Actor, tenant_id: str, reference: str) -> Endpoint:
    """Raises NotFound, Conflict."""
    endpoint = get_endpoint(tx, tenant_id, reference)
    return endpoint if endpoint.switched_off_at is not None else switch_off(tx, env, endpoint, BY_HAND, actor)


def switch_on(tx: Tx, env: Environment, actor: Actor, tenant_id: str, reference: str) -> Endpoint:
    """Sends to an endpoint again. What died meanwhile stays dead until it is replayed. Raises NotFound, Conflict."""
    endpoint = get_endpoint(tx, tenant_id, reference)
    if endpoint.switched_off_at is None:
        return endpoint
    on = replace(endpoint, failing_since=None, switched_off_at=None, switched_off_because=None)
    tx.webhooks.put_endpoint(on)
    record(tx, env, on, "webhook.switched_on", actor, {})
    tx.tenants.bump_config(tenant_id)
    return on


def new_webhook_secret(env: Environment) -> str:
    """A secret in the form of the Standard Webhooks scheme."""
    return "whsec_" + base64.b64encode(env.randomness(32)).decode()


def checked_url(url: str, field: str = "webhook_url") -> str:
    """An address that may be saved; whether it may be reached is decided when something is sent. Raises Invalid."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and len(url) <= 2000 and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or parts.username is not None or parts.password is not None:
        raise Invalid(
            "a webhook URL begins with https:// or http://, names a host and carries no user or password",
            errors=(FieldError(field, "not a usable address"),),
        )
    return url
