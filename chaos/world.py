"""Everything that takes part in a run, put up and taken down: processes of our own, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gate.tests.ports import free_port

from chaos.client import Client
from chaos.databases import Database, postgres, postgres_pair, sqlite_file
from chaos.disk import Disk, mounted, workspace
from chaos.history import Recorder
from chaos.nemesis import Targets
from chaos.nodes import ROOT_SECRET, Node, end_all, until_ready
from chaos.people import Cast, make_cast
from chaos.proxy import Proxy
from chaos.receiver import Receiver
from chaos.shim import Shim, build


class WorldBroken(Exception):
    """It could not be put up: nothing was tested."""


@dataclass(eq=False)
class World:
    """A running one. ``has_shim``: whether disks and clocks can be told to misbehave."""

    nodes: list[Node]
    database: Database
    disk: Disk
    receiver: Receiver
    cast: Cast
    client: Client
    recorder: Recorder
    has_shim: bool

    @property
    def targets(self) -> Targets:
        return Targets(self.nodes, self.database, self.disk, self.receiver)


@asynccontextmanager
async def world(kind: str, out: Path, seed: str, *, nodes: int) -> AsyncIterator[World]:
    """``out``: where logs and the history go. Raises WorldBroken."""
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        (folder / "disk").mkdir()
        disk = stack.enter_context(mounted(folder / "disk"))
        library = build(folder)
        recorder = Recorder(out / "history.jsonl")
        stack.callback(recorder.close)
        if kind == "postgresql":
            shim = Shim(library, folder / "database.shim", disk.folder / "pg" / "data")
            database: Database = stack.enter_context(postgres(disk, shim))
        elif kind == "pair":
            database = stack.enter_context(postgres_pair(disk))
        else:
            database = stack.enter_context(sqlite_file(disk))
        async with AsyncExitStack() as later:
            receiver = Receiver(recorder, seed)
            await receiver.start()
            later.push_async_callback(receiver.stop)
            cast = await make_cast(database.url, ROOT_SECRET, f"http://127.0.0.1:{receiver.port}")
            receiver.agents = cast.agents
            made = [await _node(number, database, disk, folder, out, library, later) for number in range(nodes)]
            stack.callback(end_all, made)
            client = Client([node.front.port for node in made], recorder)
            later.push_async_callback(client.close)
            for node in made:
                node.start()
            late = await until_ready(made)
            if late:
                raise WorldBroken(f"{', '.join(late)} did not come up: see the logs in {out}")
            yield World(made, database, disk, receiver, cast, client, recorder, library is not None)


async def _node(
    number: int,
    database: Database,
    disk: Disk,
    folder: Path,
    out: Path,
    library: Path | None,
    later: AsyncExitStack,
) -> Node:
    """With its proxies, which run already."""
    port, url, back = free_port(), database.url, None
    if database.kind == "postgresql":
        back = Proxy(free_port(), _port_of(url), reads_postgresql=True)
        url = url.replace(f":{back.target}/", f":{back.port}/")
    front = Proxy(free_port(), port)
    for proxy in filter(None, (front, back)):
        await proxy.start()
        later.push_async_callback(proxy.stop)
    shim = Shim(library, folder / f"node-{number}.shim", disk.folder)
    return Node(number, port, url, out / f"node-{number}.log", shim, front, back)


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
