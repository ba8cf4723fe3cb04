"""Two workspaces that are alike, full of everything, with every kind of key: one tries doors, the other is watched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import apsw
import httpx2
import psycopg
from gate.tests.factories import POLICY, Database, PostgresDatabase, SQLiteDatabase, World, an_ask, world
from msgspec.structs import replace
from starlette.types import ASGIApp

from stacksona_gate.domain.agents import Agent, Verifier, key_hash
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.people import Session, User
from stacksona_gate.domain.times import HOUR
from stacksona_gate.domain.webhooks import Attempt, Delivery
from stacksona_gate.main import build_app
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service import agents, people, policies, requests, reviews
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.notices import add_notice
from stacksona_gate.service.operators import create_operator_key
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.tasks import EventReport, OutcomeReport, log_event, report_outcome
from stacksona_gate.service.tenants import create_tenant, new_tenant_id
from stacksona_gate.store.base import Tx

ORIGIN: Final = "http://127.0.0.1:8420"
NOBODY: Final = {"tenant_id": "ten_" + "0" * 26, "id": "req_" + "0" * 26, "approval_id": "apr_" + "0" * 26}
NAMES: Final = ("acme", "globex")
GLOBAL: Final = frozenset(
    {"installation", "signing_keys", "log_keys", "leases", "migrations", "operator_keys", "demands", "nodes"}
)
"""Tables that belong to nobody in particular."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. ``mark`` is in all that was written for it, and in no id; ``ids`` by kind, of everything one."""

    name: str
    tenant_id: str
    mark: str
    agent: Agent
    verifier: Verifier
    users: Mapping[str, User]
    keys: Mapping[str, str]
    """By kind: agent, verifier, admin, reviewer, auditor."""
    cookies: Mapping[str, tuple[str, str]]
    """Of people by role: the cookie and the CSRF token."""
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Town:
    """Both, and the one gate that serves them."""

    world: World
    app: ASGIApp
    sides: tuple[Side, Side]
    operator: str

    def client(self) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app, client=("203.0.113.9", 40_000))
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN)


@asynccontextmanager
async def town(database: Database | None = None) -> AsyncIterator[Town]:
    async with world(database) as w:
        operator = await w.write(lambda tx: create_operator_key(tx, w.env, "the fuzzer"))
        sides = [await _side(w, name) for name in NAMES]
        app, _ = build_app(w.gate)
        yield Town(w, app, (sides[0], sides[1]), operator.secret)


async def _side(w: World, name: str) -> Side:
    tenant_id, mark = new_tenant_id(w.env), f"mark-of-{name}"
    await w.write(lambda tx: create_tenant(tx, w.env, COMMAND_LINE, tenant_id, name))
    plain = w.env.randomness(8).hex()
    people_, bot, tool = await w.write(lambda tx: _inhabit(tx, w, tenant_id, mark, plain))
    caller = await w.caller(bot.key)
    task = f"task-{plain}"
    ask = an_ask(500, subject=f"Refund {mark}", payload={"amount": 500, "note": mark})
    asked = Ask(
        ask.tool_name,
        ask.subject,
        payload=ask.payload,
        metadata={"mark": mark},
        preview=mark,
        attachments=(File(f"{mark}.txt", "text/plain", mark.encode()),),
    )
    pending = await requests.submit(w.gate, caller, task, asked, None)
    approved = await requests.submit(w.gate, caller, task + "-done", asked, None)
    allowed = await requests.submit(w.gate, caller, task + "-small", an_ask(10, subject=mark), None)
    await requests.submit(w.gate, caller, task, an_ask(tool=f"unheard-{plain}"), None)
    thread, done = pending.thread_id or "", approved.thread_id or ""
    await w.write(lambda tx: reviews.add_note(tx, w.env, people_["reviewer"], thread, f"note {mark}"))
    await w.write(lambda tx: reviews.review(tx, w.env, people_["reviewer"], done, reviews.Verdict("approve", mark, 1)))
    event = await w.write(
        lambda tx: log_event(tx, w.env, caller, task, EventReport("step", mark, {"mark": mark}, thread), None)
    )
    outcome, _ = await w.write(
        lambda tx: report_outcome(
            tx, w.env, caller, task + "-small", OutcomeReport("executed", allowed.request.id, detail=mark), None
        )
    )
    attachment = (await w.read(lambda tx: tx.conversation.list_attachments(tenant_id, pending.request.id)))[0]
    rest = await w.write(lambda tx: _rest(tx, w, tenant_id, mark, bot.made, pending.request.id, thread))
    tokens = {role: await w.write(lambda tx, r=role: _token(tx, w, people_[r])) for role in people_}  # type: ignore[misc]
    cookies = {role: await w.write(lambda tx, r=role: _session(tx, w, people_[r])) for role in people_}  # type: ignore[misc]
    await seal_now(w.gate, tenant_id)
    configuration = await w.gate.directory.configuration(tenant_id)
    rules = configuration.policy.policy.tools[f"tool-{plain}"].rules
    ids = {
        "thread_id": thread,
        "request_id": pending.request.id,
        "approved_thread": done,
        "allowed_request": allowed.request.id,
        "task_id": task,
        "agent_id": bot.made.id,
        "agent_name": bot.made.name,
        "verifier_id": tool.made.id,
        "user_id": people_["reviewer"].id,
        "email": people_["reviewer"].email,
        "token_id": tokens["reviewer"][0],
        "attachment_id": attachment.id,
        "event_id": event,
        "outcome_id": outcome,
        "token": allowed.token or "",
        "never_token": w.gate.keyring.sign(replace(allowed.request, **NOBODY), w.env.now()),
        "rule_id": rules[0].id,
        "tool": f"tool-{plain}",
        "tenant": tenant_id,
        **rest,
    }
    keys = {"agent": bot.key, "verifier": tool.key} | {role: token for role, (_, token) in tokens.items()}
    return Side(name, tenant_id, mark, bot.made, tool.made, people_, keys, cookies, ids)


