"""The transcripts of conformance/agent-api, told by the client: what they expect is what it gives or raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from gate.tests.api.agent.test_transcripts import Story, holds
from sdk.python.tests.real_gate import Real, real_gate

from stacksona import ActionRequest, AsyncGate, CallRefused, GateError, InvalidRequest, RedemptionRefused

FOLDER = Path(__file__).parents[3] / "conformance/agent-api"
STORIES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
FIELDS: Final = frozenset(ActionRequest.__dataclass_fields__)


class Told:
    """One story; ``spoken`` counts the steps that the client itself took."""

    def __init__(self, real: Real) -> None:
        self.real = real
        self.story = Story(real.api)
        self.spoken = 0

    async def step(self, step: dict[str, Any]) -> None:
        if "act" in step:
            await self.story.act(step)
            return
        request = self.story.filled(step["request"])
        call = self.said(request)
        if call is None:
            answer = await self.story.call(step["request"])
            self.story.keep(step.get("save", {}), answer)
            return
        self.spoken += 1
        try:
            result = await call
        except GateError as error:
            self.check_error(error, step["expect"])
            return
        self.keep(step.get("save", {}), result)
        self.check_result(result, self.story.filled(step["expect"]))

    def said(self, request: dict[str, Any]) -> Any:
        """The client's own way to say it; None when it never says such a thing: forms, broken bodies, other headers."""
        headers, body = request.get("headers", {}), request.get("json")
        path, query = urlsplit(request["path"]).path, parse_qs(urlsplit(request["path"]).query)
        if not headers.keys() <= {"idempotency-key"} or {"form", "body"} & request.keys():
            return None
        client = self.real.client
        task_id = path.split("/")[4] if path.startswith("/api/agent/tasks/") else ""
        if path.endswith("/requests") and body is not None and {"subject"} <= body.keys() <= FIELDS:
            key = headers.get("idempotency-key")
            return client.request_decision(ActionRequest(task_id=task_id, idempotency_key=key, **body))
        if path == "/api/agent/decisions" and "wait" not in query:
            return client.get_decision(**{name: values[0] for name, values in query.items()})
        if path.endswith("/cancellation"):
            return client.cancel(task_id, path.split("/")[6])
        return None if body is None else self.said_with_body(client, path, task_id, dict(body))

    def said_with_body(self, client: AsyncGate, path: str, task_id: str, body: dict[str, Any]) -> Any:
        if path.endswith("/validate") and {"tool_name", "signature"} <= body.keys():
            return client.validate_approval(body.pop("signature"), **body)
        if path.endswith("/outcomes"):
            return client.report_outcome(task_id, body.pop("status"), **body)
        if path.endswith("/events") and body.pop("event_type", "") == "revision" and "thread_id" in body:
            return client.log_revision(task_id, body.pop("thread_id"), **body)
        return None

    def keep(self, wanted: dict[str, str], result: Any) -> None:
        for name, place in wanted.items():
            self.story.kept[name] = result.etag if place == "header:etag" else getattr(result, place)

    def check_error(self, error: GateError, expect: dict[str, Any]) -> None:
        assert expect["status"] >= 400, error
        if isinstance(error, InvalidRequest):
            return  # seen before the gate would have seen it
        wanted = expect.get("json", {})
        if isinstance(error, RedemptionRefused):
            assert error.reason == wanted["reason"]
            return
        assert isinstance(error, CallRefused)
        assert error.status == expect["status"]
        assert error.code == wanted.get("code", error.code)

    def check_result(self, result: Any, expect: dict[str, Any]) -> None:
        if expect["status"] == 409:
            assert result.reason_code == "cancelled"  # cancelled twice is cancelled
            return
        assert expect["status"] in (200, 201)
        status = getattr(result, "status", "")
        found = json.loads(json.dumps({**vars(result), "valid": True, "decision": status}, default=vars))
        holds(expect.get("json", {}), found)
        assert expect.get("headers", {}).get("x-gate-decision", status) == status


@pytest.mark.parametrize("name", STORIES)
async def test_the_client_tells_the_story(name: str) -> None:
    told = STORIES[name]
    async with real_gate(policy=told["policy"]) as real:
        story = Told(real)
        for step in told["steps"]:
            await story.step(step)
    assert story.spoken or name in ("errors", "forms", "warnings")
