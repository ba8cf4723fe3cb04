"""The only place where things are wired together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from starlette.routing import Router
from starlette.types import ASGIApp

from stacksona_gate.api import operations
from stacksona_gate.api.admin.routes import ADMIN_OPERATIONS
from stacksona_gate.api.agent.context import Context
from stacksona_gate.api.agent.routes import OPERATIONS as AGENT_OPERATIONS
from stacksona_gate.api.docs import DOCS_OPERATIONS, DocsContext
from stacksona_gate.api.installation.routes import INSTALLATION_OPERATIONS
from stacksona_gate.api.installation.tenants import InstallationContext
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.protocol import GateProtocol
from stacksona_gate.api.review.export import thread_document as thread_document  # the command line writes it too
from stacksona_gate.api.review.routes import REVIEW_OPERATIONS
from stacksona_gate.api.routing import build_routes, not_found
from stacksona_gate.api.server import GRACE_SECONDS, GateServer
from stacksona_gate.api.watching import Watch
from stacksona_gate.config import Settings, is_postgresql, root_secret, sqlite_path, variable
from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.mail import Post, mail_server
from stacksona_gate.delivery.publishing import LOOK_SECONDS, Publisher
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.delivery.worker import DeliveryWorker
from stacksona_gate.domain.errors import GateError, Invalid
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.tenants import TenantLimits
from stacksona_gate.domain.times import DAY
from stacksona_gate.faultpoints import fault_points
from stacksona_gate.service.deliveries import delete_over, list_over
from stacksona_gate.service.directory import Directory
from stacksona_gate.service.environment import Environment, Limits
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.holds import TELL_SECONDS, Holds, SharedHolds
from stacksona_gate.service.installation import ensure_installation, read_keyring, read_keys
from stacksona_gate.service.log_keys import ensure_log_key
from stacksona_gate.service.people import FAILURE_WINDOW, new_setup_code
from stacksona_gate.service.quotas import ROUND_SECONDS
from stacksona_gate.service.refusals import RefusalLog
from stacksona_gate.service.retention import expire_content
from stacksona_gate.service.sealer import SEAL_SECONDS, Sealer
from stacksona_gate.service.secrets import RootSecret, RootWrapping
from stacksona_gate.service.sweeping import keep_sweeping
from stacksona_gate.service.wakeups import Wakeups
from stacksona_gate.store.base import Change, DatabaseStore, Store, Tx
from stacksona_gate.store.copying import (
    Copied as Copied,  # the command line prints it
    Side,
    copy,
    require_empty,
)
from stacksona_gate.store.sqlite import SQLiteStore
from stacksona_gate.store.sqlite_copying import SQLiteSide
from stacksona_gate.telemetry.spans import Spans, spans_of
from stacksona_gate.web.routes import missing, routes as web_routes

log = logging.getLogger(__name__)


def open_store(settings: Settings) -> DatabaseStore:
    """The database that the settings name, not started. Raises Invalid."""
    if is_postgresql(settings.database_url):
        from stacksona_gate.store.postgres import PostgresStore  # its driver, for those who need it

        return PostgresStore(
            settings.database_url,
            settings.listen_url,
            partition_rows=settings.partition_rows,
            reached=fault_points(),
        )
    return open_file(settings)


def open_file(settings: Settings) -> SQLiteStore:
    """The SQLite file that the settings name, not started. Raises Invalid."""
    return SQLiteStore(sqlite_path(settings.database_url), reached=fault_points())


def copy_database(source_url: str, target_url: str, told: Callable[[str], None]) -> Copied:
    """Copies a database into an empty one, whose tables are made where they are missing. ``told`` hears of progress.

    Raises Invalid, NotFound, Conflict, Unavailable: then the target has empty tables at most.
    """
    with closing(_side(source_url)) as source:
        if is_postgresql(target_url) or Path(sqlite_path(target_url)).exists():
            with closing(_side(target_url, writing=True)) as target:
                require_empty(target)  # before its tables are touched: it may have been named by mistake
        open_store(Settings(database_url=target_url)).migrate()
        with closing(_side(target_url, writing=True)) as target:
            copied = copy(source, target, told)
            target.commit()
    return copied


def _side(database_url: str, *, writing: bool = False) -> Side:
    if is_postgresql(database_url):
        from stacksona_gate.store.postgres_copying import PostgresSide

        return PostgresSide(database_url, writing=writing)
    return SQLiteSide(sqlite_path(database_url))


def environment(settings: Settings, public_url: str, spans: Spans | None = None) -> Environment:
    limits = Limits(
        held_requests=settings.held_requests,
        discovered_tools=settings.discovered_tools,
        deliveries_per_endpoint=settings.deliveries_per_endpoint,
        deliveries_at_once=settings.deliveries_at_once,
        tenant=TenantLimits(
            settings.tenant_requests_per_second,
            settings.tenant_pending_threads,
            settings.tenant_stored_requests,
            settings.tenant_stored_megabytes,
        ),
    )
    made = Environment(public_url=(settings.public_url or public_url).rstrip("/"), limits=limits, spans=spans)
    reached = fault_points()
    return made if reached is None else replace(made, reached=reached)


async def build_gate(store: Store, env: Environment, root: RootSecret) -> Gate:
    """A gate over a started store. Raises Unavailable when it could not decide or sign."""
    store.unlock(RootWrapping(root, env))
    await store.write(lambda tx: _install(tx, env, root))
    keyring = await store.read(lambda tx: read_keyring(tx, env, root))
    gate = Gate(store, env, root, Directory(store, env), keyring, Wakeups(), RefusalLog())
    store.watch(gate.directory.changed)
    store.watch(gate.answers.changed)
    store.watch(gate.wakeups.changed)
    store.watch(_Keys(gate).changed)
    return gate


def _install(tx: Tx, env: Environment, root: RootSecret) -> None:
    ensure_installation(tx, env, root)
    ensure_log_key(tx, env, root)


class _Keys:
    """Reads the signing keys again when configuration moved."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self, changes: Sequence[Change]) -> None:
        if any(not change.request_id for change in changes):
            task = asyncio.get_running_loop().create_task(self._read())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        with contextlib.suppress(GateError):  # the store is closed or away: the next change reads them again
            await read_keys(self._gate)


