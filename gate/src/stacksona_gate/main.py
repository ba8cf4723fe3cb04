"""The only place where things are wired together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stacksona_gate.config import Settings, root_secret, sqlite_path
from stacksona_gate.service.directory import Directory
from stacksona_gate.service.environment import Environment, Limits
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.installation import ensure_installation, read_keyring
from stacksona_gate.service.refusals import RefusalLog
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.service.wakeups import Wakeups
from stacksona_gate.store.base import Change, Store
from stacksona_gate.store.sqlite import SQLiteStore


def open_store(settings: Settings) -> SQLiteStore:
    """The database that the settings name, not started. Raises Invalid."""
    return SQLiteStore(sqlite_path(settings.database_url))


def environment(settings: Settings, public_url: str) -> Environment:
    limits = Limits(held_requests=settings.held_requests, discovered_tools=settings.discovered_tools)
    return Environment(public_url=(settings.public_url or public_url).rstrip("/"), limits=limits)


async def build_gate(store: Store, env: Environment, root: RootSecret) -> Gate:
    """A gate over a started store. Raises Unavailable when it could not decide or sign."""
    await store.write(lambda tx: ensure_installation(tx, env, root))
    keyring = await store.read(lambda tx: read_keyring(tx, env, root))
    gate = Gate(store, env, root, Directory(store, env), keyring, Wakeups(), RefusalLog())
    store.watch(gate.directory.changed)
    store.watch(gate.wakeups.changed)
    store.watch(_Keys(gate).changed)
    return gate


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
        gate = self._gate
        gate.keyring = await gate.store.read(lambda tx: read_keyring(tx, gate.env, gate.root))


@asynccontextmanager
async def opened(settings: Settings, public_url: str = "http://127.0.0.1:8420") -> AsyncIterator[Gate]:
    """A gate on the settings' database, closed at the end. Raises Invalid, Unavailable."""
    store = open_store(settings)
    store.start()
    try:
        yield await build_gate(store, environment(settings, public_url), RootSecret(root_secret(settings)))
    finally:
        store.close()
