"""The live gate, a process of its own, and the live tool, which writes down every call."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).resolve().parents[3]
COMMAND: Final = ROOT / ".venv" / "bin" / "stacksona-gate"
BRIDGE: Final = COMMAND.with_name("stacksona-bridge")
PATIENCE: Final = 60.0
"""Seconds before a test gives up on something that another process does."""
POLICY: Final = """\
version: 1
unknown_tool: review
tools:
  issue_refund:
    default: review
    rules:
      - {name: Small, type: between, parameter: amount, low: 0.01, high: 50, action: allow}
      - {name: Large, type: upper_limit, parameter: amount, limit: 5000, action: reject}
  send_mail: {default: allow}
"""
HASTY_SECONDS: Final = 30

Json = dict[str, Any]


def eventually(look: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first true answer of ``look``."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Gate:
    """A gate with its people and agents, spoken to over HTTP."""

    def __init__(self, url: str, admin_token: str) -> None:
        self.url = url
        self.agent = ""
        """Who asks unless told otherwise: each test has an agent of its own."""
        self._people = httpx.Client(base_url=url, headers={"authorization": f"Bearer {admin_token}"})
        self.keys: dict[str, str] = {}
        self.webhook_secrets: dict[str, str] = {}

    def make_agent(self, name: str, **fields: object) -> str:
        answer = self._admin("POST", "/api/admin/agents", json={"name": name, **fields})
        self.keys[name] = str(answer["key"])
        self.webhook_secrets[name] = str(answer.get("webhook_secret"))
        return self.keys[name]

    def pause(self, name: str) -> None:
        self._admin("PUT", f"/api/admin/agents/{name}/pause")

    def apply(self, policy: str) -> None:
        self._admin("PUT", "/api/admin/policy", content=policy, headers={"content-type": "application/yaml"})

    def review(self, thread_id: str, verdict: str = "approve", **fields: object) -> None:
        """A person decides, on the newest revision unless told otherwise."""
        revision = self._admin("GET", f"/api/review/threads/{thread_id}")["revision"]
        body = {"verdict": verdict, "message": "looked at it", "revision": revision, **fields}
        self._admin("POST", f"/api/review/threads/{thread_id}/reviews", json=body)

    def decision(self, task_id: str, agent: str = "") -> Json | None:
        """The task's newest request as its agent reads it."""
        answer = httpx.get(self.url + "/api/agent/decisions", params={"task_id": task_id}, headers=self._key(agent))
        return None if answer.status_code == 404 else dict(answer.raise_for_status().json())

    def pending(self, task_id: str, agent: str = "") -> str:
        """The task's open thread, once there is one."""
        return str(eventually(lambda: (self.decision(task_id, agent) or {}).get("thread_id")))

    def ask(self, task_id: str, agent: str = "", **body: object) -> Json:
        answer = httpx.post(f"{self.url}/api/agent/tasks/{task_id}/requests", json=body, headers=self._key(agent))
        return dict(answer.raise_for_status().json())

    def redeem(self, decision: Json, agent: str = "") -> None:
        body = {"task_id": decision["task_id"], "signature": decision["approval_token"]}
        httpx.post(self.url + "/api/agent/approvals/validate", json=body, headers=self._key(agent)).raise_for_status()

    def revise(self, task_id: str, thread_id: str, payload: Json, agent: str = "") -> None:
        body = {"event_type": "revision", "thread_id": thread_id, "payload": payload}
        answer = httpx.post(f"{self.url}/api/agent/tasks/{task_id}/events", json=body, headers=self._key(agent))
        answer.raise_for_status()

    def threads(self, agent: str = "", **query: str) -> list[Json]:
        answer = httpx.get(self.url + "/api/agent/threads", params={"limit": "200", **query}, headers=self._key(agent))
        return list(answer.raise_for_status().json()["threads"])

    def close(self) -> None:
        self._people.close()

    def _key(self, agent: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[agent or self.agent]}"}

    def _admin(self, method: str, path: str, **sent: Any) -> Json:
        answer = self._people.request(method, path, **sent)
        assert answer.is_success, answer.text
        return dict(answer.json())


@contextmanager
def live_gate(folder: Path) -> Iterator[Gate]:
    """``stacksona-gate serve`` on a database of its own."""
    port = free_port()
    environment = {
        **os.environ,
        "STACKSONA_DATABASE_URL": f"sqlite:///{folder}/gate.db",
        "STACKSONA_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    url = f"http://127.0.0.1:{port}"
    _command(environment, "user", "create", "ada@example.com", "--role", "admin", "--password-stdin")
    token = json.loads(_command(environment, "token", "create", "ada@example.com", "--json"))["token"]
    command = [str(COMMAND), "serve", "--port", str(port)]
    with running(command, environment, folder / "gate.log"):
        eventually(lambda: _answers(url))
        gate = Gate(url, token)
        gate.apply(POLICY)
        yield gate
        gate.close()


@contextmanager
def live_bridge(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """``stacksona-bridge serve``. Yields its address; ``BRIDGE_PORT`` is in ``environment``."""
    url = f"http://127.0.0.1:{environment['BRIDGE_PORT']}"
    with running([str(BRIDGE), "serve"], {**os.environ, **environment}, folder / "bridge.log"):
        eventually(lambda: _listens(url))
        yield url


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A program beside the tests, gone at the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments], env=environment, input="a long password\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _listens(url: str) -> bool:
    try:
        return httpx.get(url + "/").status_code > 0
    except httpx.TransportError:
        return False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One execution, as the tool saw it."""

    body: str
    headers: dict[str, str]
    at: float


@dataclass(slots=True)
class Tool:
    """What must not run without an approval."""

    url: str
    calls: list[ToolCall] = field(default_factory=list)
    answers: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    """Status codes for the calls to come; 0 takes the call and gives no answer. With none left: 200."""

    def executed(self) -> list[Json]:
        return [json.loads(call.body) for call in self.calls]

    def take(self, call: ToolCall) -> int:
        self.calls.append(call)
        try:
            return self.answers.get_nowait()
        except queue.Empty:
            return 200


@contextmanager
def live_tool() -> Iterator[Tool]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode("utf-8", "replace")
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = tool.take(ToolCall(body, headers, time.time()))
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as port:
        tool = Tool(f"http://127.0.0.1:{port}/refunds")
        yield tool


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many runs at once: five would turn connections away


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """A server on loopback, gone at the end. Yields its port."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
