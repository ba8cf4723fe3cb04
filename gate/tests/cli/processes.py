"""The real command in processes of its own, and what the tests say to the gate that it serves."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gate.tests.watchman import mark

COMMAND: Final = str(Path(sys.executable).with_name("stacksona-gate"))
PATIENCE: Final = 60.0

Json = dict[str, Any]


class Running:
    """A process whose lines on standard output can be waited for."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STACKSONA_")}
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean | mark() | environment
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._fresh: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [threading.Thread(target=reader, daemon=True) for reader in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._fresh.put(line.rstrip("\n"))
        self._fresh.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def line(self, *parts: str) -> str:
        """The next line that has all of ``parts``."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._fresh.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {parts} in time: {self.lines} {self.errors}") from None
            assert line is not None, f"ended without a line with {parts}: {self.lines} {self.errors}"
            self.lines.append(line)
            if all(part in line for part in parts):
                return line

    def end(self, number: int = signal.SIGINT) -> int:
        """The exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Running]:
    """A process that is ended with the test."""
    process = Running(*arguments, **environment)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


@contextmanager
def serving(database: str, port: int) -> Iterator[Running]:
    """The gate, answering. Told to end, it does so at once: nobody stands before it."""
    arguments = (COMMAND, "serve", "--port", str(port), "--database", database)
    with running(*arguments, STACKSONA_DRAIN_SECONDS="0") as server:
        server.line("Stacksona Gate on", str(port))
        yield server


def command(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STACKSONA_")}
    return subprocess.run(
        [COMMAND, *arguments], input=given, capture_output=True, text=True, timeout=PATIENCE, env=clean, check=False
    )


def made(*arguments: str) -> Json:
    """What a command with --json prints."""
    done = command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def call(port: int, method: str, path: str, key: str = "", body: object = None) -> tuple[int, Json]:
    """One call to the agent API."""
    raw = None if body is None else json.dumps(body).encode()
    return send(port, method, path, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}, raw)


def send(port: int, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, Json]:
    """One call with these very bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def ask(port: int, key: str, *, task: str = "task-1", tool: str = "issue_refund", amount: object = 500) -> Json:
    """A decision."""
    body = {"tool_name": tool, "subject": "Refund", "payload": {"amount": amount, "currency": "usd"}}
    status, answer = call(port, "POST", f"/api/agent/tasks/{task}/requests", key, body)
    assert status == 200, answer
    return answer


def redeem(port: int, key: str, token: str, *, amount: object, task: str = "task-1") -> tuple[int, Json]:
    payload = {"amount": amount, "currency": "usd"}
    body = {"task_id": task, "signature": token, "tool_name": "issue_refund", "payload": payload}
    return call(port, "POST", "/api/agent/approvals/validate", key, body)


def until[T](look: Callable[[], T | None]) -> T:
    """What ``look`` gives once it gives something."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        pause.wait(0.02)
    raise AssertionError("it did not happen in time")
