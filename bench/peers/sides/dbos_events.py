"""DBOS: a durable workflow that waits for a message, and somebody who sends it.

usage: dbos_events DATABASE-URL

One piece of work: start the workflow, send it the approval, have its result. On PostgreSQL it is told of messages by
NOTIFY; on SQLite it looks for them, here a hundred times as often as by default.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
import uuid
from typing import Any, Final

import sqlalchemy
import uvloop
from dbos import DBOS, SetWorkflowID

from bench.peers.questions import PAUSE, TOOL, payload
from bench.peers.side import Tally, serve

_LOOK_SECONDS: Final = 0.01
_resumed: dict[str, float] = {}


async def refund(tool: str, arguments: dict[str, Any]) -> str:
    """Waits for a person, then would act."""
    approved = await DBOS.recv_async("approval", timeout_seconds=60)
    _resumed[str(DBOS.workflow_id)] = time.perf_counter()
    return f"{tool}: {approved}"


class Workflows:
    """What runs, and how often it did."""

    def __init__(self, url: str) -> None:
        self._engine = sqlalchemy.create_engine(url)
        self._schema = "" if url.startswith("sqlite") else "dbos."
        self._tally = Tally()
        self._workflow = DBOS.workflow()(refund)

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        pause = PAUSE if work == "wake" else 0.0

        async def once() -> float:
            return await self._approve(pause)

        return await self._tally.run(once, callers, seconds)

    async def _approve(self, pause: float) -> float:
        name = str(uuid.uuid4())
        with SetWorkflowID(name):
            handle = await DBOS.start_workflow_async(self._workflow, TOOL, payload())
        await asyncio.sleep(pause)
        clicked = time.perf_counter()
        await DBOS.send_async(name, "approve", "approval")
        if await handle.get_result() != f"{TOOL}: approve":
            raise RuntimeError("the workflow was not approved")
        return _resumed.pop(name) - clicked

    async def rows(self) -> dict[str, Any]:
        counts = [
            self._count("workflow_status", " WHERE status = 'SUCCESS'"),
            self._count("notifications"),
            self._count("operation_outputs"),
        ]
        return {"done": self._tally.done, "kept": counts[0], "rows": sum(counts)}

    def _count(self, table: str, where: str = "") -> int:
        with self._engine.connect() as connection:
            return int(
                connection.execute(sqlalchemy.text(f"SELECT COUNT(*) FROM {self._schema}{table}{where}")).scalar()
            )


async def main() -> None:
    url = sys.argv[1]
    if url.startswith("sqlite") and sqlite3.sqlite_version_info < (3, 42):  # its times are written with 'subsec'
        sys.exit(f"its tables need SQLite 3.42, and this Python has {sqlite3.sqlite_version}")
    DBOS(
        config={
            "name": "refunds",
            "system_database_url": url,
            "notification_listener_polling_interval_sec": _LOOK_SECONDS,
            "log_level": "ERROR",
            "enable_otlp": False,
        }
    )
    workflows = Workflows(url)
    DBOS.launch()
    try:
        await serve({"run": workflows.run, "rows": workflows.rows})
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    uvloop.run(main())
