"""How many answers are held open for whom, over all processes of one database.

Each counts its own; what is worth mentioning it tells the others once a second. So the limit holds over all of them but
for what came in the last second, and for what each of them does not mention.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from stacksona_gate.domain.errors import TooMany
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.gate import Gate

TELL_SECONDS: Final = 0.5
"""Between two looks at what others hold."""
LASTS: Final = 5 * SECOND
"""Microseconds that what a process said counts: it was killed when it does not say it again."""
AGAIN: Final = 2 * SECOND
"""Microseconds after which it is said again, unchanged."""
MENTIONED: Final = 20
"""Who holds less than this part of the limit at one process is not mentioned to the others."""

_HELD: Final = msgspec.json.Decoder(dict[str, int])

log = logging.getLogger(__name__)


AGENTS: Final = "this agent holds {} answers open already: wait for some of them"
PERSONS: Final = "you hold {} streams open already: close some of them"


class Holds:
    """Answers held open, per agent or person."""

    def __init__(self, most: int, told: str = AGENTS, retry_after: int = 1) -> None:
        """``told``: to who holds as many as that."""
        self._most = most
        self._told = told
        self._retry_after = retry_after
        self._held: dict[str, int] = {}
        self.elsewhere: Counter[str] = Counter()
        """By other processes, as they last said."""

    def enter(self, owner: str) -> None:
        """Raises TooMany."""
        self.require_place(owner)
        self._held[owner] = self._held.get(owner, 0) + 1

    def leave(self, owner: str) -> None:
        left = self._held[owner] - 1
        if left:
            self._held[owner] = left
        else:
            del self._held[owner]

    def require_place(self, owner: str) -> None:
        """Only asks, for a stream that enters when it begins: one whose client is gone before would never leave.

        Raises TooMany.
        """
        held = self._held.get(owner, 0) + self.elsewhere[owner]
        if held >= self._most:
            raise TooMany(self._told.format(held), retry_after=self._retry_after)

    @contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """Held until the block ends. Raises TooMany."""
        self.enter(owner)
        try:
            yield
        finally:
            self.leave(owner)

    @property
    def count(self) -> int:
        return sum(self._held.values())

    def worth_mentioning(self) -> dict[str, int]:
        """Who holds so much of the limit here that other processes have to know."""
        least = max(1, self._most // MENTIONED)
        return {owner: held for owner, held in self._held.items() if held >= least}


class SharedHolds:
    """Tells other processes what this one holds, and asks what they do."""

    def __init__(self, gate: Gate, holds: Holds) -> None:
        self._gate = gate
        self._holds = holds
        self._name = gate.env.id("node_", gate.env.now())
        self._said: dict[str, int] = {}
        self._said_at = 0

    async def round(self) -> None:
        """Raises Unavailable. A process that holds little writes nothing."""
        await self._say(self._holds.worth_mentioning())
        others = await self._gate.store.read(lambda tx: tx.nodes.list_others(self._name, self._gate.env.shared_now(tx)))
        elsewhere: Counter[str] = Counter()
        for held in others:
            elsewhere.update(_HELD.decode(held))
        self._holds.elsewhere = elsewhere

    async def _say(self, held: dict[str, int]) -> None:
        now = self._gate.env.now()
        is_fresh = 0 <= now - self._said_at < AGAIN
        if held == self._said and (is_fresh or not held):
            return
        text = msgspec.json.encode(held).decode()
        await self._gate.store.write(
            lambda tx: tx.nodes.say(self._name, text, self._gate.env.shared_now(tx), LASTS), holds=True
        )
        self._said, self._said_at = held, now

    async def stop(self) -> None:
        """What this process held is over. Raises Unavailable."""
        if self._said_at:
            await self._gate.store.write(lambda tx: tx.nodes.leave(self._name), holds=True)
