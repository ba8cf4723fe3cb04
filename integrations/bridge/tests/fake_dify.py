"""Dify's Service API as far as forms and runs go, and no kinder: an app sees its own runs, a user their own; a form's
token is there while the run is paused; an action that the form does not have is 400, a second answer 412.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "app-refunds-0123456789"
OTHER_KEY = "app-other-0123456789"


@dataclass
class FakeForm:
    node: str
    actions: tuple[str, ...]
    inputs: dict[str, str] = field(default_factory=dict)
    content: str = "Please look."
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_expired: bool = False
    answer: tuple[str, str, dict[str, str]] | None = None
    """Action, user, inputs."""

    def data(self) -> dict[str, Any]:
        inputs = [{"type": "paragraph", "output_variable_name": name, "default": None} for name in self.inputs]
        return {
            "form_id": self.id,
            "node_id": self.node,
            "node_title": f"Node {self.node}",
            "form_content": self.content,
            "inputs": inputs,
            "actions": [{"id": one, "title": one, "button_style": "default"} for one in self.actions],
            "form_token": self.token,
            "resolved_default_values": dict(self.inputs),
            "expiration_time": 1_900_000_000,
        }


@dataclass
class FakeRun:
    """Goes from form to form: ``forms`` are those to come, ``form`` the one that it waits at."""

    key: str
    user: str
    forms: list[FakeForm] = field(default_factory=list)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    form: FakeForm | None = None
    status: str = "running"
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    answered: list[FakeForm] = field(default_factory=list)

    def go_on(self) -> None:
        self.form = self.forms.pop(0) if self.forms else None
        self.status = "succeeded" if self.form is None else "paused"
        self.changed.set()
        self.changed = asyncio.Event()

    def finished(self) -> dict[str, Any]:
        answers = {form.node: form.answer[0] for form in self.answered if form.answer}
        return {"id": self.id, "status": self.status, "outputs": {"answers": answers}, "elapsed_time": 0.549557}

    def events(self) -> list[dict[str, Any]]:
        """As they stand, from the start."""
        if self.status == "succeeded":
            return [self.event("workflow_finished", self.finished())]
        events = [self.event("workflow_started", {"id": self.id})]
        if self.form is not None:
            events.append(self.event("human_input_required", self.form.data()))
            reasons = [{"TYPE": "human_input_required", **self.form.data()}]
            paused = {"workflow_run_id": self.id, "paused_nodes": [self.form.node], "reasons": reasons}
            events.append(self.event("workflow_paused", paused))
        return events

    def event(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"event": name, "task_id": "task-of-dify", "workflow_run_id": self.id, "data": data}


def written(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


@dataclass
class FakeDify:
    runs: dict[str, FakeRun] = field(default_factory=dict)
    starting: Callable[[str, dict[str, Any]], FakeRun] = lambda key, said: FakeRun(key, said["user"])
    down: int | None = None
    """The status of every answer, while it is down."""
    chunks: Callable[[FakeRun], AsyncIterator[bytes]] | None = None
    """What a stream says in place of the run's events."""
    seen: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    """Paths, bodies and headers of what was started."""
    posts: int = 0
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody came while it was down."""
    url: str = ""

    def add(self, *forms: FakeForm, key: str = KEY, user: str = "user-1", paused: bool = True) -> FakeRun:
        run = FakeRun(key, user, list(forms))
        self.runs[run.id] = run
        if paused:
            run.go_on()
        return run

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/workflows/run", self._start, methods=["POST"]),
                Route("/v1/chat-messages", self._start, methods=["POST"]),
                Route("/v1/workflows/run/{run}", self._result, methods=["GET"]),
                Route("/v1/workflow/{run}/events", self._events, methods=["GET"]),
                Route("/v1/form/human_input/{token}", self._answer, methods=["POST"]),
            ]
        )

    def _key(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    async def _start(self, request: Request) -> Response:
        if self.down:
            return JSONResponse({"code": "down"}, self.down)
        if self._key(request) not in (KEY, OTHER_KEY):
            return JSONResponse({"code": "unauthorized", "status": 401}, 401)
        body = await request.body()
        self.seen.append((request.url.path, body, dict(request.headers)))
        said = json.loads(body)
        if "user" not in said or "inputs" not in said:
            return JSONResponse({"code": "invalid_param", "message": "user is required", "status": 400}, 400)
        run = self.starting(self._key(request) or "", said)
        self.runs[run.id] = run
        run.go_on()
        if said.get("response_mode") == "streaming":
            chunks = self.chunks(run) if self.chunks else self._told(run, False)
            return StreamingResponse(chunks, media_type="text/event-stream")
        return JSONResponse(self._blocking(run))

    def _blocking(self, run: FakeRun) -> dict[str, Any]:
        if run.form is None:
            data = run.finished()
        else:
            reasons = [{"TYPE": "human_input_required", **run.form.data()}]
            data = {
                "id": run.id,
                "status": "paused",
                "outputs": {},
                "reasons": reasons,
                "paused_nodes": [run.form.node],
            }
        return {"task_id": "task-of-dify", "workflow_run_id": run.id, "data": data}

    async def _result(self, request: Request) -> Response:
        run = self.runs.get(request.path_params["run"])
        if run is None or run.key != self._key(request):
            return Response(b'{"code":"not_found","message":"\\u672a"}', 404, media_type="application/json")
        return JSONResponse(run.finished())

    async def _events(self, request: Request) -> Response:
        if self.down:
            self.refused.set()
            return JSONResponse({"code": "down"}, self.down)
        run = self.runs.get(request.path_params["run"])
        user = request.query_params.get("user")
        if run is None or run.key != self._key(request) or run.user != user:
            return JSONResponse({"code": "not_found"}, 404)
        goes_on = request.query_params.get("continue_on_pause") == "true"
        return StreamingResponse(self._told(run, goes_on), media_type="text/event-stream")

    async def _told(self, run: FakeRun, goes_on: bool) -> AsyncIterator[bytes]:
        while True:
            changed = run.changed
            for event in run.events():
                yield written(event)
            if run.status == "succeeded" or (run.status == "paused" and not goes_on):
                return
            while not changed.is_set():
                yield b"event: ping\n\n"
                try:
                    async with asyncio.timeout(0.5):
                        await changed.wait()
                except TimeoutError:
                    continue

    async def _answer(self, request: Request) -> Response:
        self.posts += 1
        if self.down:
            return JSONResponse({"code": "down"}, self.down)
        said = json.loads(await request.body())
        every = [form for run in self.runs.values() for form in [*run.answered, *([run.form] if run.form else [])]]
        form = next((one for one in every if one.token == request.path_params["token"]), None)
        run = next((one for one in self.runs.values() if form and form in [one.form, *one.answered]), None)
        if form is None or run is None or run.key != self._key(request):
            return JSONResponse({"code": "not_found"}, 404)
        if form.answer is not None or form.is_expired:
            code = "human_input_form_submitted" if form.answer else "human_input_form_expired"
            return JSONResponse({"code": code, "status": 412}, 412)
        fits = said.get("action") in form.actions and set(said.get("inputs", {})) >= set(form.inputs)
        if not fits or not said.get("user"):
            return JSONResponse({"code": "invalid_form_data", "status": 400}, 400)
        form.answer = (said["action"], said["user"], said["inputs"])
        run.answered.append(form)
        run.go_on()
        return JSONResponse({})


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """An application on a port of its own."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def dify() -> AsyncIterator[FakeDify]:
    fake = FakeDify()
    async with served(fake.app()) as url:
        fake.url = url
        yield fake
