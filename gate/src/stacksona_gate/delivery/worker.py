"""Sends what the outbox holds: takes it for a while, calls, writes down what came of it. Any number of processes may.

A delivery arrives at least once. It is taken by a lease with a fence: when this process dies, another one (or the next
life of this one) takes it over, and of two that sent it only the newer one's result counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from stacksona_gate.delivery.fairness import LINGER_SECONDS, Fairness, Flight, Key
from stacksona_gate.delivery.signatures import signed_headers
from stacksona_gate.domain.errors import GateError, Unavailable
from stacksona_gate.domain.times import SECOND
from stacksona_gate.domain.webhooks import Delivery, Due, Result
from stacksona_gate.service import webhooks
from stacksona_gate.service.endpoints import opened_secrets
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.wakeups import CONFIGURATION
from stacksona_gate.service.webhooks import DELIVERIES, Claim, Wanted
from stacksona_gate.telemetry.trace import CURRENT, Trace

CALL_SECONDS: Final = 15.0
LEASE: Final = 30 * SECOND
"""Microseconds that a delivery is this process's: longer than a call takes, with its result's way to disk."""
IDLE_SECONDS: Final = 15.0
"""Between two looks when nothing is due and nobody says anything: another process may have died."""
BLOCKED_SECONDS: Final = 0.5
"""Between two looks while what is due waits for another delivery of its thread."""
SOON_SECONDS: Final = 0.25
"""After a commit that may have put something, by a process that cannot say more."""
PAUSE_SECONDS: Final = 0.02
"""Between two looks whatever happens: calls end one by one, and a look for each would cost more than the calls."""
STALLED_SECONDS: Final = 5.0
AWAY_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 5.0

log = logging.getLogger("stacksona_gate.delivery")


class Answered(Protocol):
    """What a sender says of a call, as delivery.sender.Answer has it."""

    @property
    def status(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def duration(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def retry_after(self) -> int | None: ...
    @property
    def gone(self) -> bool: ...


class Sending(Protocol):
    """What calls out: delivery.sender.Sender, or a test's own."""

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST", seconds: float = 15.0
    ) -> Answered: ...


class Changed(Protocol):
    """As a store tells its watchers."""

    @property
    def request_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Broken:
    """A call that was broken off when the process was told to end."""

    claim: Claim
    at: int