@asynccontextmanager
async def opened(
    settings: Settings, public_url: str = "http://127.0.0.1:8420", spans: Spans | None = None
) -> AsyncIterator[Gate]:
    """A gate on the settings' database, closed at the end. Raises Invalid, Unavailable."""
    store = open_store(settings)
    store.start()
    store.trace(spans)
    try:
        installed = await store.read(lambda tx: tx.installations.find()) is not None
        root = RootSecret(root_secret(settings, make=not installed))
        gate = await build_gate(store, environment(settings, public_url, spans), root)
        gate.quotas.is_shared = is_postgresql(settings.database_url)
        yield gate
    finally:
        store.close()


Ready = Callable[[Gate, str], Awaitable[None]]

HOUSEKEEPING_SECONDS: Final = 3600.0
PARTITION_SECONDS: Final = 60.0
CLEARED_MOST: Final = 200
"""Deliveries per transaction of the housekeeping."""
KEYS_MOST: Final = 500
"""Idempotency keys per transaction of the same."""
GARBAGE_EVERY: Final = 20_000
"""Allocations between two looks for cycles: decisions make none, and the default looks every few of them."""


def build_app(gate: Gate, access_log: str = "none") -> tuple[ASGIApp, Context]:
    """Everything that is served. ``access_log``: as the setting."""
    context = Context(gate, Holds(gate.env.limits.held_requests))
    watch = Watch(gate.env.measures, access_log, gate.env.spans)
    routes = [
        *build_routes(AGENT_OPERATIONS, context, context.refused, watch),
        *build_routes(operations.OPERATIONS, context, watch=watch),
        *build_routes(DOCS_OPERATIONS, DocsContext(gate.env.public_url), watch=watch),
        # Flood counting is shared; who may call is not: an agent's key never reaches a person's handler.
        *build_routes(
            (*REVIEW_OPERATIONS, *ADMIN_OPERATIONS), PeopleContext(gate, context.draining), context.refused, watch
        ),
        *build_routes(INSTALLATION_OPERATIONS, InstallationContext(gate), context.refused, watch),
        *web_routes(gate, context.draining),
    ]
    return Router(routes, redirect_slashes=False, default=missing(gate, not_found)), context


def run(settings: Settings, host: str, port: int, *, ready: Ready | None = None) -> None:
    """Serves in an event loop of its own until the process is told to end. As ``serve``."""
    uvloop.run(serve(settings, host, port, ready=ready))


async def serve(settings: Settings, host: str, port: int, *, ready: Ready | None = None) -> None:
    """Serves until the process is told to end. Raises Invalid, Unavailable when it cannot decide: it never serves half.

    ``ready`` is called once the address answers, with the gate and its public address.
    """
    tune_interpreter()
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    async with tracing() as spans, opened(settings, url, spans) as gate:
        app, context = build_app(gate, settings.access_log)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=GateProtocol,
            lifespan="on",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            forwarded_allow_ips=settings.forwarded_allow,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = GateServer(config, context, notice_seconds=settings.drain_seconds)
        async with background(gate, context.holds), delivering(gate, settings):
            waiting = asyncio.create_task(_when_started(server, gate, ready))
            await server.serve()
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting


@asynccontextmanager
async def tracing() -> AsyncIterator[Spans | None]:
    """Spans as the standard ``OTEL_…`` variables ask for them, the last ones sent at the end. Raises Invalid."""
    try:
        spans = spans_of(os.environ)
    except ValueError as error:
        raise Invalid(str(error)) from None
    try:
        yield spans
    finally:
        if spans is not None:
            await asyncio.to_thread(spans.close)


