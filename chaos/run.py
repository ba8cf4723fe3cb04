"""One run: load, faults, calm, and what is there at the end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chaos import agents, persons
from chaos.databases import PostgresDatabase
from chaos.final import FinalState, read_final
from chaos.history import OK, History, Recorder, read_history
from chaos.nemesis import Nemesis
from chaos.nodes import COMMAND, ROOT_SECRET, Node, answers, supervise, until_ready
from chaos.plan import Fault
from chaos.world import World

ASKING: Final = 8
CALM_SECONDS: Final = 4.0
"""Load after the last fault."""
ENDING_SECONDS: Final = 45.0
DELIVERY_SECONDS: Final = 100.0
"""Longer than a lease and the first retry together."""
SOON_SECONDS: Final = 35.0
"""A lease and the wait before the second try are over by then."""
LOOK_SECONDS: Final = 0.5
_WAITING: Final = "SELECT id, due_at, tries FROM deliveries WHERE state = 'pending'"
_LONG: Final = 2
"""Tries after which the next one is minutes away."""
CHECKPOINTS_SHOWN: Final = 4
"""Saved checkpoints that the command verifies an export against, the first and the last among them. The checker holds
all of them against the log."""
CONFORMANCE: Final = Path(__file__).resolve().parent.parent / "conformance/audit/verify_export.py"


@dataclass(eq=False)
class Ran:
    """What a run leaves behind."""

    history: History
    final: FinalState
    hits: dict[str, int]
    timeline: list[str]
    figures: dict[str, float] = field(default_factory=dict)


Work = Coroutine[Any, Any, None]
Beside = Callable[[World], Awaitable[None]]


async def run(world: World, out: Path, plan: Sequence[Fault], seed: str, seconds: float, beside: Beside) -> Ran:
    """``beside``: what else is done while it runs, when half of the time is over."""
    nemesis, begun = Nemesis(world.targets, world.recorder), time.monotonic()
    watching = [asyncio.create_task(work) for work in _watching(world)]
    load = [asyncio.create_task(work) for work in _load(world, seed)]
    other = asyncio.create_task(_later(begun + seconds / 2, beside, world))
    try:
        await nemesis.run(plan, begun)
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
        late = await until_ready(world.nodes)
        await asyncio.sleep(CALM_SECONDS)
        await other
        await agents.look_again(world.client, world.cast, seed)
        world.cast.stopping.set()
        _, unfinished = await asyncio.wait(load, timeout=ENDING_SECONDS)
        faults = [f"{name} did not come back after the last fault" for name in late]
        faults += [f"load: {error!r}" for error in _errors(load)]
        await _ended(unfinished)
        await _delivered(world)
    finally:
        await _ended([*watching, *load, other])
    final = await asyncio.to_thread(_final, world, out, faults)
    world.recorder.close()
    with (out / "history.jsonl").open() as lines:
        history = read_history(lines)
    final.verdicts |= await asyncio.to_thread(_verified, out, history)
    figures: dict[str, float] = {
        "hurried webhooks": sum(1 for _ in history.of("replay", outcome=OK)),
        "repeated webhooks": world.receiver.repeated,
        "node starts": sum(node.starts for node in world.nodes),
    }
    return Ran(history, final, dict(nemesis.hits), nemesis.timeline, figures)


def _load(world: World, seed: str) -> list[Work]:
    client, cast = world.client, world.cast
    return [
        *(agents.agent_at_work(client, cast, seed, number) for number in range(ASKING)),
        *(persons.reviewer_at_work(client, cast, seed, number) for number in range(len(cast.reviewers))),
        *(agents.reader_at_work(client, cast, f"{seed} {number}") for number in range(2)),
        persons.admin_at_work(client, cast, seed),
        persons.saver_at_work(client, cast, seed),
    ]


def _watching(world: World) -> list[Work]:
    return [
        supervise(world.nodes),
        _look_after(world),
        *(_probe(node, world.recorder) for node in world.nodes),
    ]


async def _look_after(world: World) -> None:
    """Whoever supervises the database."""
    while True:
        with suppress(RuntimeError, OSError):
            await asyncio.to_thread(world.database.look)
        await asyncio.sleep(LOOK_SECONDS)


async def _probe(node: Node, recorder: Recorder) -> None:
    """How long a node takes to answer what asks nothing of it: whether the machine is able."""
    while True:
        begun = time.monotonic()
        await asyncio.to_thread(answers, node.port)
        recorder.note("probe", target=node.number, seconds=round(time.monotonic() - begun, 4))
        await asyncio.sleep(LOOK_SECONDS)


async def _later(moment: float, beside: Beside, world: World) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    await beside(world)


def _errors(tasks: Sequence[asyncio.Task[None]]) -> list[BaseException]:
    """Of actors that fell over: their part of the load was missing."""
    ended = [task for task in tasks if task.done() and not task.cancelled()]
    return [error for task in ended if (error := task.exception()) is not None]


async def _ended(tasks: Sequence[asyncio.Task[None]] | set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _delivered(world: World) -> None:
    """Waits for what is on its way. What waits for minutes, for its third try, is hurried, as an admin would; on SQLite
    also what does because a clock was wrong when its second one was put down: a file's gates have one clock, and here
    they have two."""
    least = 0 if world.database.kind == "sqlite" else _LONG
    end = time.monotonic() + DELIVERY_SECONDS
    while time.monotonic() < end:
        waiting = await asyncio.to_thread(world.database.rows, _WAITING)
        if not waiting:
            return
        soon = (time.time() + SOON_SECONDS) * 1_000_000
        for name in [name for name, due_at, tries in waiting if due_at > soon and tries >= least]:
            await _replay(world, name)
        await asyncio.sleep(1.0)


async def _replay(world: World, name: str) -> None:
    request = ("POST", f"/api/admin/webhook-deliveries/{name}/replay", world.cast.admin)
    await world.client.call("replay", "admin", 0, request, delivery=name)


def _final(world: World, out: Path, faults: list[str]) -> FinalState:
    """Ends the nodes, then looks. The log is sealed to its end first."""
    crashes = [crash for node in world.nodes for crash in node.crashes]
    codes = {node.name: node.end() for node in world.nodes}
    faults = faults + crashes + [f"{name} ended with {code} when told to end" for name, code in codes.items() if code]
    _command(world, "audit", "checkpoint", "--out", str(out / "last-checkpoint"), "--force")
    _command(world, "audit", "export", "--out", str(out / "export.jsonl"), "--force")
    _command(world, "audit", "checkpoint", "--out", str(out / "last-checkpoint"), "--force")
    (out / "log.vkey").write_text(world.cast.log_keys)
    final = read_final(world.database)
    final.log_keys, final.faults = world.cast.log_keys, faults
    if isinstance(world.database, PostgresDatabase):  # a pair's logs are two, and go with it
        (out / "database.log").write_bytes((world.database.server.folder / "log").read_bytes())
    return final


def _command(world: World, *arguments: str) -> None:
    """The gate's own, beside no server. Raises what it said."""
    environment = {"PATH": str(Path(sys.executable).parent), "STACKSONA_SECRET_KEY": ROOT_SECRET}
    command = [COMMAND, *arguments, "--database", world.database.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")


def _verified(out: Path, history: History) -> dict[str, str]:
    """What two independent verifiers say about the export, against some of the checkpoints."""
    saved = [operation for operation in history.of("checkpoint") if operation.is_ok]
    step = max(1, len(saved) // CHECKPOINTS_SHOWN)
    said: dict[str, str] = {}
    for operation in [*saved[::step], *saved[-1:]]:
        note = out / f"checkpoint-{operation.number}"
        note.write_text(operation.got["checkpoint"])
        against = [str(out / "export.jsonl"), "--checkpoint", str(note), "--key", str(out / "log.vkey"), "--json"]
        said[f"audit verify at {operation.got['size']}"] = _said([COMMAND, "audit", "verify", *against])
        said[f"verify_export at {operation.got['size']}"] = _said([sys.executable, str(CONFORMANCE), *against])
        note.unlink()
    return said


def _said(command: Sequence[str]) -> str:
    """Empty when all is sound."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 0:
        return ""
    with suppress(json.JSONDecodeError):
        return json.dumps(json.loads(done.stdout))
    return (done.stdout + done.stderr)[-500:]
