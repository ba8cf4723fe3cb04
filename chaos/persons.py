"""Reviewers, the admin, and whoever saves checkpoints."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

from chaos.client import Answer, Client
from chaos.history import Facts, digest_of
from chaos.people import WIRE, Agent, Cast, Thread

VERDICTS: Final = ("approve",) * 6 + ("edit", "edit", "reject", "reject", "request_changes")
ALLOWED: Final = ("allow", "reject")
"""What the wire's rules say in turns."""


async def reviewer_at_work(client: Client, cast: Cast, seed: str, number: int) -> None:
    """Takes what waits; now and then two people decide the same thread at the same moment, differently."""
    chance = random.Random(f"reviewer {seed} {number}")
    while await cast.pause(chance, 0.05, 0.3):
        if not cast.desk:
            continue
        thread = cast.desk.popleft()
        people = [(number, chance.choice(VERDICTS))]
        if chance.random() < 0.3:
            people.append(((number + 1) % len(cast.reviewers), chance.choice(VERDICTS)))
        answers = await asyncio.gather(*(_review(client, cast, thread, *one, chance) for one in people))
        if not any(answer.is_ok or answer.status in (404, 409) for answer in answers):
            cast.desk.append(thread)


async def _review(
    client: Client, cast: Cast, thread: Thread, person: int, verdict: str, chance: random.Random
) -> Answer:
    body: Facts = {"verdict": verdict, "revision": thread.revision, "message": f"a word of reviewer {person}"}
    if verdict == "edit":
        body |= {"verdict": "approve", "payload": {"amount": 75, "currency": "usd", "order": "edited"}}
    return await client.call(
        "review",
        f"reviewer-{person}",
        chance.choice(client.nodes),
        ("POST", f"/api/review/threads/{thread.thread_id}/reviews", cast.reviewers[person]),
        body,
        asked=thread.request_id,
        verdict=body["verdict"],
        edited=verdict == "edit",
        revision=thread.revision,
    )


async def admin_at_work(client: Client, cast: Cast, seed: str) -> None:
    """Pauses and resumes agents, gives them other keys, tightens and loosens a tool's rules."""
    chance = random.Random(f"admin {seed}")
    turn = 0
    while await cast.pause(chance, 0.5, 2.0):
        turn += 1
        if turn % 4 == 1:
            await _pause(client, cast, chance.choice(cast.agents), chance)
        elif turn % 4 == 3:
            await _rotate(client, cast, chance.choice(cast.agents), chance)
        else:
            await _rule(client, cast, ALLOWED[turn // 2 % 2], chance)


async def _pause(client: Client, cast: Cast, agent: Agent, chance: random.Random) -> None:
    """And resumes, however long that takes: else nobody would ask any more."""
    await _administer(client, cast, "pause", ("PUT", f"agents/{agent.id}/pause"), None, chance, agent=agent.name)
    await cast.pause(chance, 0.1, 0.8)
    while not (
        await _administer(
            client, cast, "resume", ("DELETE", f"agents/{agent.id}/pause"), None, chance, agent=agent.name
        )
    ).is_ok and await cast.pause(chance, 0.2, 0.5):
        pass


async def _rotate(client: Client, cast: Cast, agent: Agent, chance: random.Random) -> None:
    """The old key ends at once. When nobody knows whether it did, another one is made until it is known."""
    for _ in range(200):
        old = agent.key
        answer = await _administer(
            client,
            cast,
            "rotate",
            ("POST", f"agents/{agent.id}/key"),
            {},
            chance,
            keep=lambda answer: {"made": digest_of(answer.body["key"])},
            agent=agent.name,
            key=digest_of(old),
        )
        if answer.is_ok:
            agent.key = answer.body["key"]
            if chance.random() < 0.5:
                await _use(client, agent, old, chance)
            return
        if not await cast.pause(chance, 0.2, 0.6):
            return


async def _use(client: Client, agent: Agent, old: str, chance: random.Random) -> None:
    """The key that was replaced, at once and at another node perhaps."""
    await client.call(
        "poll",
        agent.name,
        chance.choice(client.nodes),
        ("GET", "/api/agent/threads?limit=1", old),
        key=digest_of(old),
    )


async def _rule(client: Client, cast: Cast, default: str, chance: random.Random) -> None:
    await _administer(
        client,
        cast,
        "rule",
        ("PUT", f"tools/{WIRE}"),
        {"default": default},
        chance,
        tool=WIRE,
        default=default,
    )


async def _administer(
    client: Client,
    cast: Cast,
    do: str,
    request: tuple[str, str],
    body: object,
    chance: random.Random,
    **given: Any,
) -> Answer:
    method, path = request
    keep = given.pop("keep", None)
    return await client.call(
        do,
        "admin",
        chance.choice(client.nodes),
        (method, f"/api/admin/{path}", cast.admin),
        body,
        keep=keep,
        **given,
    )


async def saver_at_work(client: Client, cast: Cast, seed: str) -> None:
    """Saves the newest checkpoint, all the time, from any node."""
    chance = random.Random(f"saver {seed}")
    while await cast.pause(chance, 0.5, 1.0):
        await save_checkpoint(client, cast, chance.choice(client.nodes))


async def save_checkpoint(client: Client, cast: Cast, node: int) -> Answer:
    return await client.call(
        "checkpoint",
        "saver",
        node,
        ("GET", "/api/admin/audit/checkpoint", cast.admin),
        keep=lambda answer: {"size": answer.body["size"], "checkpoint": answer.body["checkpoint"]},
    )