def tune_interpreter() -> None:
    """Settings of the process that the measurements in docs/adr/0001 and 0002 rest on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_EVERY, 20, 50)


async def _when_started(server: uvicorn.Server, gate: Gate, ready: Ready | None) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        if ready is not None:
            await ready(gate, gate.env.public_url)
    except BaseException:
        server.should_exit = True  # half a start is none
        raise


@asynccontextmanager
async def background(gate: Gate, holds: Holds) -> AsyncIterator[None]:
    """What runs beside the answers: expiry and reminders, and clearing out what is over."""
    sealer, shared = Sealer(gate), SharedHolds(gate, holds)
    tasks = [
        asyncio.create_task(keep_sweeping(gate)),
        asyncio.create_task(repeat(lambda: clear_out(gate), HOUSEKEEPING_SECONDS)),
        asyncio.create_task(repeat(lambda: tend_partitions(gate), PARTITION_SECONDS)),
        asyncio.create_task(repeat(sealer.round, SEAL_SECONDS)),
        asyncio.create_task(repeat(gate.quotas.round, ROUND_SECONDS)),
        asyncio.create_task(repeat(shared.round, TELL_SECONDS)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stop in (sealer.stop, shared.stop):
            with contextlib.suppress(GateError):
                await stop()


@asynccontextmanager
async def delivering(gate: Gate, settings: Settings) -> AsyncIterator[None]:
    """Webhooks are sent, checkpoints published; at the end, webhooks on their way get a few seconds."""
    guard = AddressGuard.of(settings.allowed_networks, settings.allowed_hosts)
    sender = Sender(guard, settings.outgoing_proxy or None)
    worker = DeliveryWorker(gate, sender)
    publisher = publisher_of(gate, sender, settings)
    worker.start()
    publishing = asyncio.create_task(repeat(publisher.round, LOOK_SECONDS))
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await publisher.stop()
        await worker.stop()


def publisher_of(gate: Gate, sender: Sender, settings: Settings) -> Publisher:
    """Raises Invalid when the mail server's address is none."""
    try:
        post = Post(mail_server(settings.smtp_url)) if settings.smtp_url else None
    except ValueError as error:
        raise Invalid(f"{variable('smtp_url')}: {error}") from None
    folder = Path(settings.checkpoint_folder) if settings.checkpoint_folder else None
    return Publisher(gate, sender, folder=folder, post=post)


async def clear_out(gate: Gate) -> None:
    """Forgets what no longer counts: idempotency keys of the days before yesterday, sessions, failed sign-ins, webhooks
    that were sent long ago."""
    now = await gate.earlier_now()
    await tend_partitions(gate)
    if "replays" not in gate.store.parted:
        await _forget_keys(gate, now // DAY - 1)
    await gate.store.write(lambda tx: tx.people.delete_sessions_before(now), holds=True)
    await gate.store.write(lambda tx: tx.people.delete_failures_before(now - FAILURE_WINDOW), holds=True)
    await expire_content(gate)
    if "deliveries" not in gate.store.parted:
        await _delete_deliveries(gate, now)


async def _delete_deliveries(gate: Gate, now: int) -> None:
    over = await gate.store.scan(lambda tx: list_over(tx, now, CLEARED_MOST))
    while over:
        await gate.store.write(lambda tx, some=over: delete_over(tx, some), holds=True)  # type: ignore[misc]
        over = await gate.store.scan(lambda tx: list_over(tx, now, CLEARED_MOST))


async def tend_partitions(gate: Gate) -> None:
    """Partitions are made before they are needed, and go when all that is in them is over."""
    for line in await gate.store.tend(gate.env.now()):
        log.info("%s", line)


async def _forget_keys(gate: Gate, day: int) -> None:
    """Piece by piece: a busy day has millions, and a transaction of that size would keep decisions waiting till they
    give up. Between two pieces as long as one takes."""
    for tenant in await gate.store.scan(lambda tx: tx.tenants.list_all()):
        while await _forget_some_keys(gate, tenant.id, day) == KEYS_MOST:
            pass


async def _forget_some_keys(gate: Gate, tenant_id: str, day: int) -> int:
    begun = gate.env.monotonic()
    forgotten = await gate.store.write(lambda tx: tx.replays.delete_before(tenant_id, day, KEYS_MOST), holds=True)
    await asyncio.sleep(gate.env.monotonic() - begun)
    return forgotten


async def repeat(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Goes on until it is cancelled, whatever a round ends in: nothing else would begin it again."""
    while True:
        try:
            await work()
        except GateError as error:  # the store is away
            log.debug("put off to the next round: %s", error)
        except Exception:
            log.exception("put off to the next round")
        await asyncio.sleep(seconds)


async def setup_link(gate: Gate) -> str | None:
    """The one-time link to make the first admin; None when there is one already.

    The code travels in the fragment, which browsers do not send: it reaches no log.
    """
    code = await gate.store.write(lambda tx: new_setup_code(tx, gate.env, FIRST_TENANT))
    return None if code is None else f"{gate.env.public_url}/setup#{code}"
