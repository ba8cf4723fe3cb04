"""Prepares the demo's workspace and says what is in it."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from stacksona_gate.demo.agent import DemoAgent, Wire
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.policy.parse import parse_policy
from stacksona_gate.service.agents import create_agent, rotate_agent_key
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import change_user, create_user
from stacksona_gate.service.policies import apply_policy, current_policy
from stacksona_gate.service.secrets import hash_password
from stacksona_gate.store.base import Tx

AGENT: Final = "demo-agent"
REVIEWER: Final = "reviewer@example.com"
ADMIN: Final = "admin@example.com"
PEOPLE: Final = {REVIEWER: "reviewer", ADMIN: "admin"}


@dataclass(frozen=True, slots=True)
class World:
    """What is shown once."""

    agent_key: str
    passwords: Mapping[str, str]


async def prepare(gate: Gate) -> World:
    """Makes what is missing; what cannot be shown again, keys and passwords, is made anew. Raises Unavailable."""
    passwords = {email: base64.b32encode(gate.env.randomness(15)).decode().lower() for email in PEOPLE}
    hashes = {email: await asyncio.to_thread(hash_password, password) for email, password in passwords.items()}
    policy = parse_policy(_text("policy.yaml"))

    def unit(tx: Tx) -> str:
        for email, hashed in hashes.items():
            _let_in(tx, gate.env, email, hashed)
        if current_policy(tx, FIRST_TENANT).version == 0:  # a policy that somebody has changed stays as it is
            apply_policy(tx, gate.env, COMMAND_LINE, FIRST_TENANT, policy, note="the demo's")
        return _agent_key(tx, gate)

    return World(await gate.store.write(unit), passwords)


def _let_in(tx: Tx, env: Environment, email: str, password_hash: str) -> None:
    user = tx.people.find_user_by_email(FIRST_TENANT, email)
    if user is None:
        create_user(
            tx, env, COMMAND_LINE, FIRST_TENANT, email, PEOPLE[email], password_hash, name=PEOPLE[email].title()
        )
    else:
        change_user(tx, env, COMMAND_LINE, FIRST_TENANT, user.id, active=True, password_hash=password_hash)


def _agent_key(tx: Tx, gate: Gate) -> str:
    if tx.agents.find_by_name(FIRST_TENANT, AGENT) is None:
        return create_agent(tx, gate.env, gate.root, COMMAND_LINE, FIRST_TENANT, AGENT).key
    return rotate_agent_key(tx, gate.env, COMMAND_LINE, FIRST_TENANT, AGENT).key


class Demo:
    """What runs beside the served gate: the welcome, and the agent in a thread of its own."""

    def __init__(self, world: World, url: str, say: Callable[[str], None]) -> None:
        self._world = world
        self._url = url
        self._say = say
        self._stopped = threading.Event()

    def start(self, public_url: str) -> None:
        """Once the address answers."""
        self._say(welcome(self._world, self._url, public_url))
        agent = DemoAgent(Wire(self._url, self._world.agent_key, self._stopped), self._say)
        threading.Thread(target=agent.run, name="demo-agent", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()


def welcome(world: World, url: str, public_url: str) -> str:
    """Where to go, how to get in, and the guide's own example, ready to paste."""
    return f"""\
Stacksona Gate demo, on {url}

  inbox      {public_url}/inbox
  reviewer   {REVIEWER}   {world.passwords[REVIEWER]}
  admin      {ADMIN}      {world.passwords[ADMIN]}
  agent key  {world.agent_key}

Ask it something yourself, in another terminal:

export STACKSONA_GATE_URL={url}
export STACKSONA_API_KEY={world.agent_key}

{_text("curl.txt")}
The demo agent asks about three refunds. Ctrl-C ends the demo; started again it goes on with the same data.
"""


def _text(name: str) -> str:
    return resources.files("stacksona_gate.demo").joinpath(name).read_text("utf-8")
