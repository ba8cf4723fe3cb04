"""The gate's policy alone: no request, no store, no token."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.peers.judging import handlers
from bench.peers.questions import TOOL
from bench.peers.side import serve
from bench.prepare import POLICY
from stacksona_gate.policy.evaluate import CompiledPolicy, Question
from stacksona_gate.policy.parse import parse_policy


def main() -> None:
    policy = CompiledPolicy(parse_policy(POLICY))

    def judge(payload: dict[str, Any]) -> str:
        return policy.evaluate(Question(TOOL, payload, "low", "refunds")).status

    asyncio.run(serve(handlers(judge)))


if __name__ == "__main__":
    main()
