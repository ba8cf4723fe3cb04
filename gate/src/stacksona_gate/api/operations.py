"""For operators: keys to verify with, health, metrics, version."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from stacksona_gate.api.agent.context import Context, bearer
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.metrics import VERSION, Figures, GateCollector, read_figures
from stacksona_gate.api.routing import Operation
from stacksona_gate.domain.errors import Forbidden, Unavailable
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import may_administer
from stacksona_gate.domain.tenants import OPERATOR_KEY_PREFIX
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.installation import check_writable
from stacksona_gate.service.operators import operator_of
from stacksona_gate.service.people import person_of_token
from stacksona_gate.service.sessions import is_loopback

LOOK_SECONDS: Final = 5.0
"""How long metrics wait for what is counted in the database: less than Prometheus waits for them."""
INSIGHT: Final = "a personal token of an admin of the first workspace, or an operator's key: Authorization: Bearer …"


async def get_jwks(context: Context, call: Call) -> Reply:
    """The public keys that approval tokens are signed with (JWK set)."""
    return json_reply(context.gate.keyring.jwks(), headers=((b"cache-control", b"public, max-age=300"),))


async def get_health(context: Context, call: Call) -> Reply:
    """200 as long as the process answers."""
    return json_reply({"status": "ok"})


async def get_readiness(context: Context, call: Call) -> Reply:
    """200 when a decision could be written now; 503 otherwise, and while the process drains."""
    if context.draining.is_announced or context.draining.is_set:
        raise Unavailable("this process is about to end: ask another one", code="draining")
    await context.gate.store.write(lambda tx: check_writable(tx, context.gate.env), holds=True)
    return json_reply({"status": "ready"})


async def get_version(context: Context, call: Call) -> Reply:
    """The gate's version."""
    return json_reply({"version": VERSION})


async def get_metrics(context: Context, call: Call) -> Reply:
    """Prometheus metrics, for loopback, an operator's key, or a personal token of an admin of the first workspace."""
    local = is_loopback(call.peer) and call.header(b"x-forwarded-for") is None and call.header(b"forwarded") is None
    if not local:
        await _require_insight(context.gate, bearer(call, INSIGHT))
    registry = CollectorRegistry()
    registry.register(GateCollector(context, await _figures(context)))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(call.header(b"accept") or "")
    return Reply(encode(registry), content_type=content_type.encode())


async def _require_insight(gate: Gate, secret: str) -> None:
    """Metrics count what all workspaces do. Raises Unauthenticated, Forbidden."""
    if secret.startswith(OPERATOR_KEY_PREFIX):
        await operator_of(gate, secret)
        return
    person = await person_of_token(gate, secret)
    if not may_administer(person.user) or person.user.tenant_id != FIRST_TENANT:
        raise Forbidden("metrics are for loopback, for the operator and for admins of the first workspace")


async def _figures(context: Context) -> Figures | None:
    """None while the database is away or does not answer. One look at a time: those that come meanwhile share it."""
    if context.look is None or context.look.done():
        scan = context.gate.store.scan(lambda tx: read_figures(tx, context))
        context.look = asyncio.ensure_future(scan)
    looks = {context.look}
    done, _ = await asyncio.wait(looks, timeout=LOOK_SECONDS)
    try:
        return done.pop().result() if done else None
    except Unavailable:
        return None


OPERATIONS: Final = (
    Operation("GET", "/.well-known/jwks.json", get_jwks, "Operation", None),
    Operation("GET", "/healthz", get_health, "Operation", None),
    Operation("GET", "/readyz", get_readiness, "Operation", None, errors=(503,)),
    Operation("GET", "/version", get_version, "Operation", None),
    Operation("GET", "/metrics", get_metrics, "Operation", None, media_type="text/plain", errors=(401, 403)),
)
