"""LangGraph: a node that interrupts for approval and goes on, every step on disk before the next (its SQLite saver).

usage: langgraph_interrupts FILE

One piece of work: run the graph up to the interrupt, resume it with the approval, run it to its end.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from typing import Any, TypedDict

import uvloop
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from bench.peers.questions import PAUSE, TOOL, payload
from bench.peers.side import Tally, serve


class State(TypedDict, total=False):
    """What the graph carries."""

    tool: str
    arguments: dict[str, Any]
    verdict: str
    resumed: float


async def gate(state: State) -> State:
    """Asks a person; runs again from its top when resumed."""
    verdict = interrupt({"tool": state["tool"], "arguments": state["arguments"]})
    return {"verdict": verdict, "resumed": time.perf_counter()}


class Graph:
    """The graph over its saver, and how often it ran."""

    def __init__(self, saver: AsyncSqliteSaver) -> None:
        self._saver = saver
        self._tally = Tally()
        building = StateGraph(State)
        building.add_node("gate", gate)
        building.add_edge(START, "gate")
        building.add_edge("gate", END)
        self._graph = building.compile(checkpointer=saver)

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        pause = PAUSE if work == "wake" else 0.0

        async def once() -> float:
            return await self._approve(pause)

        return await self._tally.run(once, callers, seconds)

    async def _approve(self, pause: float) -> float:
        config = {"configurable": {"thread_id": str(uuid.uuid4())}}
        await self._graph.ainvoke({"tool": TOOL, "arguments": payload()}, config, durability="sync")
        await asyncio.sleep(pause)
        clicked = time.perf_counter()
        state = await self._graph.ainvoke(Command(resume="approve"), config, durability="sync")
        if state["verdict"] != "approve":
            raise RuntimeError("the graph was not approved")
        return float(state["resumed"] - clicked)

    async def rows(self) -> dict[str, Any]:
        threads, checkpoints = await self._count("COUNT(DISTINCT thread_id), COUNT(*)", "checkpoints")
        resumed, writes = await self._count(
            "COUNT(DISTINCT CASE channel WHEN 'verdict' THEN thread_id END), COUNT(*)", "writes"
        )
        return {"done": self._tally.done, "kept": min(threads, resumed), "rows": checkpoints + writes}

    async def _count(self, what: str, table: str) -> tuple[int, int]:
        async with self._saver.conn.execute(f"SELECT {what} FROM {table}") as cursor:
            row = await cursor.fetchone()
        return int(row[0]), int(row[1])


async def main() -> None:
    async with AsyncSqliteSaver.from_conn_string(sys.argv[1]) as saver:
        await saver.setup()
        graph = Graph(saver)
        await serve({"run": graph.run, "rows": graph.rows})


if __name__ == "__main__":
    uvloop.run(main())
