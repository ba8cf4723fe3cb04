"""The gate as it is deployed: agents and a reviewer call its HTTP API, each on connections that stay open.

usage: gate_server DATABASE-URL PORT AGENT-KEY PERSONAL-TOKEN

The work is that of ``gate_library``. This process is the callers; the gate is another one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from typing import Any

import uvloop

from bench.peers import kept
from bench.peers.questions import PAUSE, TOOL, payload
from bench.peers.side import Tally, serve
from bench.prepare import get_text, post_text, request_template
from bench.wire import Line, connect


class Server:
    """Where the gate is, and who calls it."""

    def __init__(self, url: str, port: int, key: str, token: str) -> None:
        self._url = url
        self._port = port
        self._key = key
        self._token = token
        self._decided = Tally()
        self._approved = Tally()
        self._free: list[tuple[Line, Line]] = []

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        """Connections are made before the time begins, and last for it: idle ones would be closed by the gate."""
        self._free = [(await connect(self._port), await connect(self._port)) for _ in range(callers)]
        try:
            return await self._run(work, callers, seconds)
        finally:
            for agent, reviewer in self._free:
                agent.close()
                reviewer.close()

    async def _run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        if work == "decide":
            return await self._decided.run(self._decide, callers, seconds)
        pause = PAUSE if work == "wake" else 0.0

        async def once() -> float:
            return await self._approve(pause)

        return await self._approved.run(once, callers, seconds)

    async def _decide(self) -> float:
        agent, reviewer = self._free.pop()
        answer = await self._asked(agent, self._request(str(uuid.uuid4()), 40.0))
        assert answer["status"] == "allow"
        assert answer["approval_token"]
        self._free.append((agent, reviewer))
        return 0.0

    async def _approve(self, pause: float) -> float:
        (agent, reviewer), task = self._free.pop(), str(uuid.uuid4())
        thread = (await self._asked(agent, self._request(task, 400.0)))["thread_id"]
        woken = asyncio.create_task(self._wait(agent, thread, task))
        await asyncio.sleep(pause)
        clicked = time.perf_counter()
        body = json.dumps({"verdict": "approve", "revision": 1})
        path = f"/api/review/threads/{thread}/reviews"
        await self._asked(reviewer, post_text(self._port, path, self._token, body))
        took = await woken - clicked
        self._free.append((agent, reviewer))
        return took

    async def _wait(self, agent: Line, thread: str, task: str) -> float:
        """The agent's side: waits, then redeems. Returns when it may act."""
        path = f"/api/agent/decisions?thread_id={thread}&wait=60"
        answer = await self._asked(agent, get_text(self._port, path, self._key))
        token = answer["approval_token"]
        body = json.dumps({"task_id": task, "signature": token, "tool_name": TOOL, "payload": payload(400.0)})
        answer = await self._asked(agent, post_text(self._port, "/api/agent/approvals/validate", self._key, body))
        assert answer["valid"] is True
        return agent.answered_at

    def _request(self, task: str, amount: float) -> str:
        text = request_template(self._port, self._key, amount)
        return text.replace("task-%08x%08x", task)

    async def _asked(self, line: Line, text: str) -> dict[str, Any]:
        status, body = await line.ask(text)
        if status != 200:
            raise RuntimeError(f"refused: {status} {body[:300]!r}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def rows(self) -> dict[str, Any]:
        return kept.count(self._url, {"decide": self._decided.done, "approve": self._approved.done})


async def main() -> None:
    url, port, key, token = sys.argv[1:]
    server = Server(url, int(port), key, token)
    await serve({"run": server.run, "rows": server.rows})


if __name__ == "__main__":
    uvloop.run(main())
