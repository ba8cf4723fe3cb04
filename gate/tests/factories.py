"""A small world with names: a gate over a database of its own, and the people, the agent and the policy in it.

``async with world() as w:`` and then ``await w.ask(amount=500)``, ``await w.review(answer)``,
``await w.redeem(answer)``. Time stands still until ``w.clock.advance(…)``.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol, TypeVar

from gate.tests.watchman import place

from stacksona_gate.domain.agents import Agent, Verifier
from stacksona_gate.domain.approvals import Redeemed, Refused
from stacksona_gate.domain.audit import COMMAND_LINE, Entry
from stacksona_gate.domain.canonical import digest
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import User
from stacksona_gate.domain.requests import Request
from stacksona_gate.main import build_gate
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service import agents, approvals, decisions, people, policies, requests, reviews, threads
from stacksona_gate.service.directory import Caller
from stacksona_gate.service.environment import Environment, Limits
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.requests import Answer, Ask, IdempotencyKey
from stacksona_gate.service.secrets import RootSecret, hash_password
from stacksona_gate.store.base import Store, Tenant, Tx
from stacksona_gate.store.postgres import PostgresStore
from stacksona_gate.store.sqlite import SQLiteStore

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds until a wait that should have ended fails its test."""
TENANT: Final = FIRST_TENANT
START: Final = 1_795_694_400_000_000
"""2026-11-26T12:00:00Z."""
ROOT_SECRET: Final = b"a root secret of these tests, long enough"
PASSWORD: Final = "correct horse battery staple"
POLICY: Final = """
version: 1
tools:
  issue_refund:
    default: allow
    rules:
      - {name: Refunds over 250, type: upper_limit, parameter: amount, limit: 250, action: review}
      - {name: Refunds over 5000, type: upper_limit, parameter: amount, limit: 5000, action: reject}
  wire_transfer:
    strict_binding: true
"""
"""``issue_refund``: up to 250 allowed, up to 5,000 reviewed, above refused. ``wire_transfer``: always reviewed."""


class Clock:
    """Time that moves when it is told to. Microseconds since 1970 UTC."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Negative: somebody sets the clock back."""
        self.now += round(seconds * 1_000_000)


class OpenStore(Store, Protocol):
    """A store that was started."""

    def close(self) -> None: ...


class Database(Protocol):
    """One empty database. Each ``open`` is another process as far as the stores can tell."""

    @property
    def url(self) -> str: ...

    def open(self, clock: Clock | None = None) -> OpenStore:
        """``clock``: the database's own, where it has one; else that of the machine."""
        ...


@dataclass(frozen=True, slots=True)
class SQLiteDatabase:
    """A file in a folder of its own."""

    path: str

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def open(self, clock: Clock | None = None) -> SQLiteStore:
        if not Path(self.path).exists():
            _create(self.path)
        store = SQLiteStore(self.path)
        store.start()
        return store


def _create(path: str) -> None:
    """As starting a store would, whose migrations take longer than most tests."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_migrated())


@cache
def _migrated() -> bytes:
    """The file of a database in which nothing is yet."""
    with tempfile.TemporaryDirectory(prefix="gate-test-", dir=place()) as name:
        path = Path(name) / "gate.db"
        SQLiteStore(str(path)).migrate()
        return path.read_bytes()


ELSEWHERE: Final = "STACKSONA_TEST_DATABASE"
"""``postgresql``: worlds are on PostgreSQL where a test does not say otherwise."""


@contextmanager
def any_database() -> Iterator[Database]:
    """The database of tests that would hold on any."""
    if os.environ.get(ELSEWHERE) == "postgresql":
        from gate.tests.postgres import postgres_database

        with postgres_database() as made:
            yield made
    else:
        with sqlite_database() as file:
            yield file


@contextmanager
def sqlite_database() -> Iterator[SQLiteDatabase]:
    with tempfile.TemporaryDirectory(prefix="gate-test-", dir=place()) as name:
        yield SQLiteDatabase(str(Path(name) / "gate.db"))


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A database of its own on a server that the tests started or were given."""

    url: str
    listen_url: str = ""

    def open(self, clock: Clock | None = None) -> PostgresStore:
        store = PostgresStore(self.url, self.listen_url, clock=clock)
        store.start()
        return store


