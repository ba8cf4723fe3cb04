"""Who waits for what in this process. A wake-up says only «look again»."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from stacksona_gate.store.base import Change

CONFIGURATION = ""
TICK_SECONDS: Final = 0.05
"""Who waits for a time is woken at most that much later: all of one tick share a timer."""

Topic = tuple[str, str]
Due = Callable[[bool], None]


async def until_due(arm: Callable[[Due], None]) -> bool:
    """For who has a task to wait in: arms, waits, and returns what ``due`` is told."""
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    arm(lambda changed: None if future.done() else future.set_result(changed))
    return await future


class Waiter:
    """Waits for one request, or for anything of one tenant. Made before the state is read: nothing is missed.

    Thousands wait at once, for minutes: it is small, and waits without a task or a timer of its own.
    """

    __slots__ = ("_changed", "_due", "_tick", "_topic", "_wakeups")

    def __init__(self, wakeups: Wakeups, topic: Topic) -> None:
        self._wakeups = wakeups
        self._topic = topic
        self._changed = False
        self._due: Due | None = None
        self._tick = 0
        wakeups.add(topic, self)

    def arm(self, seconds: float, due: Due) -> None:
        """Calls ``due`` once: with True when something changed since it was made or last armed, with False when the
        time is over."""
        self._due = due
        if self._changed:
            asyncio.get_running_loop().call_soon(self.wake)
        else:
            self._tick = self._wakeups.alarms.set(seconds, self)

    async def wait(self, seconds: float) -> bool:
        """The same for who has a task to wait in. Returns what ``due`` is told."""
        try:
            return await until_due(partial(self.arm, seconds))
        finally:
            self._disarm()

    def wake(self) -> None:
        """Something changed."""
        self._changed = self._due is None
        self._tell(changed=True)

    def ring(self) -> None:
        """The time is over."""
        self._tell(changed=False)

    def _tell(self, *, changed: bool) -> None:
        due = self._due
        self._disarm()
        if due is not None:
            due(changed)

    def _disarm(self) -> None:
        self._due = None
        if self._tick:
            self._wakeups.alarms.unset(self._tick, self)
            self._tick = 0

    def close(self) -> None:
        self._disarm()
        self._wakeups.discard(self._topic, self)


class Alarms:
    """One timer for all who wait for a time."""

    def __init__(self) -> None:
        self._ticks: dict[int, dict[Waiter, None]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, waiter: Waiter) -> int:
        """Rings in so many seconds, at the end of that tick. Returns the tick."""
        loop = asyncio.get_running_loop()
        tick = math.ceil((loop.time() + max(seconds, 0.0)) / TICK_SECONDS)
        waiting = self._ticks.get(tick)
        if waiting is None:
            waiting = self._ticks[tick] = {}
            heapq.heappush(self._order, tick)
            if self._order[0] == tick:
                self._start(loop)
        waiting[waiter] = None
        return tick

    def unset(self, tick: int, waiter: Waiter) -> None:
        waiting = self._ticks.get(tick)
        if waiting is not None:
            waiting.pop(waiter, None)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._order[0] * TICK_SECONDS, self._ring) if self._order else None

    def _ring(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        while self._order and self._order[0] * TICK_SECONDS <= loop.time():
            waiting = self._ticks.pop(heapq.heappop(self._order))
            while waiting:  # waking one may close another
                waiting.popitem()[0].ring()
        self._start(loop)


class Wakeups:
    """All waiters of this process."""

    def __init__(self) -> None:
        self._waiting: dict[Topic, Waiter | set[Waiter]] = {}
        self.alarms = Alarms()

    def for_request(self, tenant_id: str, request_id: str) -> Waiter:
        return Waiter(self, (tenant_id, request_id))

    def for_tenant(self, tenant_id: str) -> Waiter:
        return Waiter(self, (tenant_id, CONFIGURATION))

    def add(self, topic: Topic, waiter: Waiter) -> None:
        # Nearly every request has one who waits for it: a set of its own would be larger than the waiter.
        there = self._waiting.setdefault(topic, waiter)
        if isinstance(there, set):
            there.add(waiter)
        elif there is not waiter:
            self._waiting[topic] = {there, waiter}

    def discard(self, topic: Topic, waiter: Waiter) -> None:
        there = self._waiting.get(topic)
        if isinstance(there, set):
            there.discard(waiter)
        if there is waiter or there == set():
            del self._waiting[topic]

    def changed(self, changes: Sequence[Change]) -> None:
        """A store's watcher."""
        for change in changes:
            self._wake((change.tenant_id, change.request_id))
        for tenant_id in {change.tenant_id for change in changes}:
            self._wake((tenant_id, CONFIGURATION))

    def wake_all(self) -> None:
        """Everybody looks again: the process is about to end."""
        for topic in list(self._waiting):
            self._wake(topic)

    def _wake(self, topic: Topic) -> None:
        there = self._waiting.get(topic, ())
        for waiter in (there,) if isinstance(there, Waiter) else tuple(there):
            waiter.wake()

    @property
    def count(self) -> int:
        return sum(1 if isinstance(there, Waiter) else len(there) for there in self._waiting.values())
