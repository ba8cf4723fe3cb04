"""Several gates on one PostgreSQL database, each the real command in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gate.tests.cli.processes import COMMAND, Json, Running, running
from gate.tests.factories import ROOT_SECRET, TENANT, Clock, PostgresDatabase, World, world
from gate.tests.faults.crowd import PATIENCE, Crowd
from gate.tests.outbox import until
from gate.tests.ports import free_port
from gate.tests.service.test_exports import exported, verdicts

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.main import build_gate
from stacksona_gate.service.environment import Environment, system_clock
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.people import create_token

SOUND: Final = (0, 0)


@dataclass(slots=True)
class Site:
    """The database's address, who asks and who decides, and the gates that run."""

    url: str
    w: World
    """Closed; see ``reopened``."""
    token: str
    """Of a person who reviews."""
    saved: str
    """A checkpoint of before anybody asked."""
    environment: dict[str, str]
    ports: list[int] = field(default_factory=list)
    gates: list[Running] = field(default_factory=list)

    @contextmanager
    def gate(self, url: str = "") -> Iterator[tuple[int, Running]]:
        """One more, answering; its port."""
        port = free_port()
        with running(COMMAND, "serve", "--port", str(port), **self.named(url)) as process:
            process.line("Stacksona Gate on", str(port))
            yield port, process

    def named(self, url: str = "") -> dict[str, str]:
        """Environment variables of whatever runs on the database."""
        return {
            "STACKSONA_SECRET_KEY": ROOT_SECRET.decode(),
            "STACKSONA_DATABASE_URL": url or self.url,
            **self.environment,
        }

    @asynccontextmanager
    async def crowd(self) -> AsyncIterator[Crowd]:
        """Agents and reviewers at every gate, busy until the end of the block."""
        made = Crowd(self.ports, self.w.key, self.token)
        try:
            async with made.busying():
                yield made
        except BaseException as error:
            error.add_note("\n".join("".join(gate.errors[-30:]) for gate in self.gates))
            raise

    @asynccontextmanager
    async def reopened(self, url: str = "") -> AsyncIterator[World]:
        """The world in this process, beside the gates."""
        database = PostgresDatabase(url or self.url)
        store = database.open()
        try:
            gate = await build_gate(store, Environment(clock=self.w.clock), self.w.gate.root)
            yield replace(self.w, gate=gate, database=database)
        finally:
            store.close()

    async def log_verdicts(self, folder: Path) -> tuple[int, int]:
        """Of both verifiers, on the log as it is now against the checkpoint that was saved."""
        async with self.reopened() as w:
            return verdicts(folder, await exported(w), saved=self.saved)


@asynccontextmanager
async def site(url: str, *, gates: int = 2, **environment: str) -> AsyncIterator[Site]:
    """With so many gates."""
    async with world(PostgresDatabase(url), clock=Clock(system_clock())) as w:
        _, token = await w.write(lambda tx: create_token(tx, w.env, COMMAND_LINE, w.reviewer, "phone"))
        saved = await seal_now(w.gate, TENANT)
    made = Site(url, w, token, saved.note, environment)
    with ExitStack() as stack:
        for _number in range(gates):
            port, process = stack.enter_context(made.gate())
            made.ports.append(port)
            made.gates.append(process)
        yield made


async def answers(what: Callable[[], tuple[int, Json]], status: int, seconds: float = PATIENCE) -> Json:
    """The answer once it has this status."""
    told: list[tuple[int, Json]] = []

    async def as_awaited() -> bool:
        told.append(await asyncio.to_thread(what))
        return told[-1][0] == status

    await until(as_awaited, seconds)
    return told[-1][1]