@dataclass(slots=True)
class World:
    """The gate and who is in it. Every call has defaults; what a test is about, it says."""

    gate: Gate
    clock: Clock
    database: Database
    agent: Agent
    key: str
    admin: User
    reviewer: User
    other_reviewer: User
    auditor: User
    tenant_id: str = TENANT

    @property
    def store(self) -> Store:
        return self.gate.store

    @property
    def env(self) -> Environment:
        return self.gate.env

    async def write(self, unit: Callable[[Tx], T]) -> T:
        return await self.gate.store.write(unit)

    async def read(self, query: Callable[[Tx], T]) -> T:
        return await self.gate.store.read(query)

    async def caller(self, key: str | None = None) -> Caller:
        return await self.gate.directory.caller(key or self.key)

    # The agent

    async def ask(
        self,
        amount: object = 500,
        *,
        task: str = "task-1",
        tool: str = "issue_refund",
        payload: dict[str, object] | None = None,
        idempotency: str | IdempotencyKey | None = None,
        caller: Caller | None = None,
        ask: Ask | None = None,
    ) -> Answer:
        """By default a refund of 500, which people must look at."""
        ask = ask or an_ask(amount, tool=tool, payload=payload)
        key = self.retry_key(idempotency, amount) if isinstance(idempotency, str) else idempotency
        return await requests.submit(self.gate, caller or await self.caller(), task, ask, key)

    def retry_key(self, key: str, amount: object = 500) -> IdempotencyKey:
        """As the API makes it; the body stands for the amount."""
        return requests.idempotency_key(
            self.agent.id, "POST", "/requests", key, "application/json", repr(amount).encode()
        )

    async def poll(self, answer: Answer, caller: Caller | None = None) -> decisions.Polled:
        selector = decisions.Selector(request_id=answer.request.id)
        return await decisions.read_decision(self.gate, caller or await self.caller(), selector)

    async def revise(
        self,
        answer: Answer,
        amount: object = 400,
        *,
        caller: Caller | None = None,
        change: threads.Change | None = None,
    ) -> Request:
        asking = caller or await self.caller()
        change = change or threads.Change(payload={"amount": amount})
        request = answer.request
        return await self.write(
            lambda tx: threads.revise(tx, self.env, asking, request.task_id, thread_of(answer), change)
        )

    async def cancel(self, answer: Answer) -> Request:
        caller = await self.caller()
        task_id = answer.request.task_id
        return await self.write(lambda tx: threads.cancel(tx, self.env, caller, task_id, thread_of(answer)))

    async def token(self, answer: Answer) -> str:
        """A fresh approval token of an allowed or approved request."""
        token = (await self.poll(answer)).answer.token
        assert token is not None
        return token

    async def approved(self, amount: object = 500, *, task: str = "task-1", tool: str = "issue_refund") -> Answer:
        """A request that people approved."""
        answer = await self.ask(amount, task=task, tool=tool)
        await self.review(answer)
        return (await self.poll(answer)).answer

    async def redeem(
        self,
        answer: Answer,
        *,
        token: str | None = None,
        task: str | None = None,
        tool: str | None = None,
        payload: dict[str, object] | None = None,
        payload_digest: str | None = None,
        caller: Caller | None = None,
        bare: bool = False,
    ) -> Redeemed | Refused:
        """Sends everything that was approved unless told otherwise; ``bare``: neither tool nor payload."""
        request = answer.request
        sent = digest(payload) if payload is not None else payload_digest or request.payload_digest
        attempt = approvals.Attempt(
            task or request.task_id,
            token or answer.token or await self.token(answer),
            None if bare else tool or request.tool_name,
            None if bare else sent,
        )
        return await approvals.redeem(self.gate, caller or await self.caller(), attempt)

    # People

    async def review(
        self,
        answer: Answer,
        verdict: str = "approve",
        *,
        by: User | None = None,
        message: str = "looked at it",
        revision: int = 1,
        payload: dict[str, object] | None = None,
    ) -> Request:
        """Raises what the review raises, and the Conflict that it returns."""
        said = reviews.Verdict(verdict, message, revision, payload)
        user = by or self.reviewer
        result = await self.write(lambda tx: reviews.review(tx, self.env, user, thread_of(answer), said))
        if isinstance(result, Conflict):
            raise result
        return result

    # Administration

    async def apply(self, document: str) -> int:
        """Makes a policy today's. Returns its version."""
        policy = parse_policy(document)
        version, _ = await self.write(
            lambda tx: policies.apply_policy(tx, self.env, COMMAND_LINE, self.tenant_id, policy)
        )
        return version

    async def pause(self) -> Agent:
        return await self.write(lambda tx: agents.pause_agent(tx, self.env, COMMAND_LINE, TENANT, self.agent.id))

    async def resume(self) -> Agent:
        return await self.write(lambda tx: agents.resume_agent(tx, self.env, COMMAND_LINE, TENANT, self.agent.id))

    async def rotate(self, overlap: int = 0) -> str:
        """The agent's new key."""
        created = await self.write(
            lambda tx: agents.rotate_agent_key(tx, self.env, COMMAND_LINE, TENANT, self.agent.id, overlap=overlap)
        )
        return created.key

    async def change_agent(self, change: agents.AgentChange) -> Agent:
        changed, _ = await self.write(
            lambda tx: agents.change_agent(tx, self.env, self.gate.root, COMMAND_LINE, TENANT, self.agent.id, change)
        )
        return changed

    async def new_agent(self, name: str, *, signed_approvals: bool = True) -> agents.Created[Agent]:
        return await self.write(
            lambda tx: agents.create_agent(
                tx, self.env, self.gate.root, COMMAND_LINE, TENANT, name, signed_approvals=signed_approvals
            )
        )

    async def new_verifier(self, *tools: str, name: str = "payments") -> agents.Created[Verifier]:
        return await self.write(
            lambda tx: agents.create_verifier(tx, self.env, COMMAND_LINE, TENANT, name, tools or ("issue_refund",))
        )

    async def new_user(self, role: str, name: str, *, hashed: str = "") -> User:
        email = f"{name.lower()}@example.com"
        return await self.write(
            lambda tx: people.create_user(tx, self.env, COMMAND_LINE, TENANT, email, role, hashed or "none", name=name)
        )

    # Evidence

    async def entries(self, event: str | None = None) -> list[Entry]:
        """The audit log, oldest first."""
        listed = await self.read(lambda tx: tx.audit.list_entries(self.tenant_id, limit=100_000))
        return [entry for _, entry in reversed(listed) if event is None or entry.event == event]

    async def stored(self, answer: Answer) -> Request:
        """The request as it is on disk."""
        found = await self.read(lambda tx: tx.requests.find(self.tenant_id, answer.request.id))
        assert found is not None
        return found


