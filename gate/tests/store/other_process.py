"""A process beside the tests' own, on the same database: says ``ready``, does each thing it is told, says so.

Things: ``migrate``, ``pause ID``, ``rotate ID``, ``policy TEXT``, ``approve THREAD USER``.
"""

from __future__ import annotations

import asyncio
import json
import sys

from gate.tests.factories import ROOT_SECRET, START, TENANT

from stacksona_gate.config import Settings
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.main import build_gate, open_store
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service import agents, policies, reviews
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.base import Tx


async def serve(url: str) -> None:
    say("ready")
    store = open_store(Settings(database_url=url))
    if hear() == ["migrate"]:
        say(json.dumps(store.migrate()))
        return
    store.start()
    gate = await build_gate(store, Environment(clock=lambda: START), RootSecret(ROOT_SECRET))
    say("open")
    while told := hear():
        say(str(await gate.store.write(lambda tx, told=told: do(tx, gate, *told))))  # type: ignore[misc]
    store.close()


def do(tx: Tx, gate: Gate, what: str, *arguments: str) -> object:
    env = gate.env
    if what == "pause":
        return agents.pause_agent(tx, env, COMMAND_LINE, TENANT, arguments[0]).state
    if what == "rotate":
        return agents.rotate_agent_key(tx, env, COMMAND_LINE, TENANT, arguments[0]).key
    if what == "policy":
        return policies.apply_policy(tx, env, COMMAND_LINE, TENANT, parse_policy(arguments[0]))[0]
    user = tx.people.find_user(TENANT, arguments[1])
    assert user is not None
    said = reviews.Verdict("approve", "from elsewhere", 1)
    result = reviews.review(tx, env, user, arguments[0], said)
    return getattr(result, "status", result)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hear() -> list[str]:
    line = sys.stdin.readline()
    return json.loads(line) if line.strip() else []


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
