"""Agents: they ask, wait, revise, cancel, redeem several at once through several nodes, and report."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.client import Answer, Client
from chaos.history import OK, UNKNOWN, Facts, digest_of
from chaos.people import REFUND, WIRE, Agent, Cast, Thread
from stacksona_gate.domain.status import APPROVED, MAY_RUN, PENDING_REVIEW

RETRIES: Final = 4
WAITS: Final = 8
HELD_SECONDS: Final = 5
STREAM_SECONDS: Final = 8.0
AGAIN_MOST: Final = 300


def decision_kept(answer: Answer) -> Facts:
    """Of a decision's answer, what the history keeps."""
    body = answer.body
    kept = {
        "request": body.get("request_id"),
        "thread": body.get("thread_id"),
        "status": body.get("status"),
        "reason": body.get("reason_code"),
        "digest": body.get("payload_digest"),
        "revision": body.get("revision"),
        "policy": body.get("policy_version"),
    }
    token = body.get("approval_token")
    return kept | ({"token": digest_of(token), "approval": approval_of(token)} if token else {})


def approval_of(token: str) -> str:
    """The id of the approval that a token is for."""
    claims = token.split(".")[1]
    value = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return str(value["jti"])


@dataclass(slots=True)
class Case:
    """One question from its asking to its outcome."""

    client: Client
    cast: Cast
    agent: Agent
    chance: random.Random
    name: str
    tool: str = REFUND
    amount: int = 0
    request_id: str = ""
    thread_id: str = ""
    digest: str = ""
    seen: Facts = field(default_factory=dict)

    @property
    def task(self) -> str:
        return f"task-{self.name}"

    def node(self) -> int:
        return self.chance.choice(self.client.nodes)

    async def run(self) -> None:
        answer = await self.ask()
        if answer is None:
            return
        self._keep(answer)
        self.cast.known.append((self.agent, self.request_id))
        if self.seen["status"] == PENDING_REVIEW:
            self.cast.desk.append(Thread(self.agent, self.thread_id, self.request_id, int(self.seen["revision"])))
            if self.chance.random() < 0.06:
                await self.cancel()
            answer = await self.wait() or answer
        if answer.body.get("status") in MAY_RUN:
            await self.act(answer)

    # Asking

    async def ask(self) -> Answer | None:
        """The first answer; None when there was none, or a refusal. Asks again with the same key while it is not known
        what became of it, and once more although it is known: that must be the same answer."""
        self.tool = WIRE if self.chance.random() < 0.15 else REFUND
        self.amount = self.chance.choice((20, 400, 400, 700, 9000))
        body: Facts = {"tool_name": self.tool, "subject": f"Refund {self.name}", "payload": self.payload()}
        if self.chance.random() < 0.1:
            body["expires_in"] = 30
        for _ in range(RETRIES):
            answer = await self._asked(body)
            if answer.is_ok and self.chance.random() < 0.2:
                await self._asked(body)
            if answer.is_ok:
                return answer
            if answer.status and answer.status < 500:
                return None
            if not await self.cast.pause(self.chance, 0.1, 1.0):
                return None
        return None

    async def _asked(self, body: object) -> Answer:
        path = f"/api/agent/tasks/{self.task}/requests"
        return await self.client.call(
            "submit",
            self.agent.name,
            self.node(),
            ("POST", path, self.agent.key),
            body,
            headers={"Idempotency-Key": self.name},
            keep=decision_kept,
            task=self.task,
            tool=self.tool,
            amount=self.amount,
            key=digest_of(self.agent.key),
        )

    def payload(self) -> Facts:
        return {"amount": self.amount, "currency": "usd", "order": self.name}

    def _keep(self, answer: Answer) -> None:
        self.seen = decision_kept(answer)
        self.request_id = str(self.seen["request"])
        self.thread_id = str(self.seen["thread"] or "")
        self.digest = str(self.seen["digest"])

    # Waiting

    async def wait(self) -> Answer | None:
        """The decision, read in one of the ways there are; None when it did not come in time."""
        how = self.chance.choice((self._poll, self._hold, self._listen))
        etag = ""
        for _ in range(WAITS):
            answer = await how(etag)
            if answer is not None and answer.is_ok and answer.body:
                etag = answer.etag
                self._keep(answer)
                if answer.body["status"] != PENDING_REVIEW:
                    return answer
                if answer.body.get("revision_requested"):
                    await self.revise()
            if not await self.cast.pause(self.chance, 0.1, 0.6):
                return None
        return None

    async def _poll(self, etag: str) -> Answer:
        return await self.read("poll", f"/api/agent/decisions?request_id={self.request_id}")

    async def _hold(self, etag: str) -> Answer:
        path = f"/api/agent/decisions?thread_id={self.thread_id}&wait={HELD_SECONDS}"
        return await self.read("held", path, {"If-None-Match": etag} if etag else {})

    async def read(self, do: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        return await self.client.call(
            do,
            self.agent.name,
            self.node(),
            ("GET", path, self.agent.key),
            headers=headers,
            keep=decision_kept,
            asked=self.request_id,
            key=digest_of(self.agent.key),
        )

    async def _listen(self, etag: str) -> Answer | None:
        node, path = self.node(), f"/api/agent/decisions/stream?thread_id={self.thread_id}"
        recorder = self.client.recorder
        number = recorder.begin("stream", self.agent.name, node, asked=self.request_id, key=digest_of(self.agent.key))
        heard = await self.client.events(node, path, self.agent.key, STREAM_SECONDS)
        told = [decision_kept(answer) for answer in heard]
        recorder.end(number, "stream", OK if told else UNKNOWN, told=told)
        return heard[-1] if heard else None

    # While it waits

    async def revise(self) -> None:
        self.amount = self.chance.choice((300, 450, 800))
        body = {"event_type": "revision", "thread_id": self.thread_id, "payload": self.payload()}
        path = f"/api/agent/tasks/{self.task}/events"
        answer = await self._change("revise", path, body)
        if answer.status == 200:
            self._keep(answer)
            self.cast.desk.append(Thread(self.agent, self.thread_id, self.request_id, int(self.seen["revision"])))

    async def cancel(self) -> None:
        await self._change("cancel", f"/api/agent/tasks/{self.task}/requests/{self.thread_id}/cancellation", {})

    async def _change(self, do: str, path: str, body: object) -> Answer:
        return await self.client.call(
            do,
            self.agent.name,
            self.node(),
            ("POST", path, self.agent.key),
            body,
            keep=decision_kept,
            asked=self.request_id,
            key=digest_of(self.agent.key),
        )

    # Acting

    async def act(self, answer: Answer) -> None:
        """Redeems, and says what became of it. A liar says that it ran the action without redeeming first."""
        token, payload = answer.body.get("approval_token"), answer.body.get("payload", self.payload())
        if self.chance.random() < 0.03:
            await self.report("executed")
            return
        if token is None:
            return
        if self.chance.random() < 0.15 and not await self.cast.pause(self.chance, 1.0, 6.0):
            return  # a pause may come in between
        tries = self.chance.choice((1, 2, 3, 5))
        outcomes = await asyncio.gather(*(self.redeem(token, payload) for _ in range(tries)))
        if OK not in outcomes and UNKNOWN in outcomes:
            outcomes.append(await self.redeem(token, payload))
        if OK in outcomes and self.chance.random() < 0.9:
            await self.report("executed")

    async def redeem(self, token: str, payload: object) -> str:
        """Through any node, by the agent or by the tool's verifier."""
        by_verifier = self.chance.random() < 0.3
        key = self.cast.verifier if by_verifier else self.agent.key
        body = {"task_id": self.task, "signature": token, "tool_name": self.tool, "payload": payload}
        answer = await self.client.call(
            "redeem",
            "verifier" if by_verifier else self.agent.name,
            self.node(),
            ("POST", "/api/agent/approvals/validate", key),
            body,
            keep=lambda answer: {"status": answer.body.get("status"), "digest": answer.body.get("payload_digest")},
            asked=self.request_id,
            agent=self.agent.name,
            token=digest_of(token),
            approval=approval_of(token),
            key=digest_of(key),
        )
        return answer.outcome

    async def report(self, status: str) -> None:
        path, body = f"/api/agent/tasks/{self.task}/outcomes", {"status": status, "request_id": self.request_id}
        await self.client.call(
            "report",
            self.agent.name,
            self.node(),
            ("POST", path, self.agent.key),
            body,
            keep=lambda answer: {"flag": answer.body.get("flag"), "report": answer.body.get("outcome_id")},
            asked=self.request_id,
            status=status,
            key=digest_of(self.agent.key),
        )


async def agent_at_work(client: Client, cast: Cast, seed: str, number: int) -> None:
    """One question after the other until it is over."""
    chance = random.Random(f"agent {seed} {number}")
    count = 0
    while await cast.pause(chance, 0.05, 0.4):
        count += 1
        agent = chance.choice(cast.agents)
        await Case(client, cast, agent, chance, f"{number}-{count}").run()


async def reader_at_work(client: Client, cast: Cast, seed: str) -> None:
    """Somebody who looks again, at any node, at what was told before."""
    chance = random.Random(f"reader {seed}")
    while await cast.pause(chance, 0.05, 0.25):
        if not cast.known:
            continue
        agent, request_id = chance.choice(cast.known)
        await _looked(client, agent, request_id, chance)
        if chance.random() < 0.05:
            await _listed(client, agent, chance)


async def look_again(client: Client, cast: Cast, seed: str) -> None:
    """At the end, once more at some of all that was told."""
    chance = random.Random(f"again {seed}")
    for agent, request_id in chance.sample(cast.known, min(AGAIN_MOST, len(cast.known))):
        await _looked(client, agent, request_id, chance)


async def _looked(client: Client, agent: Agent, request_id: str, chance: random.Random) -> None:
    await client.call(
        "poll",
        agent.name,
        chance.choice(client.nodes),
        ("GET", f"/api/agent/decisions?request_id={request_id}", agent.key),
        keep=decision_kept,
        asked=request_id,
        key=digest_of(agent.key),
    )


async def _listed(client: Client, agent: Agent, chance: random.Random) -> None:
    """A page of what was approved."""

    def kept(answer: Answer) -> Facts:
        listed: list[Any] = answer.body.get("threads", [])
        return {"told": [decision_kept(Answer(OK, 200, one)) for one in listed]}

    await client.call(
        "list",
        agent.name,
        chance.choice(client.nodes),
        ("GET", f"/api/agent/threads?status={APPROVED}&limit=20&cursor={chance.randrange(2000)}", agent.key),
        keep=kept,
        key=digest_of(agent.key),
    )
