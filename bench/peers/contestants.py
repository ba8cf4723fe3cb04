"""Who takes part: the gate in four ways, and the peers, each with the gate's way that is nearest to its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.postgres import create_database, postgres, version
from bench.peers.processes import CouldNotRun, Side, side
from bench.prepare import ADMIN_EMAIL, Prepared, prepare, prepare_database, settings_for
from bench.processes import serving
from bench.report import BenchBroken
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.main import opened
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import create_token
from stacksona_gate.store.base import Tx

GATES: Final = ("library.sqlite", "server.sqlite", "library.postgresql", "server.postgresql")


@dataclass(frozen=True, slots=True)
class Peer:
    """A program beside the gate. ``store`` is the gate's that it is held against, ``works`` what it can do."""

    name: str
    shown: str
    package: str
    module: str
    store: str
    works: tuple[str, ...]
    durability: str


_APPROVES: Final = ("cycle", "wake")
PEERS: Final = (
    Peer(
        "toolkit",
        "agent-governance-toolkit",
        "agent-governance-toolkit-core",
        "toolkit_approvals",
        "sqlite",
        _APPROVES,
        "memory only",
    ),
    Peer(
        "langgraph",
        "LangGraph, SQLite saver",
        "langgraph",
        "langgraph_interrupts",
        "sqlite",
        _APPROVES,
        "write-ahead log, synchronous FULL",
    ),
    Peer(
        "dbos.sqlite", "DBOS, SQLite", "dbos", "dbos_events", "sqlite", _APPROVES, "rollback journal, synchronous FULL"
    ),
    Peer("dbos", "DBOS, PostgreSQL", "dbos", "dbos_events", "postgresql", _APPROVES, "fsync on, synchronous_commit on"),
    Peer(
        "procrastinate",
        "procrastinate",
        "procrastinate",
        "procrastinate_jobs",
        "postgresql",
        ("decide",),
        "fsync on, synchronous_commit on",
    ),
    Peer(
        "pgqueuer",
        "pgqueuer",
        "pgqueuer",
        "pgqueuer_jobs",
        "postgresql",
        ("decide",),
        "fsync on, synchronous_commit on, tables logged",
    ),
)


@dataclass(frozen=True, slots=True)
class Field:
    """All sides that run, by name, and why others do not."""

    sides: dict[str, Side]
    missing: dict[str, str]
    postgresql: str


@contextmanager
def field(folder: Path) -> Iterator[Field]:
    """Everybody, started. Peers that cannot run here are named with the reason."""
    with ExitStack() as stack:
        made = Field({}, {}, "")
        try:
            address = stack.enter_context(postgres())
            made = Field(made.sides, made.missing, version(address))
        except BenchBroken as error:
            address = ""
            made.missing["postgresql"] = str(error)
        _start_gates(stack, made, folder, address)
        for peer in PEERS:
            _start_peer(stack, made, peer, folder, address)
        yield made


def _start_gates(stack: ExitStack, made: Field, folder: Path, address: str) -> None:
    for name in GATES:
        way, store = name.split(".")
        if store == "postgresql" and not address:
            continue
        file = f"gate-{way}"
        prepared = prepare(folder, file) if store == "sqlite" else prepare_database(create_database(address, file))
        arguments, server = [prepared.url, prepared.keys[0]], None
        if way == "server":
            token = asyncio.run(_personal_token(prepared))
            server = stack.enter_context(serving(prepared.url))
            arguments = [prepared.url, str(server.port), prepared.keys[0], token]
        made.sides[name] = stack.enter_context(side(f"gate_{way}", *arguments, ours=True, server=server))


def _start_peer(stack: ExitStack, made: Field, peer: Peer, folder: Path, address: str) -> None:
    if peer.store == "postgresql" and not address:
        made.missing[peer.name] = made.missing["postgresql"]
        return
    try:
        made.sides[peer.name] = stack.enter_context(side(peer.module, *_arguments(peer, folder, address)))
    except CouldNotRun as error:
        made.missing[peer.name] = f"could not run here: {error}"


def _arguments(peer: Peer, folder: Path, address: str) -> list[str]:
    if peer.name == "toolkit":
        return []
    if peer.name == "langgraph":
        return [str(folder / "langgraph.db")]
    if peer.name == "dbos.sqlite":
        return [f"sqlite:///{folder / 'dbos.db'}"]
    url = create_database(address, peer.name)
    return [url.replace("postgresql://", "postgresql+psycopg://") if peer.name == "dbos" else url]


async def _personal_token(prepared: Prepared) -> str:
    """The reviewer's, for calls without a browser."""
    async with opened(settings_for(prepared.url)) as gate:
        return await gate.store.write(lambda tx: _make_token(tx, gate))


def _make_token(tx: Tx, gate: Gate) -> str:
    user = tx.people.find_user_by_email(FIRST_TENANT, ADMIN_EMAIL)
    assert user is not None
    return create_token(tx, gate.env, COMMAND_LINE, user, "bench")[1]
