"""The two form endpoints of Dify's HTTP API and its webhook trigger, in front of real runs in the engine.

No kinder than Dify: an app sees its own runs, a user their own; a form's token is there while the run is paused; an
action that the form does not have is 400; a second answer is 412.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from conftest import Site
from engine import Run
from live import Json, serving

APP_KEY: Final = "app-0123456789abcdef01234567"
TRIGGER: Final = "/triggers/webhook/Zk3VQ8sRr1"
ACTIONS: Final = ("decided",)


@dataclass(slots=True)
class Paused:
    """A run that waits at its form."""

    run_id: str
    user: str
    run: Run
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    form_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answered: bool = False
    resumed: Future[Run] = field(default_factory=Future)

    def events(self) -> list[Json]:
        if self.answered:
            return [self._event("workflow_finished", {"id": self.run_id, "status": "succeeded", "outputs": {}})]
        form = {
            "form_id": self.form_id,
            "node_id": "pause",
            "node_title": "Paused until the gate decides",
            "form_content": self.run.form,
            "inputs": [],
            "actions": [{"id": action, "title": action, "button_style": "primary"} for action in ACTIONS],
            "form_token": self.token,
            "expiration_time": 1_900_000_000,
        }
        paused = {"workflow_run_id": self.run_id, "paused_nodes": ["pause"], "reasons": []}
        return [self._event("human_input_required", form), self._event("workflow_paused", paused)]

    def _event(self, name: str, data: Json) -> Json:
        return {"event": name, "task_id": "task", "workflow_run_id": self.run_id, "data": data}


class DifyServer:
    """Runs of one app. ``site`` is the test's: set it first."""

    site: Site

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._pool = ThreadPoolExecutor(4)
        self._lock = threading.Lock()
        self._paused: dict[str, Paused] = {}
        self.is_down = False
        self.turned_away = 0
        self.woken: list[Future[Run]] = []
        """Runs that the trigger started."""
        self.url = ""

    def start(self, inputs: Json, user: str = "user-1") -> Paused:
        """Begins a run of gate-pause.yml, to its form."""
        run_id = self.site.new_task(self._agent)
        run = self.site.run("gate-pause.yml", inputs, run_id=run_id, agent=self._agent, user=user)
        assert run.status == "paused"
        self._paused[run_id] = Paused(run_id, user, run)
        return self._paused[run_id]

    def events(self, run_id: str, user: str | None) -> list[Json] | None:
        found = self._paused.get(run_id)
        return found.events() if found is not None and found.user == user else None

    def answer(self, token: str, said: Json) -> tuple[int, Json]:
        """Status and body for a form that is sent."""
        with self._lock:
            found = next((one for one in self._paused.values() if one.token == token), None)
            if found is None:
                return 404, {"code": "not_found"}
            if found.answered:
                return 412, {"code": "human_input_form_submitted"}
            if said.get("action") not in ACTIONS or not said.get("user") or "inputs" not in said:
                return 400, {"code": "invalid_form_data"}
            found.answered = True
        self._pool.submit(self._resume, found, said["action"])
        return 200, {}

    def _resume(self, found: Paused, action: str) -> None:
        run = self.site.run("gate-pause.yml", run_id=found.run_id, agent=self._agent, paused=found.run, action=action)
        found.resumed.set_result(run)

    def trigger(self, said: Json) -> tuple[int, Json]:
        if not isinstance(said.get("thread_id"), str):
            return 400, {"error": "Bad Request"}
        inputs = {"thread_id": said["thread_id"]}
        self.woken.append(self._pool.submit(self.site.run, "gate-callback-resume.yml", inputs, agent=self._agent))
        return 202, {"queued": True}

    def close(self) -> None:
        self._pool.shutdown()


class _Handler(BaseHTTPRequestHandler):
    dify: DifyServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        parts = address.path.split("/")
        user = parse_qs(address.query).get("user", [None])[0]
        if self._turned_away():
            return
        is_events = parts[:3] == ["", "v1", "workflow"] and parts[4:] == ["events"]
        events = self.dify.events(parts[3], user) if is_events else None
        if events is None:
            self._send(404, {"code": "not_found"})
            return
        stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
        self._send(200, stream, "text/event-stream")

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == TRIGGER:
            self._send(*self.dify.trigger(said))
        elif not self._turned_away():
            self._send(*self.dify.answer(self.path.removeprefix("/v1/form/human_input/"), said))

    def _turned_away(self) -> bool:
        if self.dify.is_down:
            self.dify.turned_away += 1
            self._send(503, {"code": "down"})
        elif self.headers.get("authorization") != f"Bearer {APP_KEY}":
            self._send(401, {"code": "unauthorized"})
        else:
            return False
        return True

    def _send(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def dify_server(agent: str) -> Iterator[DifyServer]:
    dify = DifyServer(agent)
    with serving(type("Handler", (_Handler,), {"dify": dify})) as port:
        dify.url = f"http://127.0.0.1:{port}"
        try:
            yield dify
        finally:
            dify.close()
