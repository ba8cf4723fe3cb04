"""Dify's Service API, as far as forms go: which form a run waits at, and sending it.

The app's key decides what is seen: another app's run, or another user's, is not found.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import quote

import httpx2

from stacksona_bridge.apps import App
from stacksona_bridge.events import Splitter, data_of

SECONDS: Final = 10.0
LOOK_SECONDS: Final = 6.0
"""How long a run's events are read: a run that is not paused keeps its stream open."""
SILENCE: Final = httpx2.Timeout(30.0, connect=SECONDS)
"""A stream has a sign of life every ten seconds."""
LOOK_MOST: Final = 8 * 1024 * 1024
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
USER_MOST: Final = 1000
FILES: Final = ("file", "file-list")


class Sent(Enum):
    """What became of a form that was sent."""

    ANSWERED = "answered by this call"
    OVER = "answered before, or expired"
    REFUSED = "Dify refuses the action or its inputs"


class DifyUnavailable(Exception):
    """No answer that settles anything: the same may be tried again."""


class RunNotFound(Exception):
    """The app has no such run of this user."""


_SENT: Final = {200: Sent.ANSWERED, 412: Sent.OVER, 400: Sent.REFUSED}


@dataclass(frozen=True)
class Form:
    """What a run waits for. ``token`` is the permission to answer it, and None when it goes by mail."""

    form_id: str
    node_id: str
    node_title: str
    content: str
    token: str | None = field(repr=False)
    defaults: Mapping[str, str] = field(repr=False)
    """What each input shows at first, by name. Files are left out: a person would have to choose them."""


@dataclass(frozen=True)
class Run:
    """A run as its events show it."""

    forms: tuple[Form, ...]
    is_paused: bool
    finished: Mapping[str, Any] | None
    """The data of ``workflow_finished``."""


class Dify:
    """Calls for one app. ``client`` follows no redirects."""

    def __init__(self, client: httpx2.AsyncClient, url: str, app: App) -> None:
        self._client = client
        self._url = url
        self.app = app

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.app.key}", "accept-encoding": "identity"}

    async def look(self, run_id: str, user: str, seconds: float = LOOK_SECONDS, *, through: bool = False) -> Run:
        """The run's state now; ``through``: read on over pauses until it is finished, at most ``seconds``.

        Raises RunNotFound, DifyUnavailable.
        """
        if not _ID.fullmatch(run_id) or not 0 < len(user) <= USER_MOST:
            raise RunNotFound
        query = f"?user={quote(user, safe='')}&include_state_snapshot=true"
        query += "&continue_on_pause=true" if through else ""
        found = _Seen(through)
        try:
            async with asyncio.timeout(seconds):
                await self._read(f"{self._url}/v1/workflow/{run_id}/events{query}", found)
        except TimeoutError:
            pass
        except httpx2.HTTPError:
            if not found.is_over:
                raise DifyUnavailable("Dify does not answer") from None
        return found.run()

    async def _read(self, url: str, found: _Seen) -> None:
        async with self._client.stream("GET", url, headers=self._headers, timeout=SILENCE) as response:
            if response.status_code == 404:
                raise RunNotFound
            if response.status_code != 200:
                raise DifyUnavailable(f"Dify answers {response.status_code}")
            async for data in _events(response):
                found.take(data)
                if found.is_over:
                    return

    async def send(self, form: Form, user: str, action: str, inputs: Mapping[str, str]) -> Sent:
        """Answers a form. Raises DifyUnavailable: then nobody knows whether it is answered."""
        if form.token is None or not _ID.fullmatch(form.token):
            raise DifyUnavailable("the form has no token that could be sent")
        body = {"user": user, "inputs": dict(inputs), "action": action}
        url = f"{self._url}/v1/form/human_input/{form.token}"
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._client.stream("POST", url, json=body, headers=self._headers) as response,
            ):
                status = response.status_code
        except (httpx2.HTTPError, TimeoutError):
            raise DifyUnavailable("Dify does not answer") from None
        if status not in _SENT:
            raise DifyUnavailable(f"Dify answers {status} to the form")
        return _SENT[status]


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    splitter, size = Splitter(), 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > LOOK_MOST:
            raise DifyUnavailable("Dify's answer is too large")
        for block in splitter.feed(piece):
            data = data_of(block)
            if data is not None:
                yield data


class _Seen:
    """Collects what events say. A form that is answered or over is none any more."""

    def __init__(self, through: bool) -> None:
        self._through = through
        self._forms: dict[str, Form] = {}
        self._is_paused = False
        self._finished: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        return self._finished is not None or (self._is_paused and not self._through)

    def take(self, event: Mapping[str, Any]) -> None:
        data = event.get("data")
        data = data if isinstance(data, dict) else {}
        match event.get("event"):
            case "human_input_required":
                self._add(data)
            case "workflow_paused":
                self._is_paused = True
                for reason in forms_in(event):
                    self._add_form(reason)
            case "human_input_form_filled" | "human_input_form_timeout":
                gone = [one for one, form in self._forms.items() if form.node_id == data.get("node_id")]
                for form_id in gone:
                    del self._forms[form_id]
                self._is_paused = False
            case "workflow_finished":
                self._finished = data

    def _add(self, data: Mapping[str, Any]) -> None:
        form = form_of(data)
        if form is not None:
            self._add_form(form)

    def _add_form(self, form: Form) -> None:
        """The pause repeats its forms, in some versions without the token."""
        known = self._forms.get(form.form_id)
        if known is None or known.token is None:
            self._forms[form.form_id] = form

    def run(self) -> Run:
        return Run(tuple(self._forms.values()), self._is_paused, self._finished)


def forms_in(answer: Mapping[str, Any]) -> list[Form]:
    """The forms of a pause: in its event, or in a blocking answer."""
    data = answer.get("data")
    reasons = data.get("reasons") if isinstance(data, dict) else None
    found = [form_of(one) for one in reasons if isinstance(one, dict)] if isinstance(reasons, list) else []
    return [form for form in found if form is not None]


def form_of(data: Mapping[str, Any]) -> Form | None:
    """None for what is no form."""
    form_id, node_id = data.get("form_id"), data.get("node_id")
    if not isinstance(form_id, str) or not _ID.fullmatch(form_id) or not isinstance(node_id, str):
        return None
    inputs = {one["output_variable_name"]: one for one in _rows(data, "inputs") if _is_named(one)}
    resolved = data.get("resolved_default_values")
    resolved = resolved if isinstance(resolved, dict) else {}
    token = data.get("form_token")
    return Form(
        form_id,
        node_id,
        str(data.get("node_title") or node_id),
        str(data.get("form_content") or ""),
        token if isinstance(token, str) else None,
        {name: _default(one, resolved.get(name)) for name, one in inputs.items() if one.get("type") not in FILES},
    )


def _rows(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = data.get(name)
    return [one for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []


def _is_named(one: Mapping[str, Any]) -> bool:
    return isinstance(one.get("output_variable_name"), str)


def _default(one: Mapping[str, Any], resolved: object) -> str:
    """What the form shows in an input at first."""
    default = one.get("default")
    constant = default.get("value") if isinstance(default, dict) and default.get("type") == "constant" else None
    value = resolved if resolved is not None else constant
    return value if isinstance(value, str) else ""
