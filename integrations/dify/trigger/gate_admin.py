"""The few calls of the gate's admin API that a subscription needs. Each may be sent again: it sets what it names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx2

TIMEOUT: Final = 10.0
TRIES: Final = 3
PAUSE: Final = 0.25
ANSWER_MOST: Final = 1024 * 1024
NOBODY: Final = "no-agent-has-this-id"

_TOKEN: Final = re.compile(r"[!-~]{1,500}")


class AdminFault(Exception):
    """The gate did not do it, or did not say that it did. The text holds no token and no secret."""


class Refused(AdminFault):
    """The gate says no. ``status`` is its answer's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Agent:
    """An agent's webhook as it stands. ``tag`` is the state's name for ``If-Match``."""

    id: str
    name: str
    webhook_url: str | None
    is_switched_off: bool
    tag: str


class Admin:
    """The gate, for one admin's personal token."""

    def __init__(self, credentials: Mapping[str, Any], rest: Callable[[float], None] = time.sleep) -> None:
        """Raises AdminFault for settings that cannot be right."""
        url, token = (str(credentials.get(name) or "").strip() for name in ("gate_url", "admin_token"))
        if not is_address(url) or not _TOKEN.fullmatch(token):
            raise AdminFault("the gate's URL or the admin's token is missing or malformed")
        self._url = url.rstrip("/")
        self._token = token
        self._rest = rest
        # On plain http no proxy of the environment sees the token; redirects would carry it elsewhere.
        self._client = httpx2.Client(
            timeout=TIMEOUT, follow_redirects=False, trust_env=url.startswith("https:"), headers=self._headers()
        )

    def _headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self._token}",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "stacksona-dify-trigger",
        }

    def __enter__(self) -> Admin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def check(self) -> None:
        """Asks to change nothing of an agent that is not there, which only an admin is told. Raises AdminFault."""
        try:
            self._call("PATCH", _path(NOBODY), {}, tag='"none"')
        except Refused as refused:
            if refused.status not in (404, 412):
                raise

    def agents(self) -> list[Agent]:
        """All of them, by name. Raises AdminFault."""
        rows = self._call("GET", "/api/admin/agents").get("agents")
        if not isinstance(rows, list):
            raise AdminFault("the answer is not the gate's list of agents")
        return [_agent(row, "") for row in rows]

    def agent(self, reference: str) -> Agent:
        """By id or name. Raises AdminFault."""
        answer = self._call("GET", _path(reference))
        return _agent(answer, str(answer["etag"]))

    def set_webhook(self, agent: Agent, url: str | None) -> str | None:
        """Sends the agent's webhooks to ``url``, None: nowhere. Returns the secret when it is shown.

        Raises AdminFault, also when somebody else changed the agent since it was read.
        """
        try:
            answer = self._call("PATCH", _path(agent.id), {"webhook_url": url}, tag=agent.tag)
        except Refused as refused:
            # Our own first try, whose answer was lost, changed the state too.
            if refused.status != 412 or self.agent(agent.id).webhook_url != url:
                raise
            return None
        if _agent(answer, "").webhook_url != url:
            raise AdminFault("the gate did not take the address")
        secret = answer.get("webhook_secret")
        return secret if isinstance(secret, str) else None

    def new_secret(self, agent: Agent) -> str:
        """A fresh secret; the one before signs nothing more. Raises AdminFault."""
        secret = self._call("POST", _path(agent.id) + "/webhook-secret", {"overlap": 0}).get("webhook_secret")
        if not isinstance(secret, str):
            raise AdminFault("the gate showed no secret")
        return secret

    def switch_on(self, agent: Agent) -> None:
        """Sends to an address again that was switched off for failing. Raises AdminFault."""
        self._call("DELETE", _path(agent.id) + "/webhook-switch-off")

    def _call(self, method: str, path: str, body: object = None, *, tag: str = "") -> dict[str, Any]:
        """Tried again after faults of the network and of the gate; a refusal is final. Raises AdminFault, Refused."""
        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                self._rest(PAUSE * 2**attempt)
            try:
                response = self._sent(method, path, body, tag)
            except httpx2.HTTPError as error:
                trouble = type(error).__name__
                continue
            if response.status_code >= 500 or response.status_code == 429:
                trouble = f"status {response.status_code}"
                continue
            return self._read(response)
        raise AdminFault(f"no usable answer from the gate: {trouble}")

    def _sent(self, method: str, path: str, body: object, tag: str) -> httpx2.Response:
        headers = {"if-match": tag} if tag else {}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = json.dumps(body).encode()
        return self._client.request(method, self._url + path, content=content, headers=headers)

    def _read(self, response: httpx2.Response) -> dict[str, Any]:
        if len(response.content) > ANSWER_MOST or not response.headers.get("x-request-id"):
            raise AdminFault(f"status {response.status_code} is not an answer of the gate: check its URL")
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise AdminFault(f"status {response.status_code} without the gate's JSON: check its URL")
        if response.status_code not in (200, 201):
            raise Refused(response.status_code, self._shown(response.status_code, answer))
        return answer | {"etag": response.headers.get("etag", "")}

    def _shown(self, status: int, answer: dict[str, Any]) -> str:
        detail = "".join(one for one in str(answer.get("detail", ""))[:300] if one.isprintable())
        return f"{status}: {detail.replace(self._token, '[token]')}"


def is_address(url: str) -> bool:
    """Whether it is http or https with a host, without user, query or fragment."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and not (parts.username or parts.query or parts.fragment or parts.port == 0)
        )
    except ValueError:
        return False


def _path(reference: str) -> str:
    if reference in (".", ".."):
        raise AdminFault("no agent has this name")
    return "/api/admin/agents/" + quote(reference, safe="")


def _agent(row: Any, tag: str) -> Agent:
    try:
        state = row["webhook"]
        texts = (row["id"], row["name"])
        url = row["webhook_url"]
        is_off = state is not None and state["switched_off_at"] is not None
    except (KeyError, TypeError):
        raise AdminFault("the answer does not describe an agent") from None
    if not all(isinstance(one, str) for one in texts) or not (url is None or isinstance(url, str)):
        raise AdminFault("the answer does not describe an agent")
    return Agent(*texts, url, is_off, tag)
