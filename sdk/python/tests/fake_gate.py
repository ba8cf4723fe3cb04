"""A gate in a hundred lines, as strict as the contract, for what the real one is too slow for: ten thousand runs.

What the real gate does is tested with the real gate. Refunds up to 250 are allowed, up to 5,000 people look, above no.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import httpx2
import rfc8785

KEY: Final = "sg_test_only_0123456789"
HOST: Final = "gate.test"
URL: Final = f"https://{HOST}"
Reply = tuple[int, dict[str, str], bytes]

_ASK: Final = re.compile(r"/api/agent/tasks/([^/]+)/requests")
_CANCEL: Final = re.compile(r"/api/agent/tasks/([^/]+)/requests/([^/]+)/cancellation")
_EVENT: Final = re.compile(r"/api/agent/tasks/([^/]+)/events")
_OUTCOME: Final = re.compile(r"/api/agent/tasks/([^/]+)/outcomes")


@dataclass
class Record:
    """A request, and what became of it."""

    id: str
    task_id: str
    tool_name: str
    payload: dict[str, Any]
    status: str
    thread_id: str | None = None
    reason_code: str = "rule"
    revision: int = 1
    edited: bool = False
    revision_requested: bool = False
    redemptions: int = 0
    revoked: bool = False
    outcomes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return digest(self.payload)

    def approve(self, payload: dict[str, Any] | None = None) -> None:
        self.status, self.reason_code = "approved", "reviewer"
        if payload is not None and payload != self.payload:
            self.payload, self.edited, self.revision = payload, True, self.revision + 1

    def reject(self, reason_code: str = "reviewer") -> None:
        self.status, self.reason_code = "rejected", reason_code


class FakeGate:
    """Its state in the open. ``look`` is asked whenever a pending thread is read: people at work."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.calls: list[tuple[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.look: Callable[[Record], None] = lambda record: None
        self._answered: dict[tuple[str, str], tuple[bytes, Reply]] = {}

    def handle(self, request: httpx2.Request) -> Reply:
        assert request.url.host == HOST, "the key goes nowhere else"
        path = request.url.path
        self.calls.append((request.method, path))
        if path == "/.well-known/jwks.json":
            assert "authorization" not in request.headers
            return self._json(200, {"keys": []}, request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return self._problem(401, "unauthenticated", request)
        key = request.headers.get("idempotency-key")
        if key is None:
            return self._handle(request, path)
        if (path, key) in self._answered:
            body, reply = self._answered[path, key]
            if body != request.content:
                return self._problem(422, "idempotency_mismatch", request)
            return (reply[0], {**reply[1], "x-request-id": request.headers["x-request-id"]}, reply[2])
        reply = self._handle(request, path)
        if reply[0] < 300:
            self._answered[path, key] = (request.content, reply)
        return reply

    def _handle(self, request: httpx2.Request, path: str) -> Reply:
        body = json.loads(request.content) if request.content else {}
        if found := _ASK.fullmatch(path):
            return self._ask(found[1], body, request)
        if path == "/api/agent/decisions":
            return self._read(request)
        if path == "/api/agent/approvals/validate":
            return self._redeem(body, request)
        if found := _EVENT.fullmatch(path):
            return self._event(found[1], body, request)
        if found := _OUTCOME.fullmatch(path):
            return self._outcome(body, request)
        if found := _CANCEL.fullmatch(path):
            return self._cancel(found[2], request)
        return self._problem(404, "not_found", request)

    def _ask(self, task_id: str, body: dict[str, Any], request: httpx2.Request) -> Reply:
        number = len(self.records) + 1
        amount = body["payload"].get("amount", 0)
        status = "allow" if amount <= 250 else "pending_review" if amount <= 5000 else "reject"
        record = Record(f"req_{number:026d}", task_id, body["tool_name"], body["payload"], status)
        if status == "pending_review":
            record.thread_id = f"THR-{number:026d}"
        self.records[record.id] = record
        return self._decision(record, request, is_first=True)

    def _read(self, request: httpx2.Request) -> Reply:
        ((name, values),) = ((k, v) for k, v in parse_qs(request.url.query.decode()).items() if k != "wait")
        record = self.found(name, values[0])
        if record is None:
            return self._problem(404, "not_found", request)
        if record.status == "pending_review":
            self.look(record)
        return self._decision(record, request)

    def found(self, name: str, value: str) -> Record | None:
        """By ``request_id``, ``thread_id``, or ``task_id``: the newest."""
        attribute = {"request_id": "id"}.get(name, name)
        return next((one for one in reversed(self.records.values()) if getattr(one, attribute) == value), None)

    def _redeem(self, body: dict[str, Any], request: httpx2.Request) -> Reply:
        record = self.records.get(body["signature"].partition(".")[2])
        reason = None
        if record is None or record.status not in ("allow", "approved"):
            reason = "unknown"
        elif record.task_id != body["task_id"]:
            reason = "wrong_task"
        elif record.tool_name != body.get("tool_name"):
            reason = "wrong_tool"
        elif (
            body.get("payload_digest") != record.digest or digest(body.get("payload", record.payload)) != record.digest
        ):
            reason = "payload_mismatch"
        elif record.redemptions or record.revoked:
            reason = "already_used" if record.redemptions else "revoked"
        if reason is not None or record is None:
            return self._problem(403, "approval_refused", request, valid=False, reason=reason)
        record.redemptions += 1
        answer = {
            "valid": True,
            "status": record.status,
            "thread_id": record.thread_id,
            "request_id": record.id,
            "task_id": record.task_id,
            "tool_name": record.tool_name,
            "payload": record.payload,
            "payload_digest": record.digest,
            "redeemed_at": "2026-11-26T12:00:00Z",
        }
        return self._json(200, answer, request)

    def _event(self, task_id: str, body: dict[str, Any], request: httpx2.Request) -> Reply:
        if body["event_type"] != "revision":
            self.events.append(body)
            return self._json(201, {"event_id": f"evt_{len(self.events)}"}, request)
        record = self.found("thread_id", body["thread_id"])
        if record is None or record.status != "pending_review":
            return self._problem(409, "already_decided", request)
        record.payload = body.get("payload", record.payload)
        record.revision, record.revision_requested = record.revision + 1, False
        return self._decision(record, request)

    def _outcome(self, body: dict[str, Any], request: httpx2.Request) -> Reply:
        record = self.records[body["request_id"]]
        record.outcomes.append(body["status"])
        flag = None if record.redemptions else "not_redeemed"
        return self._json(201, {"outcome_id": f"out_{len(record.outcomes)}", "flag": flag}, request)

    def _cancel(self, thread_id: str, request: httpx2.Request) -> Reply:
        record = self.found("thread_id", thread_id)
        if record is None or record.status != "pending_review":
            return self._problem(409, "already_decided", request)
        record.reject("cancelled")
        return self._decision(record, request)

    def _decision(self, record: Record, request: httpx2.Request, *, is_first: bool = False) -> Reply:
        answer: dict[str, Any] = {
            "status": record.status,
            "request_id": record.id,
            "task_id": record.task_id,
            "reason_code": record.reason_code,
            "message": "",
            "rule": None,
            "policy_version": 1,
            "payload_digest": record.digest,
            "revision": record.revision,
            "metadata": {},
            "warnings": [],
        }
        if record.thread_id is not None:
            answer["thread_id"] = record.thread_id
        if record.status == "pending_review":
            answer["revision_requested"] = record.revision_requested
            answer["review_url"] = f"{URL}/inbox/{record.thread_id}"
        if not is_first:
            answer |= {"decision": record.status, "tool_name": record.tool_name, "payload": record.payload}
            answer |= {"edited": record.edited, "reviews": []}
        if record.status in ("allow", "approved"):
            state = "redeemed" if record.redemptions else "revoked" if record.revoked else "open"
            answer["approval_state"] = state
            if state == "open":
                answer["approval_token"] = f"token.{record.id}"
        headers = {"x-gate-decision": record.status, "etag": f'"{record.status}{record.revision}{record.edited}"'}
        return self._json(200, answer, request, headers)

    def _json(
        self, status: int, answer: dict[str, Any], request: httpx2.Request, headers: dict[str, str] | None = None
    ) -> Reply:
        named = {"content-type": "application/json", "x-request-id": request.headers["x-request-id"]}
        return status, named | (headers or {}), json.dumps(answer).encode()

    def _problem(self, status: int, code: str, request: httpx2.Request, **more: object) -> Reply:
        answer = {
            "type": f"urn:stacksona:problem:{code}",
            "title": code,
            "status": status,
            "detail": "no",
            "code": code,
        }
        reply = self._json(status, answer | more, request)
        return reply[0], {**reply[1], "content-type": "application/problem+json"}, reply[2]


def digest(payload: dict[str, Any]) -> str:
    return "sha-256:" + hashlib.sha256(rfc8785.dumps(payload)).hexdigest()
