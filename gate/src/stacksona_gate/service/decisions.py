"""Agents read decisions back: at once, held until something changes, or as a list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.decisions import etag, polled_decision
from stacksona_gate.domain.errors import NotFound, TooMany
from stacksona_gate.domain.requests import Request, Review, ThreadFilter, approval_state
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.requests import ENCODER, Answer, fresh_token
from stacksona_gate.service.threads import expire_overdue
from stacksona_gate.service.wakeups import Waiter
from stacksona_gate.store.base import Tx

LOOK_SECONDS: Final = 15.0
"""A held stream looks again at least that often, and says that it is alive."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Exactly one is set."""

    thread_id: str | None = None
    request_id: str | None = None
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Polled:
    """A decision as it is now. ``etag`` covers the decision, not the token."""

    answer: Answer
    etag: str


@dataclass(frozen=True, slots=True)
class _State:
    request: Request
    reviews: tuple[Review, ...]
    generation: int


async def read_decision(gate: Gate, caller: Caller, selector: Selector) -> Polled:
    """The decision as it stands. Raises NotFound."""
    return _polled(gate, await _current(gate, caller, selector))


class Holds:
    """Answers held open, per agent."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, int] = {}

    def enter(self, agent_id: str) -> None:
        """Raises TooMany."""
        held = self._held.get(agent_id, 0)
        if held >= self._most:
            raise TooMany(f"this agent holds {held} answers open already: wait for some of them", retry_after=1)
        self._held[agent_id] = held + 1

    def leave(self, agent_id: str) -> None:
        left = self._held[agent_id] - 1
        if left:
            self._held[agent_id] = left
        else:
            del self._held[agent_id]

    @property
    def count(self) -> int:
        return sum(self._held.values())


class DrainFlag:
    """Set when the process is about to end."""

    __slots__ = ("is_announced", "is_set")

    def __init__(self) -> None:
        self.is_announced = False
        """Not ready any more; everything is answered as ever."""
        self.is_set = False
        """Held answers leave."""


async def wait_decision(
    gate: Gate, caller: Caller, selector: Selector, *, seconds: float, known: str | None, draining: DrainFlag
) -> Polled:
    """Holds the answer while it is pending and the caller knows it already.

    ``known``: the ETag the caller has; None: whatever holds on arrival. Ends early when the process drains.
    Raises NotFound.
    """
    first = await _current(gate, caller, selector)
    if known is None:
        known = etag(first.request)
    if not first.request.is_pending or etag(first.request) != known:
        return _polled(gate, first)
    deadline = gate.env.monotonic() + seconds
    chosen = Selector(request_id=first.request.id)
    waiter = gate.wakeups.for_request(caller.tenant_id, first.request.id)
    try:
        polled = await _held(gate, caller, chosen, waiter, deadline, known, draining)
        _count_wake(gate, polled.answer.request)
        return polled
    finally:
        waiter.close()


def _count_wake(gate: Gate, request: Request) -> None:
    """Somebody who waited while it was pending is told. By the clocks of two nodes, where another one decided."""
    if request.decided_at is not None:
        gate.env.measures.wake_seconds.observe(max(0, gate.env.now() - request.decided_at) / SECOND)


async def _held(
    gate: Gate, caller: Caller, selector: Selector, waiter: Waiter, deadline: float, known: str, draining: DrainFlag
) -> Polled:
    while True:
        state = await _current(gate, caller, selector)
        left = deadline - gate.env.monotonic()
        if not state.request.is_pending or etag(state.request) != known or left <= 0 or draining.is_set:
            return _polled(gate, state)
        await waiter.wait(min(left, _seconds_to_expiry(gate, state.request)))


async def stream_decision(
    gate: Gate, caller: Caller, selector: Selector, draining: DrainFlag
) -> AsyncIterator[Polled | None]:
    """Each state of a decision as it comes, None as a sign of life; ends after the final status. Raises NotFound."""
    first = await _current(gate, caller, selector)
    chosen = Selector(request_id=first.request.id)
    waiter = gate.wakeups.for_request(caller.tenant_id, first.request.id)
    known: str | None = None
    waited = False
    try:
        while True:
            state = await _current(gate, caller, chosen)
            now_known = etag(state.request)
            yield _polled(gate, state) if now_known != known else None
            known = now_known
            if not state.request.is_pending or draining.is_set:
                if waited:
                    _count_wake(gate, state.request)
                return
            waited = True
            await waiter.wait(min(LOOK_SECONDS, _seconds_to_expiry(gate, state.request)))
    finally:
        waiter.close()


def _seconds_to_expiry(gate: Gate, request: Request) -> float:
    """Not less than a moment: the expiry itself is written by whoever comes first."""
    left = (request.expires_at or 0) - gate.env.now()
    return max(left / 1_000_000, 0.05)


async def list_decisions(gate: Gate, caller: Caller, where: ThreadFilter) -> list[tuple[int, Polled]]:
    """The agent's own threads, oldest first, each with its place in the list."""
    agent = caller.as_agent()

    def query(tx: Tx) -> list[tuple[int, _State]]:
        found = tx.requests.list_threads(agent.tenant_id, where)
        return [(request.seq, _state(tx, request)) for request in found]

    listed = await gate.store.scan(query)
    return [(seq, _polled(gate, await _settled(gate, caller, state))) for seq, state in listed]


async def _current(gate: Gate, caller: Caller, selector: Selector) -> _State:
    agent = caller.as_agent()

    def query(tx: Tx) -> _State | None:
        request = _find(tx, agent.tenant_id, agent.id, selector)
        # Another agent's ids answer as ids that never existed.
        return None if request is None or request.agent_id != agent.id else _state(tx, request)

    state = await gate.store.read(query)
    if state is None:
        raise NotFound("there is no such decision")
    return await _settled(gate, caller, state)


async def _settled(gate: Gate, caller: Caller, state: _State) -> _State:
    """A thread whose time is over is rejected before anybody is told about it."""
    request = state.request
    if not request.is_overdue(gate.env.now()) or request.thread_id is None:
        return state
    thread_id = request.thread_id
    await gate.store.write(lambda tx: expire_overdue(tx, gate.env, caller.tenant_id, thread_id))
    fresh = await gate.store.read(lambda tx: tx.requests.find(caller.tenant_id, request.id))
    return _State(fresh or request, state.reviews, state.generation)


def _find(tx: Tx, tenant_id: str, agent_id: str, selector: Selector) -> Request | None:
    if selector.thread_id is not None:
        return tx.requests.find_thread(tenant_id, selector.thread_id)
    if selector.request_id is not None:
        return tx.requests.find(tenant_id, selector.request_id)
    return tx.requests.newest_of_task(tenant_id, agent_id, selector.task_id or "")


def _state(tx: Tx, request: Request) -> _State:
    reviews = tx.conversation.list_reviews(request.tenant_id, request.id) if request.thread_id is not None else []
    agent = tx.agents.find(request.tenant_id, request.agent_id)
    return _State(request, tuple(reviews), -1 if agent is None else agent.generation)


def _polled(gate: Gate, state: _State) -> Polled:
    request, now = state.request, gate.env.now()
    approval = approval_state(request, state.generation, now)
    body = polled_decision(request, state.reviews, public_url=gate.env.public_url, state=approval)
    token = fresh_token(gate, request, state.generation, now)
    return Polled(Answer(request.status, request.thread_id, ENCODER.encode(body), token, request), etag(request))
