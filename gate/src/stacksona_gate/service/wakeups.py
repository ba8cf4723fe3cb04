"""Who waits for what in this process. A wake-up says only «look again»."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stacksona_gate.store.base import Change

CONFIGURATION = ""


class Waiter:
    """Waits for one request, or for anything of one tenant. Made before the state is read: nothing is missed."""

    __slots__ = ("_event", "_loop", "_registry", "_topic")

    def __init__(self, registry: dict[tuple[str, str], set[Waiter]], topic: tuple[str, str]) -> None:
        self._registry = registry
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._event: asyncio.Future[bool] | None = self._loop.create_future()
        registry.setdefault(topic, set()).add(self)

    async def wait(self, seconds: float) -> bool:
        """True when something changed since it was made or last waited for, False when the time is over."""
        future = self._event
        if future is None:
            raise RuntimeError("closed")
        timer = self._loop.call_later(seconds, _expire, future)
        try:
            changed = await future
        finally:
            timer.cancel()
        self._event = self._loop.create_future()
        return changed

    def wake(self) -> None:
        if self._event is not None and not self._event.done():
            self._event.set_result(True)

    def close(self) -> None:
        waiting = self._registry.get(self._topic)
        if waiting is not None:
            waiting.discard(self)
            if not waiting:
                del self._registry[self._topic]
        self._event = None


def _expire(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)


class Wakeups:
    """All waiters of this process."""

    def __init__(self) -> None:
        self._registry: dict[tuple[str, str], set[Waiter]] = {}

    def for_request(self, tenant_id: str, request_id: str) -> Waiter:
        return Waiter(self._registry, (tenant_id, request_id))

    def for_tenant(self, tenant_id: str) -> Waiter:
        return Waiter(self._registry, (tenant_id, CONFIGURATION))

    def changed(self, changes: Sequence[Change]) -> None:
        """A store's watcher."""
        for change in changes:
            self._wake((change.tenant_id, change.request_id))
        for tenant_id in {change.tenant_id for change in changes}:
            self._wake((tenant_id, CONFIGURATION))

    def wake_all(self) -> None:
        """Everybody looks again: the process is about to end."""
        for topic in list(self._registry):
            self._wake(topic)

    def _wake(self, topic: tuple[str, str]) -> None:
        for waiter in tuple(self._registry.get(topic, ())):
            waiter.wake()

    @property
    def count(self) -> int:
        return sum(len(waiters) for waiters in self._registry.values())
