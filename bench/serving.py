"""The server's process: the gate's own wiring, plus the routes that only a measurement needs.

usage: python -m bench.serving DATABASE PORT [--store-nothing] [--send-nothing] [--tell-nothing]
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import uvloop
from starlette.routing import Router
from starlette.types import ASGIApp

from bench.prepare import ADMIN_EMAIL, settings_for
from stacksona_gate import main as wiring
from stacksona_gate.api.agent.context import Context
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.routing import Operation, build_routes
from stacksona_gate.config import Settings, is_postgresql, sqlite_path
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import User
from stacksona_gate.logs import configure_logging
from stacksona_gate.service import reviews
from stacksona_gate.service.gate import Gate
from stacksona_gate.store.base import Change, DatabaseStore, Stored, Submission, Submitted, Tx
from stacksona_gate.store.postgres import PostgresStore
from stacksona_gate.store.sqlite import SQLiteStore

_BODY_MOST: Final = 4 * 1024 * 1024


class NullStore(SQLiteStore):
    """A store that keeps no decision: everything but the disk and the writer's thread. Reads are real."""

    async def submit(self, submission: Submission) -> Submitted:
        return Stored()


class NullPostgresStore(PostgresStore):
    """The same on PostgreSQL."""

    async def submit(self, submission: Submission) -> Submitted:
        return Stored()


async def get_null(context: Context, call: Call) -> Reply:
    """The least that an endpoint can do."""
    return json_reply({"status": "ok"})


async def post_approvals(context: Context, call: Call) -> Reply:
    """Approves the threads of the body, each in a use-case of its own, as clicks at the same moment would."""
    gate = context.gate
    threads: list[str] = msgspec.json.decode(await call.body(_BODY_MOST))
    user = await gate.store.read(_admin)
    await asyncio.gather(*(_approve(gate, user, thread_id) for thread_id in threads))
    return json_reply({"approved": len(threads)})


async def _approve(gate: Gate, user: User, thread_id: str) -> None:
    verdict = reviews.Verdict("approve", "", 1)
    await gate.store.write(lambda tx: reviews.review(tx, gate.env, user, thread_id, verdict))


def _admin(tx: Tx) -> User:
    user = tx.people.find_user_by_email(FIRST_TENANT, ADMIN_EMAIL)
    assert user is not None
    return user


OPERATIONS: Final = (
    Operation("GET", "/null", get_null, "Bench", None),
    Operation("POST", "/bench/approvals", post_approvals, "Bench", None),
)


def _router(app: Any) -> Router:
    """The gate's router, below whatever is wrapped around it."""
    while not isinstance(app, Router):
        app = app.app
    return app


def _add_routes() -> None:
    """First in the table: the null endpoint is as fast as an endpoint can be."""
    build_app = wiring.build_app

    def with_bench(gate: Gate, access_log: str = "none") -> tuple[ASGIApp, Context]:
        app, context = build_app(gate, access_log)
        _router(app).routes[:0] = build_routes(OPERATIONS, context)
        return app, context

    wiring.build_app = with_bench


def _store_nothing() -> None:
    def open_null(settings: Settings) -> DatabaseStore:
        if is_postgresql(settings.database_url):
            return NullPostgresStore(settings.database_url)
        return NullStore(sqlite_path(settings.database_url))

    wiring.open_store = open_null


def _send_nothing() -> None:
    @asynccontextmanager
    async def delivering(gate: Gate, settings: Settings) -> AsyncIterator[None]:
        yield

    wiring.delivering = delivering


def _tell_nothing() -> None:
    from stacksona_gate.store import postgres
    from stacksona_gate.store.postgres_changes import Notifier

    class Silent(Notifier):
        def tell(self, changes: Sequence[Change]) -> None:
            """As if every notification were lost."""

    postgres.Notifier = Silent  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("port", type=int)
    parser.add_argument("--store-nothing", action="store_true")
    parser.add_argument("--send-nothing", action="store_true")
    parser.add_argument("--tell-nothing", action="store_true")
    given = parser.parse_args()
    _add_routes()
    if given.tell_nothing:
        _tell_nothing()
    if given.send_nothing:
        _send_nothing()
    if given.store_nothing:
        _store_nothing()
    settings = settings_for(given.database)
    configure_logging(settings)
    uvloop.run(wiring.serve(settings, "127.0.0.1", given.port))


if __name__ == "__main__":
    main()