def an_ask(
    amount: object = 500, *, tool: str = "issue_refund", payload: dict[str, object] | None = None, subject: str = ""
) -> Ask:
    return Ask(tool, subject or f"Refund {amount}", payload={"amount": amount} if payload is None else payload)


def thread_of(answer: Answer) -> str:
    assert answer.thread_id is not None
    return answer.thread_id


@asynccontextmanager
async def world(
    database: Database | None = None,
    *,
    policy: str | None = POLICY,
    clock: Clock | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[World]:
    """A gate on an empty database, by default one that is gone afterwards."""
    async with AsyncExitStack() as stack:
        database = database or stack.enter_context(any_database())
        clock = clock or Clock()
        store = database.open(clock)
        stack.callback(store.close)
        env = Environment(clock=clock, randomness=os.urandom, limits=limits or Limits())
        gate = await build_gate(store, env, RootSecret(ROOT_SECRET))
        w = await _peopled(gate, clock, database)
        if policy is not None:
            await w.apply(policy)
        yield w


@asynccontextmanager
async def beside(w: World, clock: Clock | None = None) -> AsyncIterator[World]:
    """The same world through a second gate on the same database, as a second process would be; with a clock of its own
    where one is given."""
    store = w.database.open(w.clock)
    clock = clock or w.clock
    try:
        gate = await build_gate(store, Environment(clock=clock), w.gate.root)
        yield World(gate, clock, w.database, w.agent, w.key, w.admin, w.reviewer, w.other_reviewer, w.auditor)
    finally:
        store.close()


async def _peopled(gate: Gate, clock: Clock, database: Database) -> World:
    env = gate.env

    def make(tx: Tx) -> tuple[agents.Created[Agent], list[User]]:
        created = agents.create_agent(tx, env, gate.root, COMMAND_LINE, TENANT, "support-bot")
        users = [
            people.create_user(tx, env, COMMAND_LINE, TENANT, f"{name.lower()}@example.com", role, "none", name=name)
            for name, role in (("Ada", "admin"), ("Rita", "reviewer"), ("Rob", "reviewer"), ("Olga", "auditor"))
        ]
        return created, users

    created, (admin, reviewer, other, auditor) = await gate.store.write(make)
    return World(gate, clock, database, created.made, created.key, admin, reviewer, other, auditor)


async def second_tenant(w: World, tenant_id: str = "other") -> World:
    """Another workspace in the same database, with its own agent and people."""
    await w.write(lambda tx: tx.tenants.insert(Tenant(tenant_id, tenant_id.title(), 1, 0, w.env.now())))
    env = w.env

    def make(tx: Tx) -> tuple[agents.Created[Agent], User]:
        created = agents.create_agent(tx, env, w.gate.root, COMMAND_LINE, tenant_id, "their-bot")
        user = people.create_user(tx, env, COMMAND_LINE, tenant_id, "they@example.com", "admin", "none", name="They")
        return created, user

    created, user = await w.write(make)
    return World(w.gate, w.clock, w.database, created.made, created.key, user, user, user, user, tenant_id)


_HASHES: dict[str, str] = {}


def password_hash(password: str = PASSWORD) -> str:
    """Made once per run: it is slow on purpose."""
    if password not in _HASHES:
        _HASHES[password] = hash_password(password)
    return _HASHES[password]


def unique(prefix: str = "task") -> str:
    return f"{prefix}-{secrets.token_hex(6)}"
