"""An agent that asks before it acts, over HTTP, with Python's standard library alone.

Also on its own, with STACKSONA_GATE_URL and STACKSONA_API_KEY set: ``python -m stacksona_gate.demo.agent``
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

TOOL: Final = "issue_refund"
TASKS: Final = "demo-"
"""Its own tasks begin with this: with the same key others may ask too."""
HOLD_SECONDS: Final = 50
FIRST_BACK_OFF: Final = 0.25
LAST_BACK_OFF: Final = 5.0
EARLIER_MOST: Final = 20

Json = dict[str, Any]

REFUNDS: Final[tuple[Json, ...]] = (
    {"amount": 40, "currency": "usd", "customer_id": "cus_41", "reason": "late delivery", "confidence": 0.97},
    {"amount": 500, "currency": "usd", "customer_id": "cus_99", "reason": "wrong item", "confidence": 0.93},
    {"amount": 9000, "currency": "usd", "customer_id": "cus_7", "reason": "cancelled event", "confidence": 0.95},
)


class Refused(Exception):
    """The gate answered, and not with what was asked for."""


class Stopped(Exception):
    """The demo is told to end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with its body as JSON."""

    status: int
    etag: str | None
    retry_after: float | None
    body: Json


class Wire:
    """Calls the gate, again and again while it is away; no refusal is repeated."""

    def __init__(self, url: str, key: str, stopped: threading.Event) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = (parts.hostname or "", parts.port)
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._stopped = stopped

    def get(self, path: str, query: Mapping[str, str], *, known: str | None = None) -> Answer:
        """Raises Refused, Stopped."""
        headers = {} if known is None else {"If-None-Match": known}
        return self._answered("GET", f"{path}?{urlencode(query)}", None, headers)

    def post(self, path: str, body: Json, *, idempotency_key: str | None = None) -> Answer:
        """With an Idempotency-Key a repeated call is the same call. Raises Refused, Stopped."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._answered("POST", path, json.dumps(body).encode(), headers)

    def rest(self, seconds: float) -> None:
        """Raises Stopped."""
        if self._stopped.wait(seconds):
            raise Stopped

    def _answered(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        back_off = FIRST_BACK_OFF
        while True:
            answer = self._try(method, path, body, headers)
            if answer is not None and answer.status not in (429, 503):
                break
            asked_for = (answer.retry_after if answer else None) or 0.0
            self.rest(max(back_off, asked_for))
            back_off = min(back_off * 2, LAST_BACK_OFF)
        if answer.status >= 300:
            raise Refused(str(answer.body.get("reason") or answer.body.get("detail") or answer.status))
        return answer

    def _try(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer | None:
        """None when there was no answer: the call may have arrived or not."""
        connection = self._connection(*self._address, timeout=HOLD_SECONDS + 15)
        try:
            connection.request(method, self._path + path, body, self._headers | headers)
            return _read(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


def _read(response: http.client.HTTPResponse) -> Answer:
    """Raises ValueError for a body that is no JSON object."""
    body = json.loads(response.read() or b"{}")
    if not isinstance(body, dict):
        raise ValueError("no object")
    after = response.getheader("Retry-After", "")
    return Answer(response.status, response.getheader("ETag"), float(after) if after.isdigit() else None, body)


class DemoAgent:
    """Refunds nothing without asking; asks about three refunds and waits for what people say."""

    def __init__(self, wire: Wire, say: Callable[[str], None]) -> None:
        self._wire = wire
        self._say = say

    def run(self) -> None:
        """Until everything asked about is settled, or the demo ends."""
        try:
            self._run()
        except Stopped:
            return
        except Refused as refused:
            self._tell(f"the gate refuses this agent: {refused}")

    def _run(self) -> None:
        waiting = self._earlier()
        for decision in waiting:
            self._tell(f"asked before this start, {decision['status']}: {_named(decision['payload'])}")
        run = secrets.token_hex(4)
        for number, payload in enumerate(REFUNDS, 1):
            decision = self._ask(f"{TASKS}{run}-{number}", payload)
            self._tell(_first_line(decision, payload))
            if decision["status"] == "allow":
                self._act(decision, payload)
            elif decision["status"] == "pending_review":
                waiting.append(decision)
        self._follow_all(waiting)

    def _ask(self, task_id: str, payload: Json) -> Json:
        body = {
            "tool_name": TOOL,
            "subject": f"Refund {_money(payload)} to {payload['customer_id']}",
            "workflow_name": "Demo",
            "task_label": f"Refund: {payload['reason']}",
            "payload": payload,
        }
        return self._wire.post(f"/api/agent/tasks/{task_id}/requests", body, idempotency_key=task_id).body

    def _earlier(self) -> list[Json]:
        """What an earlier run of this agent left: still pending, or approved meanwhile and not yet used."""
        found: list[Json] = []
        for query in ({"status": "pending_review"}, {"status": "approved", "redeemed": "false"}):
            page = self._wire.get("/api/agent/threads", {"tool": TOOL, "limit": "200"} | query).body
            found += [decision for decision in page["threads"] if decision["task_id"].startswith(TASKS)]
        return found[-EARLIER_MOST:]

    def _follow_all(self, waiting: list[Json]) -> None:
        threads = [threading.Thread(target=self._follow, args=(one,), daemon=True) for one in waiting]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _follow(self, decision: Json) -> None:
        try:
            self._settle(self._decided(decision["thread_id"]))
        except Stopped:
            return
        except Refused as refused:
            self._tell(f"the gate refuses this agent: {refused}")

    def _decided(self, thread_id: str) -> Json:
        """Holds one long poll open after another until people have decided."""
        etag, asked_changes = None, False
        while True:
            began = time.monotonic()
            query = {"thread_id": thread_id, "wait": str(HOLD_SECONDS)}
            answer = self._wire.get("/api/agent/decisions", query, known=etag)
            if answer.body["status"] != "pending_review":
                return answer.body
            if answer.body.get("revision_requested") and not asked_changes:
                asked_changes = True
                self._tell(f'the reviewer asks for changes: "{answer.body.get("feedback")}"; this agent makes none')
            etag = answer.etag
            self._wire.rest(max(0.0, 1.0 - (time.monotonic() - began)))

    def _settle(self, decision: Json) -> None:
        payload = decision["payload"]  # what was approved, which may not be what was asked
        words = f': "{decision["message"]}"' if decision.get("message") else ""
        edited = ", edited by the reviewer" if decision.get("edited") else ""
        self._tell(f"{_named(payload)}: {decision['status']} ({decision['reason_code']}{edited}){words}")
        if decision["status"] != "approved":
            self._tell("  not refunded")
        elif self._act(decision, payload):
            self._redeem_again(decision, payload)

    def _act(self, decision: Json, payload: Json) -> bool:
        """Redeems the approval, and only then runs the action."""
        try:
            self._redeem(decision, payload)
        except Refused as refused:
            self._tell(f"  not refunded, the approval is not good: {refused}")
            return False
        self._tell(f"  approval redeemed, refunded {_money(payload)} to {payload['customer_id']}")
        outcome = {
            "request_id": decision["request_id"],
            "status": "executed",
            "payload_digest": decision["payload_digest"],
            "detail": "the demo's bank made the transfer",
        }
        path = f"/api/agent/tasks/{decision['task_id']}/outcomes"
        self._wire.post(path, outcome, idempotency_key=f"outcome-{decision['request_id']}")
        self._tell("  outcome reported: executed")
        return True

    def _redeem(self, decision: Json, payload: Json) -> None:
        """Raises Refused: then the action must not run."""
        if not decision.get("approval_token"):
            raise Refused(str(decision.get("approval_state") or "no token was given"))
        body = {
            "task_id": decision["task_id"],
            "signature": decision["approval_token"],
            "tool_name": TOOL,
            "payload": payload,
            "payload_digest": decision["payload_digest"],
        }
        if self._wire.post("/api/agent/approvals/validate", body).body.get("valid") is not True:
            raise Refused("not valid")

    def _redeem_again(self, decision: Json, payload: Json) -> None:
        try:
            self._redeem(decision, payload)
        except Refused as refused:
            self._tell(f"  a second redemption of the same approval is refused: {refused}")
        else:
            self._tell("  a second redemption was accepted: this must never happen")

    def _tell(self, line: str) -> None:
        """What people wrote is shown without what a terminal would act on."""
        self._say("[demo agent] " + "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line))


def _first_line(decision: Json, payload: Json) -> str:
    rule = (decision.get("rule") or {}).get("name")
    why = f"rule {rule}: {decision['message']}" if rule else decision["message"]
    line = f"{_named(payload)}: {decision['status']} ({why})"
    if decision["status"] == "pending_review":
        return f"{line}; decide at {decision['review_url']}"
    return line if decision["status"] == "allow" else f"{line}; not refunded"


def _named(payload: Json) -> str:
    return f"refund of {_money(payload)} to {payload.get('customer_id')}"


def _money(payload: Json) -> str:
    return f"{payload.get('amount')} {payload.get('currency')}"


def main() -> None:
    """Asks the gate of the environment."""
    wire = Wire(os.environ["STACKSONA_GATE_URL"], os.environ["STACKSONA_API_KEY"], threading.Event())
    DemoAgent(wire, _print_line).run()


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
