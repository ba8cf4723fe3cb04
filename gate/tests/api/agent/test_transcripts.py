"""The transcripts of conformance/agent-api, against a gate; and the guide's own call."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx2
import pytest
from gate.tests.api.agent.calls import FORM, Api, api_world

FOLDER = Path(__file__).parents[4] / "conformance/agent-api"
STORIES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
GUIDE: Final = b"""{
    "workflow_name": "Customer Support",
    "task_label": "Refund request for order #8821",
    "tool_name": "issue_refund",
    "subject": "Issue a $500 refund to customer cus_99",
    "risk_level": "high",
    "payload": { "amount": 500, "currency": "usd", "customer_id": "cus_99" }
  }"""


class Story:
    """One transcript on its way."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.kept: dict[str, str] = {}

    def filled(self, value: Any) -> Any:
        """The value with what was kept put in."""
        text = json.dumps(value)
        return json.loads(re.sub(r"\{\{(\w+)\}\}", lambda match: json.dumps(self.kept[match[1]])[1:-1], text))

    async def act(self, step: dict[str, Any]) -> None:
        step = self.filled(step)
        if step["act"] == "review":
            revision = (await self.api.get("/api/agent/decisions", thread_id=step["thread"])).json()["revision"]
            said = {"message": step["message"], "payload": step.get("payload"), "revision": revision}
            await self.api.review({"thread_id": step["thread"]}, step["verdict"], **said)
        elif step["act"] == "advance":
            self.api.world.clock.advance(step["seconds"])
        else:
            await {"pause": self.api.world.pause, "resume": self.api.world.resume}[step["act"]]()

    async def call(self, request: dict[str, Any]) -> httpx2.Response:
        asked = self.filled(request)
        headers = {"content-type": "application/json", **asked.get("headers", {})}
        content = asked.get("body", "")
        if "json" in asked:
            content = json.dumps(asked["json"])
        elif "form" in asked:
            headers["content-type"], content = FORM, urlencode(asked["form"])
        return await self.api.http.request(asked["method"], asked["path"], content=content, headers=headers)

    def keep(self, wanted: dict[str, str], answer: httpx2.Response) -> None:
        for name, place in wanted.items():
            header = place.removeprefix("header:")
            self.kept[name] = answer.headers[header] if place != header else answer.json()[place]


def holds(wanted: Any, found: Any, where: str = "") -> None:
    """An object may have more members than wanted; a list has exactly these items."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in found, f"{where}.{name}"
            holds(value, found[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(wanted) == len(found), where
        for position, (value, item) in enumerate(zip(wanted, found, strict=True)):
            holds(value, item, f"{where}[{position}]")
    else:
        assert found == wanted, where


def check(answer: httpx2.Response, expect: dict[str, Any]) -> None:
    assert answer.status_code == expect["status"], answer.text
    assert answer.headers["x-request-id"]
    assert answer.status_code < 300 or "x-gate-decision" not in answer.headers
    for name, value in expect.get("headers", {}).items():
        assert answer.headers[name] == value
    for name in expect.get("absent", ()):
        assert name not in answer.headers
    if "json" in expect:
        holds(expect["json"], answer.json())
    if "body" in expect:
        assert answer.text == expect["body"]


@pytest.mark.parametrize("told", STORIES.values(), ids=STORIES.keys())
async def test_the_gate_answers_as_the_transcript_says(told: dict[str, Any]) -> None:
    async with api_world(policy=told["policy"]) as api:
        story = Story(api)
        for step in told["steps"]:
            if "act" in step:
                await story.act(step)
                continue
            answer = await story.call(step["request"])
            story.keep(step.get("save", {}), answer)
            check(answer, story.filled(step["expect"]))


async def test_the_guides_call_works_as_it_is_printed(api: Api) -> None:
    answer = await api.http.post(
        "/api/agent/tasks/task-refund-8821/requests",
        content=GUIDE,
        headers={
            "authorization": f"Bearer {api.world.key}",
            "content-type": "application/json",
        },
    )
    assert (answer.status_code, answer.json()["status"]) == (200, "pending_review")
    assert answer.json()["warnings"] == []
    assert answer.json()["task_id"] == "task-refund-8821"


async def test_the_guides_call_works_on_a_gate_without_a_policy() -> None:
    async with api_world(policy="version: 1\n") as api:
        answer = await api.post("/api/agent/tasks/task-refund-8821/requests", raw=GUIDE)
    assert (answer.json()["status"], answer.json()["reason_code"]) == ("pending_review", "tool_unknown")
