"""The refund workflow in Dify's own engine, against the demo gate, waiting for the reviewer's click.

usage: make demo-dify          (with AMOUNT=10 a rule allows it, with AMOUNT=9000 a rule refuses it)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import engine
import httpx

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = ROOT / ".venv" / "bin" / "stacksona-gate"
TEMPLATE: Final = "gate-wait.yml"
WELCOME: Final = {
    "key": re.compile(r"^  agent key  (sg_\S+)$"),
    "reviewer": re.compile(r"^  (reviewer   .+)$"),
    "url": re.compile(r"^export STACKSONA_GATE_URL=(\S+)$"),
}


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


@contextmanager
def demo_gate(port: int) -> Iterator[dict[str, str]]:
    """``stacksona-gate demo``; yields what its welcome says. Raises SystemExit when it does not start."""
    command = [str(COMMAND), "demo", "--port", str(port)]
    environment = {**os.environ, "STACKSONA_LOG_LEVEL": "error"}
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
    )
    try:
        yield _welcome(process)
    finally:
        process.terminate()
        process.wait(20)


def _welcome(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None  # noqa: S101
    found: dict[str, str] = {}
    for line in process.stdout:
        for name, pattern in WELCOME.items():
            match = pattern.match(line.rstrip("\n"))
            if match:
                found[name] = match[1]
        if len(found) == len(WELCOME):
            threading.Thread(target=process.stdout.read, daemon=True).start()  # the pipe must not fill
            return found
    raise SystemExit("the demo gate did not start")


@contextmanager
def tool() -> Iterator[str]:
    """What pays refunds: says what it is told to pay."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            say(f"\n  the tool   PAID {body}")
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"refunded": true}')

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/refunds"
    finally:
        server.shutdown()


def main() -> int:
    options = _options()
    with demo_gate(options.port) as gate, tool() as tool_url:
        run_id = str(uuid.uuid4())
        inputs = {
            "order_id": "A-1042",
            "amount": int(options.amount) if options.amount.is_integer() else options.amount,
            "currency": "usd",
            "customer_id": "cus_99",
            "reason": "arrived broken",
        }
        say(f"Dify's engine (graphon {engine.VERSION}) runs {TEMPLATE}\n\n  inputs     {json.dumps(inputs)}")
        threading.Thread(target=_point_to_reviewer, args=(gate, run_id), daemon=True).start()
        env = {"STACKSONA_GATE_URL": gate["url"], "STACKSONA_API_KEY": gate["key"], "TOOL_URL": tool_url}
        run = engine.run(TEMPLATE, env=env, inputs=inputs, run_id=run_id)
        _report(run)
        return 0 if run.status in ("succeeded", "partial") else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amount", type=float, default=500)
    parser.add_argument("--port", type=int, default=8420)
    return parser.parse_args()


def _point_to_reviewer(gate: dict[str, str], run_id: str) -> None:
    """Says where to click, once there is something to decide."""
    headers = {"authorization": f"Bearer {gate['key']}"}
    for _ in range(200):
        answer = httpx.get(gate["url"] + "/api/agent/decisions", params={"task_id": run_id}, headers=headers)
        if answer.status_code == 200:
            link = answer.json().get("review_url")
            if link:
                say(f"  waiting    decide at {link}\n  sign in    {gate['reviewer']}")
            return
        threading.Event().wait(0.05)


def _report(run: engine.Run) -> None:
    outputs: dict[str, Any] = run.outputs
    say(f"\n  the run    {run.status}: {outputs.get('status')}")
    say(f"  nodes      {' → '.join(run.visited)}")
    if run.error:
        say(f"  error      {run.error}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
