"""Agents read decisions back: at once, held until something changes, or as a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.errors import NotFound
from stacksona_gate.domain.requests import Request, ThreadFilter
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.kept_answers import Polled as Polled, State
from stacksona_gate.service.threads import expire_overdue
from stacksona_gate.service.wakeups import until_due
from stacksona_gate.store.base import Reading, Tx

LOOK_SECONDS: Final = 15.0
"""A held stream looks again at least that often, and says that it is alive."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Exactly one is set."""

    thread_id: str | None = None
    request_id: str | None = None
    task_id: str | None = None


async def read_decision(gate: Gate, caller: Caller, selector: Selector) -> Polled:
    """The decision as it stands.

    Whatever the caller's key was worth when it was looked up, it is held against the configuration that the decision is
    read with. Raises Unauthenticated, Forbidden, NotFound.
    """
    return _told(gate, await _current(gate, caller, selector))


class DrainFlag:
    """Set when the process is about to end."""

    __slots__ = ("is_announced", "is_set")

    def __init__(self) -> None:
        self.is_announced = False
        """Not ready any more; everything is answered as ever."""
        self.is_set = False
        """Held answers leave."""


class HeldDecision:
    """A decision that is pending and that the caller knows already: it waits for a change, without a task."""

    __slots__ = ("_caller", "_deadline", "_draining", "_gate", "_known", "_request", "_waiter")

    def __init__(
        self, gate: Gate, caller: Caller, request: Request, known: str, deadline: float, draining: DrainFlag
    ) -> None:
        """``deadline`` in the time of ``Environment.monotonic``."""
        self._gate = gate
        self._caller = caller
        self._request = (request.id, request.expires_at or 0)
        self._known = known
        self._deadline = deadline
        self._draining = draining
        self._waiter = gate.wakeups.for_request(caller.tenant_id, request.id)

    def arm(self, due: Callable[[bool], None]) -> None:
        """Calls ``due`` once, when it is time to look."""
        left = self._deadline - self._gate.env.monotonic()
        self._waiter.arm(min(left, _seconds_until(self._gate, self._request[1])), due)

    async def look(self) -> Polled | None:
        """The decision, None when there is nothing new and time is left. Raises as ``read_decision``."""
        state = await _current(self._gate, self._caller, Selector(request_id=self._request[0]))
        left = self._deadline - self._gate.env.monotonic()
        if state.request.is_pending and left > 0 and not self._draining.is_set and state.etag == self._known:
            return None
        _count_wake(self._gate, state.request)
        return _told(self._gate, state)

    def close(self) -> None:
        self._waiter.close()


async def hold_decision(
    gate: Gate, caller: Caller, selector: Selector, *, seconds: float, known: str | None, draining: DrainFlag
) -> Polled | HeldDecision:
    """The decision, or what waits for it while it is pending and the caller knows it already; close that.

    ``known``: the ETag the caller has; None: whatever holds on arrival. Ends early when the process drains.
    Raises as ``read_decision``.
    """
    first = await _current(gate, caller, selector)
    if not first.request.is_pending or (known is not None and first.etag != known):
        return _told(gate, first)
    held = HeldDecision(gate, caller, first.request, first.etag, gate.env.monotonic() + seconds, draining)
    try:
        polled = await held.look()  # something may have changed before it began to wait
    except BaseException:
        held.close()
        raise
    if polled is None:
        return held
    held.close()
    return polled


async def wait_decision(
    gate: Gate, caller: Caller, selector: Selector, *, seconds: float, known: str | None, draining: DrainFlag
) -> Polled:
    """The same for who has a task to wait in."""
    held = await hold_decision(gate, caller, selector, seconds=seconds, known=known, draining=draining)
    if isinstance(held, Polled):
        return held
    try:
        while True:
            await until_due(held.arm)
            polled = await held.look()
            if polled is not None:
                return polled
    finally:
        held.close()


