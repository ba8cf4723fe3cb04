"""Calls to a gate, each written into the history; what became of one is told as carefully as can be known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from chaos.history import FAILED, OK, UNKNOWN, Facts, Recorder

CALL_SECONDS: Final = 13.0
"""Longer than the gate itself waits for its database."""
DONE: Final = "done_not_shown"
"""The code of a 503 whose call did what it was to do."""
MAYBE: Final = "may or may not"
"""What a 503 says when the gate does not know itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``outcome`` as a history has it. ``status`` 0: there was none."""

    outcome: str
    status: int = 0
    body: Facts = field(default_factory=dict)
    text: str = ""
    etag: str = ""

    @property
    def is_ok(self) -> bool:
        return self.outcome == OK


def outcome_of(status: int, body: Mapping[str, Any]) -> str:
    """A refusal had no effect, a 503 says whether it had, and of a fault nobody knows."""
    if status < 400:
        return OK
    if status == 503 and body.get("code") == DONE:
        return OK
    if status == 503:
        return UNKNOWN if MAYBE in str(body.get("detail")) else FAILED
    return UNKNOWN if status >= 500 else FAILED


class Client:
    """Everybody who calls, over connections kept open to each node."""

    def __init__(self, ports: list[int], recorder: Recorder) -> None:
        self.recorder = recorder
        self.nodes = range(len(ports))
        limits = httpx2.Limits(max_connections=200, max_keepalive_connections=50)
        self._clients = [
            httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=CALL_SECONDS, limits=limits, trust_env=False
            )
            for port in ports
        ]

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def call(
        self,
        do: str,
        who: str,
        node: int,
        request: tuple[str, str, str],
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        keep: Any = None,
        **given: Any,
    ) -> Answer:
        """One call. ``request``: method, path and key. ``keep``: makes of the answer's body what the history keeps."""
        number = self.recorder.begin(do, who, node, **given)
        answer = await self._sent(node, request, body, headers or {})
        kept = dict(keep(answer)) if keep is not None and answer.is_ok else {}
        if not answer.is_ok:
            kept = {"status_code": answer.status, "code": answer.body.get("code"), "reason": answer.body.get("reason")}
        self.recorder.end(number, do, answer.outcome, **kept)
        return answer

    async def _sent(self, node: int, request: tuple[str, str, str], body: object, headers: Mapping[str, str]) -> Answer:
        method, path, key = request
        content = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
        try:
            answer = await self._clients[node].request(method, path, content=content, headers=sent)
        except httpx2.ConnectError:
            return Answer(FAILED)
        except httpx2.HTTPError:
            return Answer(UNKNOWN)
        return _read(answer)

    async def events(self, node: int, path: str, key: str, seconds: float) -> list[Answer]:
        """What an event stream tells until it ends, breaks or the time is over."""
        found: list[Answer] = []
        headers = {"Authorization": f"Bearer {key}"}
        try:
            async with self._clients[node].stream("GET", path, headers=headers, timeout=seconds) as answer:
                async for line in answer.aiter_lines():
                    found += [Answer(OK, 200, json.loads(line[6:]))] if line.startswith("data: ") else []
        except (httpx2.HTTPError, json.JSONDecodeError):
            pass
        return found


def _read(answer: httpx2.Response) -> Answer:
    text = answer.text
    try:
        body = json.loads(text) if text else {}
    except json.JSONDecodeError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    return Answer(outcome_of(answer.status_code, body), answer.status_code, body, text, answer.headers.get("etag", ""))