def _inhabit(
    tx: Tx, w: World, tenant_id: str, mark: str, plain: str
) -> tuple[dict[str, User], agents.Created[Agent], agents.Created[Verifier]]:
    """People share their mail addresses with the other side's: what is looked up by address must not meet them."""
    rule = f"{{name: Rule {mark}, type: upper_limit, parameter: amount, limit: 9, action: review}}"
    document = POLICY + f"  tool-{plain}:\n    rules:\n      - {rule}\n"
    policies.apply_policy(tx, w.env, COMMAND_LINE, tenant_id, parse_policy(document), note=mark)
    made = {
        role: people.create_user(
            tx, w.env, COMMAND_LINE, tenant_id, f"{role}@both.example", role, "none", name=f"{role} {mark}"
        )
        for role in ("admin", "reviewer", "auditor")
    }
    bot = agents.create_agent(
        tx, w.env, w.gate.root, COMMAND_LINE, tenant_id, f"bot-{plain}", webhook_url=f"https://{mark}.example/hook"
    )
    tool = agents.create_verifier(tx, w.env, COMMAND_LINE, tenant_id, f"tool {mark}", ("issue_refund",))
    return made, bot, tool


def _rest(tx: Tx, w: World, tenant_id: str, mark: str, agent: Agent, request_id: str, thread_id: str) -> dict[str, str]:
    now = w.env.now()
    name = w.env.id("msg_", now)
    dead = Delivery(
        0, tenant_id, name, agent.id, request_id, thread_id, "test", "dead", 1, 0, now, None, None, 0, now, mark
    )
    tx.webhooks.insert(dead)
    tx.webhooks.insert_attempt(Attempt(tenant_id, dead.id, 1, now, 1, 500, None, mark))
    add_notice(tx, w.env, tenant_id, "webhook.dead", f"notice {mark}", {"agent": agent.id})
    notice = tx.notices.list_open(tenant_id, 1)[0]
    return {"delivery_id": dead.id, "notice_id": notice.id}


def _token(tx: Tx, w: World, user: User) -> tuple[str, str]:
    token, secret = people.create_token(tx, w.env, COMMAND_LINE, user, "fuzzer")
    return token.id, secret


def _session(tx: Tx, w: World, user: User) -> tuple[str, str]:
    cookie, csrf = w.env.secret(""), w.env.secret("")
    now = w.env.now()
    tx.people.insert_session(Session(user.tenant_id, key_hash(cookie), user.id, csrf, now, now + HOUR))
    return cookie, csrf


def rows_of(database: Database, tenant_id: str) -> dict[str, list[str]]:
    """Every row that is a workspace's, whatever table it is in, as text."""
    if isinstance(database, SQLiteDatabase):
        return _sqlite_rows(database.path, tenant_id)
    assert isinstance(database, PostgresDatabase)
    return _postgres_rows(database.url, tenant_id)


def _sqlite_rows(path: str, tenant_id: str) -> dict[str, list[str]]:
    file = apsw.Connection(path)
    try:
        tables = [row[0] for row in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        owned = {table: _column(table) for table in tables if table not in GLOBAL and not table.startswith("sqlite_")}
        return {
            table: sorted(map(repr, file.execute(f"SELECT * FROM {table} WHERE {column} = ?", (tenant_id,))))  # noqa: S608
            for table, column in owned.items()
        }
    finally:
        file.close()


def _postgres_rows(url: str, tenant_id: str) -> dict[str, list[str]]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        owned = {row[0]: _column(row[0]) for row in found if row[0] not in GLOBAL}
        return {
            table: sorted(
                map(repr, connection.execute(f"SELECT * FROM {table} WHERE {column} = %s", (tenant_id,)).fetchall())  # noqa: S608
            )
            for table, column in owned.items()
        }


def _column(table: str) -> str:
    return "id" if table == "tenants" else "tenant_id"


def text_of(answer: httpx2.Response) -> str:
    """All that an answer says: status line, headers and body."""
    return json.dumps([answer.status_code, sorted(answer.headers.items())]) + answer.content.decode("utf-8", "replace")