def _count_wake(gate: Gate, request: Request) -> None:
    """Somebody who waited while it was pending is told. By the clocks of two nodes, where another one decided."""
    if request.decided_at is not None:
        gate.env.measures.wake_seconds.observe(max(0, gate.env.now() - request.decided_at) / SECOND)


async def stream_decision(
    gate: Gate, caller: Caller, selector: Selector, draining: DrainFlag
) -> AsyncIterator[Polled | None]:
    """Each state of a decision as it comes, None as a sign of life; ends after the final status.

    Raises as ``read_decision``.
    """
    first = await _current(gate, caller, selector)
    chosen = Selector(request_id=first.request.id)
    waiter = gate.wakeups.for_request(caller.tenant_id, first.request.id)
    known: str | None = None
    waited = False
    try:
        while True:
            state = await _current(gate, caller, chosen)
            yield _told(gate, state) if state.etag != known else None
            known = state.etag
            if not state.request.is_pending or draining.is_set:
                if waited:
                    _count_wake(gate, state.request)
                return
            waited = True
            await waiter.wait(min(LOOK_SECONDS, _seconds_until(gate, state.request.expires_at or 0)))
    finally:
        waiter.close()


def _seconds_until(gate: Gate, expires_at: int) -> float:
    """Not less than a moment: the expiry itself is written by whoever comes first."""
    return max((expires_at - gate.env.now()) / 1_000_000, 0.05)


async def list_decisions(gate: Gate, caller: Caller, where: ThreadFilter) -> list[tuple[int, Polled]]:
    """The agent's own threads, oldest first, each with its place in the list."""
    agent = caller.as_agent()

    def query(tx: Tx) -> list[tuple[int, State]]:
        found = tx.requests.list_threads(agent.tenant_id, where)
        return [(request.seq, _listed(tx, request)) for request in found]

    listed = await gate.store.scan(query)
    return [(seq, _told(gate, await _settled(gate, state))) for seq, state in listed]


def _listed(tx: Tx, request: Request) -> State:
    reviews = tx.conversation.list_reviews(request.tenant_id, request.id)
    agent = tx.agents.find(request.tenant_id, request.agent_id)
    return State(request, tuple(reviews), -1 if agent is None else agent.generation)


async def _current(gate: Gate, caller: Caller, selector: Selector) -> State:
    if caller.agent is None:
        caller.as_agent()  # says what is wrong
    reading, state = await gate.store.read(lambda tx: _read(gate, tx, caller, selector))
    # Found or not: what is told rests on the configuration that holds now.
    caller = await gate.directory.current(caller, None if reading is None else reading.config_version)
    caller.as_agent()
    if state is None:
        raise NotFound("there is no such decision")
    return await _settled(gate, state)


def _read(gate: Gate, tx: Tx, caller: Caller, selector: Selector) -> tuple[Reading | None, State | None]:
    """Another agent's ids are found as little as ids that never existed."""
    tenant_id = caller.tenant_id
    reading = tx.readings.find(
        tenant_id,
        caller.key.owner_id,
        thread_id=selector.thread_id,
        request_id=selector.request_id,
        task_id=selector.task_id,
    )
    return reading, None if reading is None else gate.answers.open(tx, tenant_id, reading)


async def _settled(gate: Gate, state: State) -> State:
    """A thread whose time is over is rejected before anybody is told about it."""
    request = state.request
    if not request.is_overdue(gate.env.now()) or request.thread_id is None:
        return state
    thread_id = request.thread_id
    await gate.store.write(lambda tx: expire_overdue(tx, gate.env, request.tenant_id, thread_id))
    fresh = await gate.store.read(lambda tx: tx.requests.find(request.tenant_id, request.id))
    return State(fresh or request, state.reviews, state.generation)


def _told(gate: Gate, state: State) -> Polled:
    return gate.answers.tell(state, gate.keyring, gate.env)
