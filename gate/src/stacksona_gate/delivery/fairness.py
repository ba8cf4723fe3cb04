"""Who is sent to next: endpoints in turns, so that one that hangs holds its own place and nobody else's."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.webhooks import Due

SLOW_SECONDS: Final = 2.0
"""An endpoint with a call that takes longer has one place until that call is over."""
LINGER_SECONDS: Final = 0.5
"""A call that takes longer no longer takes room from endpoints in good standing: nobody knows which of them hang."""
CLAIMS_MOST: Final = 64
"""Deliveries taken in one transaction: decisions in the same commit wait for them."""
TOTAL_FACTOR: Final = 4
"""All calls together are at most so many times ``at_once``: what is slow only since a moment comes on top of it."""

Key = tuple[str, str]
"""Tenant and endpoint."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A call on its way. ``since`` in seconds of a clock that nobody sets."""

    since: float
    to_failing: bool


@dataclass(frozen=True, slots=True)
class Share:
    """What a round takes, and whether it left endpoints out that have something due and a place free."""

    wanted: dict[Key, int]
    left_out: bool


class Fairness:
    """Endpoints in good standing share ``at_once`` calls, those that fail or hang half as many of their own.

    An endpoint has ``per_endpoint`` places; one that fails or hangs has one, so that it is found when it is back.
    """

    def __init__(self, per_endpoint: int, at_once: int) -> None:
        self._per_endpoint = per_endpoint
        self._at_once = at_once
        self._last: Key | None = None

    def choose(self, due: Sequence[Due], flying: Mapping[Key, Sequence[Flight]], now: float) -> Share:
        """What to take of what is due, one each in turns that go on where the last round ended."""
        slow = {key for key, flights in flying.items() if any(_is_slow(one, now) for one in flights)}
        slow |= {(one.tenant_id, one.endpoint_id) for one in due if one.is_failing}
        rooms = self._rooms(flying, slow, now)
        most = min(CLAIMS_MOST, self._at_once * TOTAL_FACTOR - sum(len(flights) for flights in flying.values()))
        turns = deque(self._in_turn([(one.tenant_id, one.endpoint_id) for one in due]))
        wanted: dict[Key, int] = {}
        left_out = False
        while turns:
            key = turns.popleft()
            places = 1 if key in slow else self._per_endpoint
            if len(flying.get(key, ())) + wanted.get(key, 0) >= places:
                continue
            if rooms[key in slow] <= 0 or sum(wanted.values()) >= most:
                left_out = True
                continue
            rooms[key in slow] -= 1
            wanted[key] = wanted.get(key, 0) + 1
            self._last = key
            turns.append(key)
        return Share(wanted, left_out)

    def _rooms(self, flying: Mapping[Key, Sequence[Flight]], slow: set[Key], now: float) -> dict[bool, int]:
        """Free places, for those in good standing (False) and for the others (True)."""
        counts = {True: 0, False: 0}
        for key, flights in flying.items():
            for one in flights:
                counts[key in slow or one.to_failing or now - one.since >= LINGER_SECONDS] += 1
        return {False: self._at_once - counts[False], True: max(1, self._at_once // 2) - counts[True]}

    def _in_turn(self, keys: list[Key]) -> list[Key]:
        keys.sort()
        start = 0 if self._last is None else sum(key <= self._last for key in keys)
        return keys[start:] + keys[:start]


def _is_slow(flight: Flight, now: float) -> bool:
    return now - flight.since >= SLOW_SECONDS
