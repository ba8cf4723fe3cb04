"""Everything a use-case needs, in one place. ``main.py`` builds it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from stacksona_gate.service.directory import Directory
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.kept_answers import KeptAnswers
from stacksona_gate.service.keyring import Keyring
from stacksona_gate.service.quotas import Quotas
from stacksona_gate.service.refusals import RefusalLog
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.turns import Pace, Turns
from stacksona_gate.service.wakeups import Wakeups
from stacksona_gate.store.base import Store


@dataclass(slots=True)
class Gate:
    """The running gate. ``keyring`` is replaced when signing keys change."""

    store: Store
    env: Environment
    root: RootSecret
    directory: Directory
    keyring: Keyring
    wakeups: Wakeups
    refusals: RefusalLog
    answers: KeptAnswers = field(default_factory=KeptAnswers)
    quotas: Quotas = field(init=False)
    turns: Turns = field(default_factory=Turns)
    pace: Pace = field(default_factory=Pace)
    deliveries: Counter[str] = field(default_factory=Counter)
    """Attempts by what came of them: delivered, failed, dead or stale."""
    holders: set[str] = field(default_factory=set)
    """Names under which this process takes leases."""

    def __post_init__(self) -> None:
        self.quotas = Quotas(self.store, self.env)

    def new_holder(self, prefix: str) -> str:
        """Another name under which this process takes leases: known as such from the start."""
        name = self.env.id(prefix, self.env.now())
        self.holders.add(name)
        return name

    async def earlier_now(self) -> int:
        """The time of day, by the database's clock where that is earlier: what is forgotten too early, by a node whose
        clock runs ahead, is forgotten for good. Raises Unavailable."""
        return min(self.env.now(), await self.store.read(self.env.shared_now))
