"""procrastinate: a job put into PostgreSQL, one commit each. No worker takes them.

usage: procrastinate_jobs DATABASE-URL
"""

from __future__ import annotations

import sys
from typing import Any, Final

import procrastinate
import uvloop

from bench.peers.questions import payload
from bench.peers.side import Tally, serve

_CONNECTIONS: Final = 16


class Jobs:
    """The queue, and how many jobs went in."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app
        self._task = app.task(name="issue_refund")(refund)
        self._tally = Tally()

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        return await self._tally.run(self._enqueue, callers, seconds)

    async def _enqueue(self) -> float:
        await self._task.defer_async(arguments=payload(40.0))
        return 0.0

    async def rows(self) -> dict[str, Any]:
        jobs = await self._count("procrastinate_jobs")
        return {"done": self._tally.done, "kept": jobs, "rows": jobs + await self._count("procrastinate_events")}

    async def _count(self, table: str) -> int:
        found = await self._app.connector.execute_query_one_async(f"SELECT COUNT(*) AS rows FROM {table}")
        return int(found["rows"])


async def refund(arguments: dict[str, Any]) -> None:
    """Never runs here."""


async def main() -> None:
    connector = procrastinate.PsycopgConnector(conninfo=sys.argv[1], min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    app = procrastinate.App(connector=connector)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        jobs = Jobs(app)
        await serve({"run": jobs.run, "rows": jobs.rows})


if __name__ == "__main__":
    uvloop.run(main())
