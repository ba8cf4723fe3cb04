"""pgqueuer: a job put into PostgreSQL, one commit each, in its tables that survive a crash. No worker takes them.

usage: pgqueuer_jobs DATABASE-URL
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.queries import Queries

from bench.peers.questions import TOOL, payload
from bench.peers.side import Tally, serve

_CONNECTIONS: Final = 16


class Jobs:
    """The queue, and how many jobs went in."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.queries = Queries(AsyncpgPoolDriver(pool))
        self._tally = Tally()

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        return await self._tally.run(self._enqueue, callers, seconds)

    async def _enqueue(self) -> float:
        await self.queries.enqueue(TOOL, json.dumps(payload(40.0)).encode())
        return 0.0

    async def rows(self) -> dict[str, Any]:
        jobs = await self._pool.fetchval("SELECT COUNT(*) FROM pgqueuer")
        logged = await self._pool.fetchval("SELECT COUNT(*) FROM pgqueuer_log")
        return {"done": self._tally.done, "kept": jobs, "rows": jobs + logged}


async def main() -> None:
    async with asyncpg.create_pool(sys.argv[1], min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        jobs = Jobs(pool)
        await jobs.queries.install()
        await serve({"run": jobs.run, "rows": jobs.rows})


if __name__ == "__main__":
    uvloop.run(main())
