"""A bridge between the real gate and a Dify that is not: everything in this process, over its own sockets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from gate.tests.api.agent.calls import Api, api_world
from gate.tests.factories import World
from integrations.bridge.tests.fake_dify import KEY, OTHER_KEY, FakeDify, dify
from stacksona import AsyncGate
from stacksona_bridge.app import Bridge, build_bridge
from stacksona_bridge.settings import read_settings

TOKEN: Final = "caller-token-0123456789-abcdef"
OTHER_TOKEN: Final = "another-token-0123456789-abcdef"
SIGNING: Final = "a signing key of these tests that is long enough"
SECRET: Final = "whsec_" + base64.b64encode(b"secret of the agent, 32 bytes ok").decode()
KEEPER_SECRET: Final = "whsec_" + base64.b64encode(b"secret of the keeper 32 bytes ok").decode()
APPS: Final = {
    "refunds": {
        "key": KEY,
        "callers": ["shop"],
        "nodes": {
            "approval": {
                "tool": "issue_refund",
                "approve": "approve",
                "reject": "decline",
                "payload": ["amount", "currency"],
            }
        },
        "wake": {"pause": "decided"},
    },
    "other": {"key": OTHER_KEY, "callers": []},
}


def settings(url: str, gate_key: str, keeper_key: str, **changes: str) -> dict[str, str]:
    """The environment of a bridge."""
    made = {
        "BRIDGE_GATE_URL": "https://testserver",
        "BRIDGE_GATE_KEY": gate_key,
        "BRIDGE_WEBHOOK_SECRETS": SECRET,
        "BRIDGE_CALLERS": f"shop:{TOKEN},desk:{OTHER_TOKEN}",
        "BRIDGE_DIFY_URL": url,
        "BRIDGE_DIFY_APPS": json.dumps(APPS),
        "BRIDGE_SIGNING_KEYS": SIGNING,
        "BRIDGE_GATEKEEPER_KEY": keeper_key,
        "BRIDGE_GATEKEEPER_WEBHOOK_SECRETS": KEEPER_SECRET,
        "BRIDGE_HOLD_SECONDS": "5",
    }
    return {name: value for name, value in (made | changes).items() if value}


def signed(body: bytes, secret: str = SECRET, at: int | None = None) -> dict[str, str]:
    """The headers of a delivery, by the scheme and not by the code of either side."""
    when = str(int(time.time()) if at is None else at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"msg_1.{when}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": when, "webhook-signature": signature}


@dataclass
class House:
    """``keeper``: the gatekeeper's agent, as its key's holder."""

    api: Api
    dify: FakeDify
    keeper_key: str
    keeper: AsyncGate
    bridges: list[Bridge] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.api.world

    def bridge(self, **changes: str) -> httpx2.AsyncClient:
        """Another bridge, of which nothing is left but its settings."""
        config = read_settings(settings(self.dify.url, self.api.world.key, self.keeper_key, **changes))
        made = build_bridge(config)
        transport = httpx2.ASGITransport(app=self.api.app)
        made.gate = AsyncGate("https://testserver", self.api.world.key, transport=transport, patience=2)
        if made.keeper is not None:
            made.keeper = AsyncGate("https://testserver", self.keeper_key, transport=transport, patience=2)
        app = made.build()
        self.bridges.append(made)
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="https://bridge",
            headers={"authorization": f"Bearer {TOKEN}"},
        )

    async def webhook(
        self, bridge: httpx2.AsyncClient, thread_id: str, event: str = "decision.approved", secret: str = SECRET
    ) -> httpx2.Response:
        """A delivery as the gate makes it, with metadata that nobody must believe."""
        body = json.dumps({"event": event, "thread_id": thread_id, "metadata": {"dify_resume": "lies"}}).encode()
        return await bridge.post("/webhooks/gate", content=body, headers=signed(body, secret))

    async def keeper_webhook(self, bridge: httpx2.AsyncClient, thread_id: str) -> httpx2.Response:
        return await self.webhook(bridge, thread_id, secret=KEEPER_SECRET)

    async def asked(self, **fields: Any) -> Any:
        """A question of the agent, put to the gate without the bridge."""
        return await self.api.ask(**fields)

    async def threads(self, status: str = "pending_review") -> list[dict[str, Any]]:
        """Of the gatekeeper's agent."""
        found = await self.api.get("/api/agent/threads", key=self.keeper_key, status=status)
        return list(found.json()["threads"])

    async def close(self) -> None:
        for bridge in self.bridges:
            if bridge.passing is not None:
                await bridge.passing.finish()
                await bridge.passing.gatekeeper.finish()
            await bridge.client.aclose()


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    async with api_world() as api, dify() as fake:
        api.world.clock.now = time.time_ns() // 1000  # the bridge goes by the real time
        key = (await api.world.new_agent("gatekeeper")).key
        transport = httpx2.ASGITransport(app=api.app)
        made = House(api, fake, key, AsyncGate("https://testserver", key, transport=transport, patience=2))
        try:
            yield made
        finally:
            await made.close()