class DeliveryWorker:
    """One per process. ``start`` it in a running event loop, ``stop`` it before the store is closed."""

    def __init__(self, gate: Gate, sender: Sending, *, lease: int = LEASE, call_seconds: float = CALL_SECONDS) -> None:
        """``lease``: microseconds, longer than ``call_seconds``."""
        self._gate = gate
        self._sender = sender
        self._lease = lease
        self._call_seconds = call_seconds
        limits = gate.env.limits
        self._fairness = Fairness(limits.deliveries_per_endpoint, limits.deliveries_at_once)
        self._flying: dict[Key, dict[str, Flight]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._broken: list[_Broken] = []
        self._wake = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] | None = None
        self._holder = gate.new_holder("worker_")
        self._offset: int | None = None

    def start(self) -> None:
        """Begins to look, and goes on until it is stopped."""
        self._unwatch = self._gate.store.watch(self._changed)
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """Takes nothing more, lets calls end for ``seconds``, breaks off the rest and gives back what they hold."""
        if self._unwatch is not None:
            self._unwatch()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._soon is not None:
            self._soon.cancel()
        if self._calls:
            _, unfinished = await asyncio.wait(self._calls, timeout=seconds)
            for call in unfinished:
                call.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        for broken in self._broken:
            await self._give_back(broken)

    def _changed(self, changes: Sequence[Changed]) -> None:
        """A store's watcher. Of another process's commit it says only which threads it touched."""
        if any(change.request_id in (DELIVERIES, CONFIGURATION) for change in changes):
            self._wake.set()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SOON_SECONDS, self._look_now)

    def _look_now(self) -> None:
        self._soon = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            wait = AWAY_SECONDS
            self._wake.clear()
            try:
                wait = await self._round()
            except GateError as error:  # the store is away, which whoever sweeps says
                log.debug("nothing was sent: %s", error)
            except Exception:
                log.exception("nothing was sent")
            await asyncio.sleep(PAUSE_SECONDS)
            if wait > 0:
                timer = asyncio.get_running_loop().call_later(wait, self._wake.set)
                await self._wake.wait()
                timer.cancel()

    async def _round(self) -> float:
        """Takes what may be taken and sends it. Returns seconds until the next look, unless something wakes it."""
        due, now = await self._look()
        moment = self._gate.env.monotonic()
        flying = {key: list(flights.values()) for key, flights in self._flying.items()}
        share = self._fairness.choose([one for one in due if one.due_at <= now], flying, moment)
        claims = await self._claim(share.wanted) if share.wanted else []
        failing = {(one.tenant_id, one.endpoint_id) for one in due if one.is_failing}
        for claim in claims:
            self._send(claim, to_failing=_key(claim) in failing)
        return self._wait(due, now, share.wanted, claims, left_out=share.left_out)

    async def _look(self) -> tuple[list[Due], int]:
        """What is due when, and the time of day by the clock that it goes by: the database's where it has one."""
        env, store = self._gate.env, self._gate.store
        begun = env.monotonic()
        due, now = await store.scan(lambda tx: webhooks.list_due(tx, env))
        ended = env.monotonic()
        # An answer that was long under way says less of the clock than it took.
        if ended - begun < STALLED_SECONDS and await self._mind_the_clock(now, ended):
            return await self._look()
        return due, now

    async def _claim(self, wanted: Mapping[Key, int]) -> list[Claim]:
        gate = self._gate
        asked = [Wanted(tenant_id, endpoint_id, most) for (tenant_id, endpoint_id), most in wanted.items()]
        # Shielded: what was taken while this process is told to end is given back, not left until its lease is over.
        taking = asyncio.ensure_future(
            gate.store.write(lambda tx: webhooks.claim(tx, gate.env, asked, self._lease), holds=True)
        )
        try:
            claims = await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._broken += [_Broken(claim, gate.env.now()) for claim in await taking]
            raise
        if claims:
            gate.env.reached("delivery.claimed")
        return claims

    def _wait(
        self, due: Sequence[Due], now: int, wanted: Mapping[Key, int], claims: Sequence[Claim], *, left_out: bool
    ) -> float:
        """Ends of calls wake it too: what has no place free needs no timer."""
        if left_out and claims:
            return 0.0
        taken = [_key(claim) for claim in claims]
        waits = [IDLE_SECONDS, LINGER_SECONDS if left_out else IDLE_SECONDS]
        for one in due:
            key = (one.tenant_id, one.endpoint_id)
            if one.due_at > now:
                waits.append((one.due_at - now) / SECOND)
            elif key in wanted and key not in taken:
                waits.append(BLOCKED_SECONDS)
            elif key in wanted and taken.count(key) < wanted[key]:
                return 0.0  # all that was due is on its way: look when the next one is
        return min(waits)

    def _send(self, claim: Claim, *, to_failing: bool) -> None:
        flight = Flight(self._gate.env.monotonic(), to_failing)
        self._flying.setdefault(_key(claim), {})[claim.delivery.id] = flight
        call = asyncio.get_running_loop().create_task(self._deliver(claim))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _deliver(self, claim: Claim) -> None:
        key, at = _key(claim), self._gate.env.now()
        trace, spans = _trace(claim.delivery), self._gate.env.spans
        CURRENT.set(trace)  # of this call's own task
        if spans is not None:
            spans.begin(trace, f"webhook {claim.delivery.event}", outgoing=True)
        try:
            result = await self._called(claim, at, trace)
            if spans is not None:
                spans.end(trace, result.status, failed=not result.is_success)
            self._gate.env.reached("delivery.sent")
            await self._record(claim, result)
            self._gate.env.reached("delivery.recorded")
        except asyncio.CancelledError:
            self._broken.append(_Broken(claim, at))
            raise
        finally:
            self._flying[key].pop(claim.delivery.id, None)
            if not self._flying[key]:
                del self._flying[key]
            self._wake.set()

    async def _called(self, claim: Claim, at: int, trace: Trace) -> Result:
        """Never raises but when it is broken off: whatever goes wrong is a failed attempt, and is seen as one."""
        delivery = claim.delivery
        try:
            secrets = opened_secrets(self._gate.root, delivery.endpoint_id, claim.secrets)
            body = delivery.body.encode()
            headers = {"content-type": "application/json", **_traced(trace)}
            headers |= signed_headers(secrets, delivery.id, at, body)
            answer = await self._sender.send(claim.url, headers, body, seconds=self._call_seconds)
        except Unavailable:
            return Result(at, 0, None, "the webhook's secret does not open: rotate it")
        except Exception:
            log.exception("a call failed in the gate itself")
            return Result(at, 0, None, "a fault in the gate; its log says more")
        text = answer.body.decode("utf-8", "replace")
        return Result(at, answer.duration, answer.status, answer.error, text, answer.retry_after, answer.gone)

    async def _record(self, claim: Claim, result: Result) -> None:
        """Tries for as long as the lease lasts; after that whoever takes the delivery over sends it again."""
        gate, end = self._gate, self._gate.env.monotonic() + self._lease / SECOND
        while True:
            try:
                outcome = await gate.store.write(
                    lambda tx: webhooks.record_result(tx, gate.env, claim.delivery, result, claim.url), holds=True
                )
            except GateError as error:
                if gate.env.monotonic() > end:
                    log.warning("delivery %s was called and not recorded: %s", claim.delivery.id, error)
                    return
                await asyncio.sleep(AWAY_SECONDS)
            else:
                self._count(claim, result, outcome)
                return

    def _count(self, claim: Claim, result: Result, outcome: str) -> None:
        gate, measures = self._gate, self._gate.env.measures
        gate.deliveries[outcome] += 1
        measures.attempt_seconds.observe(result.duration / SECOND)
        if outcome == "delivered":
            measures.delivery_seconds.observe(max(0, gate.env.now() - claim.delivery.created_at) / SECOND)
        about = {"endpoint_id": claim.delivery.endpoint_id, "attempt": claim.delivery.attempts, "status": result.status}
        level = logging.DEBUG if outcome == "delivered" else logging.INFO
        log.log(level, "webhook %s", outcome, extra={"fields": about | {"error": result.error}})

    async def _give_back(self, broken: _Broken) -> None:
        gate, delivery = self._gate, broken.claim.delivery
        result = Result(broken.at, max(0, gate.env.now() - broken.at), None, "broken off: the gate was told to end")
        try:
            await gate.store.write(lambda tx: webhooks.give_back(tx, gate.env, delivery, result), holds=True)
        except GateError as error:
            log.info("delivery %s waits for the end of its lease: %s", delivery.id, error)

    async def _mind_the_clock(self, now: int, moment: float) -> bool:
        """Moves what is due along with the time of day when that is set by more than half a lease. Whether it was.

        ``moment``: the same of a clock that nobody sets.
        """
        gate, offset = self._gate, now - round(moment * SECOND)
        step = 0 if self._offset is None else offset - self._offset
        is_set = abs(step) > self._lease // 2
        if is_set:
            log.warning("the clock that webhooks go by was set by %d seconds", step // SECOND)
            await gate.store.write(lambda tx: webhooks.clock_set(tx, gate.env, self._holder, step), holds=True)
        self._offset = offset  # only now: while the database is away the step is not forgotten
        return is_set


def _trace(delivery: Delivery) -> Trace:
    about = {"request_id": delivery.request_id, "thread_id": delivery.thread_id, "delivery_id": delivery.id}
    return Trace(delivery.http_request_id, delivery.traceparent, delivery.tenant_id, about)


def _traced(trace: Trace) -> dict[str, str]:
    """Beside the signature, not under it: who follows a trace trusts it as little as its sender."""
    given = {"x-request-id": trace.http_request_id, "traceparent": trace.traceparent}
    return {name: value for name, value in given.items() if value is not None}


def _key(claim: Claim) -> Key:
    return claim.delivery.tenant_id, claim.delivery.endpoint_id
