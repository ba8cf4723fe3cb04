"""Whose call is worked on next: a workspace that floods waits for itself, not the others for it.

A workspace is quiet as long as it has no more than QUIET_MOST calls here at once: then none of them waits. One that has
more is loud. Beside quiet ones a loud one has LOUD_SHARE calls inside at once, beside other loud ones alone MUCH_SHARE;
the rest of its calls wait in its own line. What runs through here is short and the same for all: the event loop's time,
places in the next commit, the readers. A workspace that is alone has no line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Final

from stacksona_gate.domain.errors import OverLimit

QUIET_MOST: Final = 8
LOUD_SHARE: Final = 2
"""What a call of a quiet workspace finds before it, for each that is loud."""
MUCH_SHARE: Final = 16
"""Enough to fill commits: loud workspaces take nothing from anybody but each other."""
LINE_MOST: Final = 2_000
"""Calls of one workspace in line beyond which more are refused."""
REMEMBERED_SECONDS: Final = 1.0
"""How long a workspace counts as calling, and as loud, after it was."""


class Turns:
    """One per process, of one event loop."""

    def __init__(self, line_most: int = LINE_MOST) -> None:
        self._line_most = line_most
        self._inside: dict[str, int] = {}
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._called: dict[str, float] = {}
        self._loud: dict[str, float] = {}
        self._forget_at = 0.0

    async def enter(self, tenant_id: str) -> bool:
        """Waits for a place; says whether it had to. Whoever got one gives it back with ``leave``. Raises OverLimit."""
        now = monotonic()
        self._called[tenant_id] = now
        if now >= self._forget_at:
            self._forget(now)
        inside = self._inside.get(tenant_id, 0)
        line = self._lines.get(tenant_id)
        if inside + (0 if line is None else len(line)) >= QUIET_MOST:
            self._loud[tenant_id] = now
        if line is None and inside < self._most(tenant_id):
            self._inside[tenant_id] = inside + 1
            return False
        await self._wait(tenant_id)
        return True

    def _most(self, tenant_id: str) -> int:
        """How many calls of a workspace may be inside now."""
        if len(self._called) == 1:
            return self._line_most
        if tenant_id not in self._loud:
            return QUIET_MOST
        return LOUD_SHARE if len(self._called) > len(self._loud) else MUCH_SHARE

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
        line, most = self._lines.get(tenant_id), self._most(tenant_id)
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
        """Workspaces that have not called, or not loudly, for a while."""
        self._forget_at = now + REMEMBERED_SECONDS / 10
        self._called = {one: at for one, at in self._called.items() if now - at < REMEMBERED_SECONDS}
        self._loud = {one: at for one, at in self._loud.items() if now - at < REMEMBERED_SECONDS}

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
