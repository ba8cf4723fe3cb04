"""Whose call is worked on next: a workspace that floods waits for itself, not the others for it.

While several workspaces call, each has up to SHARE calls inside at once; the rest of its calls wait in its own line.
What runs through here is short and the same for all: the event loop's time, places in the next commit, the readers.
A workspace that is alone has no line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Final

from stacksona_gate.domain.errors import OverLimit

SHARE: Final = 8
"""Calls of one workspace inside at once while there are others. Of one commit they are as many places."""
LINE_MOST: Final = 2_000
"""Calls of one workspace in line beyond which more are refused."""
REMEMBERED_SECONDS: Final = 60.0
"""How long a workspace counts as calling after it did."""


class Turns:
    """One per process, of one event loop."""

    def __init__(self, share: int = SHARE, line_most: int = LINE_MOST) -> None:
        self._share = share
        self._line_most = line_most
        self._inside: dict[str, int] = {}
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._called: dict[str, float] = {}
        self._forget_at = 0.0

    async def enter(self, tenant_id: str) -> bool:
        """Waits for a place; says whether it had to. Whoever got one gives it back with ``leave``. Raises OverLimit."""
        now = monotonic()
        self._called[tenant_id] = now
        if now >= self._forget_at:
            self._forget(now)
        inside = self._inside.get(tenant_id, 0)
        if len(self._called) == 1 or (inside < self._share and tenant_id not in self._lines):
            self._inside[tenant_id] = inside + 1
            return False
        await self._wait(tenant_id)
        return True

    async def _wait(self, tenant_id: str) -> None:
        line = self._lines.setdefault(tenant_id, deque())
        if len(line) >= self._line_most:
            raise OverLimit(
                f"{len(line):,} calls of this workspace wait for the ones before them: send fewer at once",
                code="workspace_busy",
                quota="calls-in-line",
                limit=self._line_most,
                retry_after=1,
            )
        place = asyncio.get_running_loop().create_future()
        line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._release(tenant_id)  # it had been called in already
            raise

    def leave(self, tenant_id: str) -> None:
        """Gives the place back."""
        if len(self._called) == 1 and tenant_id not in self._lines:
            self._release(tenant_id)
            return
        # In the next turn of the loop: calls that never wait for anything would else all be served in this one, however
        # many there are, before anybody else's are even read.
        asyncio.get_running_loop().call_soon(self._release, tenant_id)

    def _release(self, tenant_id: str) -> None:
        inside = self._inside[tenant_id] - 1
        line = self._lines.get(tenant_id)
        most = self._share if len(self._called) > 1 else self._line_most
        while line and inside < most:
            place = line.popleft()
            if not place.done():
                place.set_result(None)
                inside += 1
        if line is not None and not line:
            del self._lines[tenant_id]
        if inside:
            self._inside[tenant_id] = inside
        else:
            del self._inside[tenant_id]

    def _forget(self, now: float) -> None:
        """Workspaces that have not called for a while."""
        self._forget_at = now + REMEMBERED_SECONDS / 10
        self._called = {one: at for one, at in self._called.items() if now - at < REMEMBERED_SECONDS}

    @property
    def waiting(self) -> int:
        """Calls in all lines."""
        return sum(map(len, self._lines.values()))


FREE_REFUSALS: Final = 20
"""Refusals of a workspace per second that are answered at once."""
HELD_SECONDS: Final = 0.5
HELD_MOST: Final = 2_000
"""Refusals of all workspaces held at once; more are answered at once."""


class Pace:
    """Holds refusals back from callers that take no notice of them: answered at once, they would be asked again at once
    and take up the time of everybody else."""

    def __init__(self) -> None:
        self._refused: dict[str, int] = {}
        self._since = 0.0
        self.held = 0

    async def hold(self, tenant_id: str) -> None:
        """Returns at once, or a little later where there are many."""
        now = monotonic()
        if now - self._since >= 1:
            self._since = now
            self._refused.clear()
        refused = self._refused[tenant_id] = self._refused.get(tenant_id, 0) + 1
        if refused <= FREE_REFUSALS or self.held >= HELD_MOST:
            return
        self.held += 1
        try:
            await asyncio.sleep(HELD_SECONDS)
        finally:
            self.held -= 1
