"""For operators: keys to verify with, health, metrics, version."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from stacksona_gate.api.agent.context import Context, bearer
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.routing import Operation
from stacksona_gate.domain.errors import Forbidden, Unavailable
from stacksona_gate.domain.people import may_administer
from stacksona_gate.domain.status import STATUSES
from stacksona_gate.domain.times import SECOND
from stacksona_gate.domain.webhooks import Queue
from stacksona_gate.service.deliveries import queue as webhook_queue
from stacksona_gate.service.installation import check_writable
from stacksona_gate.service.log import LogState, measure
from stacksona_gate.service.outcomes import count_all_unknown
from stacksona_gate.service.people import person_of_token
from stacksona_gate.service.sessions import is_loopback

VERSION: Final = version("stacksona-gate")


async def get_jwks(context: Context, call: Call) -> Reply:
    """The public keys that approval tokens are signed with (JWK set)."""
    return json_reply(context.gate.keyring.jwks(), headers=((b"cache-control", b"public, max-age=300"),))


async def get_health(context: Context, call: Call) -> Reply:
    """200 as long as the process answers."""
    return json_reply({"status": "ok"})


async def get_readiness(context: Context, call: Call) -> Reply:
    """200 when a decision could be written now; 503 otherwise, and while the process drains."""
    if context.draining.is_set:
        raise Unavailable("this process is about to end: ask another one", code="draining")
    await context.gate.store.write(lambda tx: check_writable(tx, context.gate.env), holds=True)
    return json_reply({"status": "ready"})


async def get_version(context: Context, call: Call) -> Reply:
    """The gate's version."""
    return json_reply({"version": VERSION})


async def get_metrics(context: Context, call: Call) -> Reply:
    """Prometheus metrics, for loopback or an admin's personal token."""
    local = is_loopback(call.peer) and call.header(b"x-forwarded-for") is None and call.header(b"forwarded") is None
    if not local:
        person = await person_of_token(context.gate, bearer(call))
        if not may_administer(person.user):
            raise Forbidden("metrics are for loopback and for admins")
    registry = CollectorRegistry()
    registry.register(
        GateCollector(context, await _unknown_outcomes(context), await _log(context), await _queue(context))
    )
    return Reply(generate_latest(registry), content_type=CONTENT_TYPE_LATEST.encode())


async def _unknown_outcomes(context: Context) -> int | None:
    """None while the store is away: the other counts must be there above all then."""
    try:
        return await context.gate.store.scan(lambda tx: count_all_unknown(tx, context.gate.env))
    except Unavailable:
        return None


async def _log(context: Context) -> LogState | None:
    """As above."""
    try:
        return await context.gate.store.scan(lambda tx: measure(tx, context.gate.env))
    except Unavailable:
        return None


async def _queue(context: Context) -> Queue | None:
    """As above."""
    try:
        return await context.gate.store.scan(webhook_queue)
    except Unavailable:
        return None


@dataclass(slots=True, eq=False)
class GateCollector(Collector):
    """Counts that the gate keeps anyway. No label's value comes from a caller."""

    context: Context
    unknown_outcomes: int | None
    log: LogState | None
    queue: Queue | None

    def collect(self) -> list[Metric]:
        gate = self.context.gate
        decisions = CounterMetricFamily("stacksona_gate_decisions", "Requests answered", labels=["status"])
        for status in sorted(STATUSES):
            decisions.add_metric([status], self.context.decisions.get(status, 0))
        refusals = CounterMetricFamily("stacksona_gate_refusals", "Calls and redemptions refused", labels=["cause"])
        for cause, total in sorted(gate.refusals.totals.items()):
            refusals.add_metric([cause], total)
        held = GaugeMetricFamily("stacksona_gate_held_answers", "Answers held open", self.context.holds.count)
        waiters = GaugeMetricFamily(
            "stacksona_gate_waiters", "Callers and pages waiting for changes", gate.wakeups.count
        )
        load = gate.store.load()
        waiting = GaugeMetricFamily("stacksona_gate_store_waiting", "Writes in the queue", load.waiting)
        commits = CounterMetricFamily("stacksona_gate_store_commits", "Commits", load.commits)
        writes = CounterMetricFamily("stacksona_gate_store_writes", "Writes in those commits", load.writes)
        unknown = GaugeMetricFamily(
            "stacksona_gate_unknown_outcomes",
            "Approvals used without an outcome in its time, counted up to 1,000 per workspace",
        )
        if self.unknown_outcomes is not None:
            unknown.add_metric([], self.unknown_outcomes)
        return [decisions, refusals, held, waiters, waiting, commits, writes, unknown, *self._log(), *self._webhooks()]

    def _webhooks(self) -> list[Metric]:
        gate = self.context.gate
        attempts = CounterMetricFamily("stacksona_gate_webhook_attempts", "Webhooks sent", labels=["outcome"])
        for outcome in ("dead", "delivered", "failed", "stale"):
            attempts.add_metric([outcome], gate.deliveries[outcome])
        if self.queue is None:
            return [attempts]
        oldest = self.queue.oldest_at
        age = 0.0 if oldest is None else max(0, gate.env.now() - oldest) / SECOND
        deliveries = GaugeMetricFamily("stacksona_gate_webhook_deliveries", "Webhooks by state", labels=["state"])
        deliveries.add_metric(["pending"], self.queue.pending)
        deliveries.add_metric(["dead"], self.queue.dead)
        return [
            attempts,
            deliveries,
            GaugeMetricFamily("stacksona_gate_webhook_oldest_seconds", "How long the oldest that is due waits", age),
        ]

    def _log(self) -> list[Metric]:
        if self.log is None:
            return []
        waits = self.log.lag / SECOND
        return [
            GaugeMetricFamily("stacksona_gate_log_entries", "Entries in the sealed logs", self.log.entries),
            GaugeMetricFamily("stacksona_gate_log_unsealed", "Entries not sealed yet", self.log.unsealed),
            GaugeMetricFamily("stacksona_gate_log_lag_seconds", "How long the oldest of those waits", waits),
        ]


OPERATIONS: Final = (
    Operation("GET", "/.well-known/jwks.json", get_jwks, "Operation", None),
    Operation("GET", "/healthz", get_health, "Operation", None),
    Operation("GET", "/readyz", get_readiness, "Operation", None, errors=(503,)),
    Operation("GET", "/version", get_version, "Operation", None),
    Operation("GET", "/metrics", get_metrics, "Operation", None, media_type="text/plain", errors=(401, 403)),
)
