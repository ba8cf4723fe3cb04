"""Metrics for Prometheus: what they are called and mean, and their present values.

Every metric is in ``METRICS``; the reference page and the tests go by it. No label's value comes from a caller.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stacksona_gate.api.agent.context import Context
from stacksona_gate.domain.status import STATUSES
from stacksona_gate.domain.times import SECOND
from stacksona_gate.domain.webhooks import Queue
from stacksona_gate.service.deliveries import queue as webhook_queue
from stacksona_gate.service.leases import leases_by_kind
from stacksona_gate.service.log import LogState, measure as measure_log
from stacksona_gate.service.outcomes import count_all_unknown
from stacksona_gate.service.transactions import Tx
from stacksona_gate.telemetry.measures import Histogram

VERSION: Final = version("stacksona-gate")
PREFIX: Final = "stacksona_gate_"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
PROCESS: Final = "process"
DATABASE: Final = "database"


@dataclass(frozen=True, slots=True)
class Described:
    """A metric without its values."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    of: str = PROCESS
    """``process``: each node has its own, add them up. ``database``: every node tells the same, take the largest."""


METRICS: Final[dict[str, Described]] = {
    "build_info": Described(GAUGE, "1, with what runs here", ("version", "python", "database")),
    "draining": Described(GAUGE, "1 while the process is about to end and takes no new calls"),
    "decisions_total": Described(COUNTER, "Requests answered, by what was answered", ("status", "reason_code")),
    "rule_evaluation_seconds": Described(HISTOGRAM, "One evaluation of a policy's rules"),
    "http_requests_total": Described(COUNTER, "Calls answered; 499: the caller hung up first", ("route", "status")),
    "http_request_seconds": Described(
        HISTOGRAM, "From a call's arrival until its answer is sent, without held answers and streams", ("route",)
    ),
    "limited_total": Described(COUNTER, "Calls answered with 429", ("limit",)),
    "refusals_total": Described(COUNTER, "Calls and redemptions refused", ("cause",)),
    "sign_in_failures_total": Described(COUNTER, "Wrong passwords"),
    "held_answers": Described(GAUGE, "Answers held open for agents"),
    "waiters": Described(GAUGE, "Callers and pages waiting for changes"),
    "wake_seconds": Described(
        HISTOGRAM, "From when a thread was decided, on any node, until whoever held an answer open for it was woken"
    ),
    "store_waiting": Described(GAUGE, "Writes handed to the store and not answered yet"),
    "store_oldest_seconds": Described(GAUGE, "How long the oldest of those waits"),
    "store_commits_total": Described(COUNTER, "Commits"),
    "store_writes_total": Described(COUNTER, "Writes in those commits"),
    "store_batch_size": Described(HISTOGRAM, "Writes in one commit"),
    "store_commit_seconds": Described(HISTOGRAM, "One transaction that writes, from its begin until it is on disk"),
    "database_connections": Described(GAUGE, "Connections that this process has open"),
    "database_up": Described(GAUGE, "1 when the database answered while the metrics were made"),
    "leases_held": Described(GAUGE, "Work that this process has a lease of, by kind", ("kind",)),
    "leases": Described(GAUGE, "Work that some process has a lease of, by kind", ("kind",), DATABASE),
    "webhook_attempts_total": Described(COUNTER, "Webhooks sent, by what came of them", ("outcome",)),
    "webhook_attempt_seconds": Described(HISTOGRAM, "One call of a receiver"),
    "webhook_delivery_seconds": Described(HISTOGRAM, "From when a webhook was written down until it arrived"),
    "webhook_deliveries": Described(GAUGE, "Webhooks that are not over, by state", ("state",), DATABASE),
    "webhook_oldest_seconds": Described(GAUGE, "How long the oldest webhook that is due waits", (), DATABASE),
    "log_entries": Described(GAUGE, "Entries in the sealed logs", (), DATABASE),
    "log_unsealed": Described(GAUGE, "Entries not sealed yet", (), DATABASE),
    "log_lag_seconds": Described(GAUGE, "How long the oldest of those waits", (), DATABASE),
    "unknown_outcomes": Described(
        GAUGE, "Approvals used without an outcome in its time, counted up to 1,000 per workspace", (), DATABASE
    ),
}
"""By name, without the prefix. Beside them are ``process_…``, of prometheus_client."""

Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted in the database."""

    unknown_outcomes: int
    log: LogState
    queue: Queue
    leases: Counter[str]
    leases_here: Counter[str]


def read_figures(tx: Tx, context: Context) -> Figures:
    gate = context.gate
    everybody, here = leases_by_kind(tx, gate.env, gate.holders)
    return Figures(count_all_unknown(tx, gate.env), measure_log(tx, gate.env), webhook_queue(tx), everybody, here)


@dataclass(slots=True, eq=False)
class GateCollector(Collector):
    """The present values. ``figures``: None while the database is away: the others must be there above all then."""

    context: Context
    figures: Figures | None
    _made: list[Metric] = field(default_factory=list)

    def collect(self) -> list[Metric]:
        self._made = []
        self._process()
        self._calls()
        self._store()
        self._webhooks()
        if self.figures is not None:
            self._database(self.figures)
        return self._made

    def _put(self, name: str, values: Values) -> None:
        about = METRICS[name]
        made: CounterMetricFamily | GaugeMetricFamily
        if about.kind == COUNTER:
            made = CounterMetricFamily(PREFIX + name.removesuffix("_total"), about.help, labels=about.labels)
        else:
            made = GaugeMetricFamily(PREFIX + name, about.help, labels=about.labels)
        for labels, value in sorted(values.items()):
            made.add_metric(labels, value)
        self._made.append(made)

    def _one(self, name: str, value: float) -> None:
        self._put(name, {(): value})

    def _histogram(self, name: str, histograms: Iterable[tuple[tuple[str, ...], Histogram]]) -> None:
        about = METRICS[name]
        made = HistogramMetricFamily(PREFIX + name, about.help, labels=about.labels)
        for labels, one in histograms:
            made.add_metric(labels, one.buckets(), one.total)
        self._made.append(made)

    def _process(self) -> None:
        load = self.context.gate.store.load()
        self._put("build_info", {(VERSION, platform.python_version(), load.database): 1})
        self._one("draining", self.context.draining.is_set)

    def _calls(self) -> None:
        gate = self.context.gate
        measures = gate.env.measures
        decisions: dict[tuple[str, ...], float] = {(status, why): n for (status, why), n in measures.decisions.items()}
        told = {status for status, _ in measures.decisions}
        decisions |= {(status, "rule"): 0.0 for status in STATUSES - told}  # so that rates begin at nothing
        self._put("decisions_total", decisions)
        self._histogram("rule_evaluation_seconds", [((), measures.rule_seconds)])
        calls = [(route, str(status), n) for route, answers in measures.calls.items() for status, n in answers.items()]
        self._put("http_requests_total", {(route, status): n for route, status, n in calls})
        routes = sorted(measures.call_seconds.items())
        self._histogram("http_request_seconds", [((route,), one) for route, one in routes])
        self._put("limited_total", _by_one(measures.limited))
        self._put("refusals_total", _by_one(gate.refusals.totals))
        self._one("sign_in_failures_total", measures.sign_in_failures)
        self._one("held_answers", self.context.holds.count)
        self._one("waiters", gate.wakeups.count)
        self._histogram("wake_seconds", [((), measures.wake_seconds)])

    def _store(self) -> None:
        load = self.context.gate.store.load()
        self._one("store_waiting", load.unanswered)
        self._one("store_oldest_seconds", load.oldest_seconds)
        self._one("store_commits_total", load.commits)
        self._one("store_writes_total", load.writes)
        self._histogram("store_batch_size", [((), load.batch_sizes)])
        self._histogram("store_commit_seconds", [((), load.commit_seconds)])
        self._one("database_connections", load.connections)
        self._one("database_up", self.figures is not None)

    def _webhooks(self) -> None:
        gate = self.context.gate
        outcomes = ("dead", "delivered", "failed", "stale")
        self._put("webhook_attempts_total", {(one,): gate.deliveries[one] for one in outcomes})
        self._histogram("webhook_attempt_seconds", [((), gate.env.measures.attempt_seconds)])
        self._histogram("webhook_delivery_seconds", [((), gate.env.measures.delivery_seconds)])

    def _database(self, figures: Figures) -> None:
        now, oldest = self.context.gate.env.now(), figures.queue.oldest_at
        self._put("leases_held", _by_one(figures.leases_here))
        self._put("leases", _by_one(figures.leases))
        self._put("webhook_deliveries", {("pending",): figures.queue.pending, ("dead",): figures.queue.dead})
        self._one("webhook_oldest_seconds", 0.0 if oldest is None else max(0, now - oldest) / SECOND)
        self._one("log_entries", figures.log.entries)
        self._one("log_unsealed", figures.log.unsealed)
        self._one("log_lag_seconds", figures.log.lag / SECOND)
        self._one("unknown_outcomes", figures.unknown_outcomes)


def _by_one(counts: Mapping[str, int]) -> Values:
    return {(name,): float(count) for name, count in dict(counts).items()}


def described() -> Iterator[tuple[str, Described]]:
    """Every metric by its full name."""
    return ((PREFIX + name, about) for name, about in METRICS.items())
