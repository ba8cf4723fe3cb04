"""Decisions while 100,000 threads a minute run out of time, against decisions alone: short windows in turn.

Half of the threads have an agent with a webhook: their ends are written to the outbox, and not sent. Sending has a
measurement of its own, and would go on into the windows without expiry.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Final

import apsw

from bench import records
from bench.decisions import check_answer
from bench.loader import Loader, Run
from bench.prepare import Prepared, prepare, question, request_template, settings_for
from bench.processes import Server, serving, settle
from bench.report import BenchBroken, Line, percentile, ratios, spread
from bench.waiting import until
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.times import SECOND
from stacksona_gate.main import opened
from stacksona_gate.service.agents import AgentChange, change_agent
from stacksona_gate.service.environment import system_clock
from stacksona_gate.service.requests import Ask, submit

_CALLERS: Final = 64
_PER_SECOND: Final = 100_000 // 60
_LEAD: Final = SECOND // 2
"""Between giving threads their last moment and the first of these."""
_DRAIN_SECONDS: Final = 60.0
_AT_ONCE: Final = 500
_WEBHOOK: Final = "https://127.0.0.1:9/hook"


@dataclass(frozen=True, slots=True)
class Expired:
    """What is on disk about threads whose time was over."""

    threads: int
    entries: int
    deliveries: int


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken."""
    rounds, seconds = (4, 3) if quick else (12, 5)
    prepared = prepare(folder, "expiry", agents=3)
    number = rounds * seconds * _PER_SECOND
    asyncio.run(_ask(prepared, number))
    with serving(prepared.path, send_nothing=True) as server:
        quiet, flooded, drains = _windows(prepared, server, loader, rounds, seconds)
    _check(prepared, number)
    return _lines(quiet, flooded, drains, _lateness(prepared))


async def _ask(prepared: Prepared, number: int) -> None:
    """Threads that wait for people: half of them of an agent with a webhook, the others of one that polls."""
    body = question(400.0)
    ask = Ask(
        tool_name="issue_refund",
        subject=str(body["subject"]),
        payload=dict(body["payload"]),  # type: ignore[call-overload]
        metadata={"run": "bench"},
        expires_in=2_592_000,
    )
    async with opened(settings_for(prepared.url)) as gate:
        change = AgentChange(webhook_url=_WEBHOOK)
        agent = prepared.agents[1]
        await gate.store.write(
            lambda tx: change_agent(tx, gate.env, gate.root, COMMAND_LINE, FIRST_TENANT, agent, change)
        )
        callers = [await gate.directory.caller(key) for key in prepared.keys[1:]]
        for some in batched(range(number), _AT_ONCE):
            await asyncio.gather(*(submit(gate, callers[i % 2], f"task-{i}", ask, None) for i in some))


def _windows(
    prepared: Prepared, server: Server, loader: Loader, rounds: int, seconds: int
) -> tuple[list[Run], list[Run], list[float]]:
    """Runs without and with a flood, in turn, and the seconds that each flood needed after its window."""
    text = request_template(server.port, prepared.keys[0])
    check_answer(server.port, text)
    loader.run(server.port, text, _CALLERS, 1)
    settle(server)
    before, runs, drains = records.count(prepared.path), dict[bool, list[Run]]({True: [], False: []}), list[float]()
    for turn in range(rounds):
        for flood in (False, True) if turn % 2 else (True, False):
            settle(server)
            if flood:
                _arm(prepared.path, seconds)
            runs[flood].append(loader.run(server.port, text, _CALLERS, seconds))
            if flood:
                drains.append(_drained(prepared.path))
    answered = sum(run.answers for run in (*runs[False], *runs[True]))
    found = records.check(before, records.count(prepared.path), answered, 2 * rounds * _CALLERS)
    print(f"expiry: rows on disk: {found}")
    return runs[False], runs[True], drains


def _arm(database: Path, seconds: int) -> None:
    """Gives as many threads as expire in a window their last moment, spread over the window."""
    number = _PER_SECOND * seconds
    with closing(apsw.Connection(str(database))) as connection:
        connection.set_busy_timeout(10_000)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(
            "WITH due AS (SELECT seq, ROW_NUMBER() OVER (ORDER BY seq) AS place FROM requests"
            " WHERE status = 'pending_review' ORDER BY seq LIMIT ?)"
            " UPDATE requests SET expires_at = ? + due.place * ? FROM due WHERE due.seq = requests.seq",
            (number, system_clock() + _LEAD, SECOND // _PER_SECOND),
        )


def _drained(database: Path) -> float:
    """Seconds until nothing that is overdue waits any more. Raises BenchBroken."""
    overdue = "SELECT COUNT(*) FROM requests WHERE status = 'pending_review' AND expires_at <= ?"
    what = "the end of threads whose time is over"
    return until(lambda: not _number(database, overdue, system_clock()), what, seconds=_DRAIN_SECONDS, every=0.02)


def _check(prepared: Prepared, number: int) -> None:
    """Every thread that was to expire did, once, with its audit entry and where there is a webhook its delivery."""
    found = Expired(
        _number(prepared.path, "SELECT COUNT(*) FROM requests WHERE reason_code = 'expired' AND status = 'rejected'"),
        _number(prepared.path, "SELECT COUNT(DISTINCT request_id) FROM audit WHERE event = 'thread.expired'"),
        _number(prepared.path, "SELECT COUNT(DISTINCT request_id) FROM deliveries WHERE event = 'decision.rejected'"),
    )
    print(f"expiry: {found}")
    if found != Expired(number, number, (number + 1) // 2):
        raise BenchBroken(f"rows on disk do not match: {found}, of {number:,} threads")


def _lateness(prepared: Prepared) -> list[float]:
    """Seconds between a thread's last moment and its rejection."""
    with closing(apsw.Connection(str(prepared.path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        rows = connection.execute("SELECT decided_at - expires_at FROM requests WHERE reason_code = 'expired'")
        return [int(str(late)) / SECOND for (late,) in rows]


def _lines(quiet: list[Run], flooded: list[Run], drains: list[float], late: list[float]) -> list[Line]:
    ratio = ratios([run.rate for run in flooded], [run.rate for run in quiet])
    p99 = ratios([run.p99 for run in flooded], [run.p99 for run in quiet])
    lateness = f"p50 {percentile(late, 50):.2f} p99 {percentile(late, 99):.2f} most {max(late):.2f} s"
    return [
        Line(f"{_CALLERS} callers, nothing expires", f"{spread([run.rate for run in quiet])}/s"),
        Line(f"{_CALLERS} callers, {_PER_SECOND:,} threads/s expire", f"{spread([run.rate for run in flooded])}/s"),
        Line("decisions while threads expire / alone", str(ratio), "at least 0.8", ratio.middle >= 0.8),
        Line("  p99 of the same", str(p99)),
        Line("  expired after their last moment", lateness),
        Line("  seconds until the rest was expired", str(spread(drains))),
    ]


def _number(database: Path, sql: str, *parameters: int) -> int:
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(10_000)
        return int(str(connection.execute(sql, parameters).get))
