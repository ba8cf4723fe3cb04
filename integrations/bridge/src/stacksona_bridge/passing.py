"""The gatekeeper mode's calls: passed to Dify and back byte for byte, but for the token that answers a kept form."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from stacksona import Decision, GateError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stacksona_bridge.decisions import unless_over
from stacksona_bridge.dify import Dify, DifyUnavailable, Form, Run, RunNotFound, form_of, forms_in
from stacksona_bridge.events import Splitter, TooLong, data_of, object_or_none
from stacksona_bridge.gatekeeper import CannotAsk, Gatekeeper, Kept
from stacksona_bridge.http import Holds, caller_of, read_body, read_or_refuse
from stacksona_bridge.problems import Problem, problem_of
from stacksona_bridge.settings import Config

log = logging.getLogger("stacksona_bridge")

TOKEN: Final = "form_token"  # noqa: S105 - the name of a field
EVENT_STREAM: Final = "text/event-stream"
CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 300.0
"""Without a byte from Dify; it sends a sign of life every ten in a stream."""
STREAM_SECONDS: Final = 3600.0
QUEUE_MOST: Final = 64
ROUNDS_MOST: Final = 20
"""Pauses that one blocking call goes through."""
_RUN_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PASSED_BACK: Final = ("content-type", "retry-after")


class Broken(Exception):
    """The stream cannot be passed on: it is cut, so that nobody takes it for the whole."""


@dataclass
class Passing:
    config: Config
    client: httpx2.AsyncClient
    gatekeeper: Gatekeeper
    holds: Holds
    draining: asyncio.Event
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    async def run(self, request: Request) -> Response:
        """``POST /v1/workflows/run``"""
        return await self._start(request, "workflows/run", waits=True)

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat-messages``"""
        return await self._start(request, "chat-messages", waits=False)

    async def _start(self, request: Request, path: str, *, waits: bool) -> Response:
        dify = self._app(request)
        if request.url.query:
            raise Problem(422, "invalid", "this call takes no query")
        body = await read_body(request, self.config.body_most)
        user = read_or_refuse(body).get("user")
        upstream = self._request(dify, "POST", path, body)
        return await self._pass(request, dify, upstream, user if isinstance(user, str) else "", waits)

    async def events(self, request: Request) -> Response:
        """``GET /v1/workflow/{run}/events``: how a caller goes on after a pause."""
        dify = self._app(request)
        path = f"workflow/{_known_id(request)}/events?{request.url.query}"
        users = request.query_params.getlist("user")
        user = users[0] if len(users) == 1 else ""
        return await self._pass(request, dify, self._request(dify, "GET", path, None), user, False)

    async def result(self, request: Request) -> Response:
        """``GET /v1/workflows/run/{run}``: how a run stands."""
        dify = self._app(request)
        path = f"workflows/run/{_known_id(request)}"
        return await self._pass(request, dify, self._request(dify, "GET", path, None), "", False)

    async def finish(self) -> None:
        """Lets streams that nobody reads any more, and forms being answered, come to their end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _app(self, request: Request) -> Dify:
        """The app that is named in the path, or the caller's only one. Raises Problem."""
        caller = caller_of(request, self.config.callers)
        own = {name: dify for name, dify in self.gatekeeper.dify.items() if caller in dify.app.callers}
        named = request.path_params.get("app")
        if named is not None and named in own:
            return own[named]
        if named is None and len(own) == 1:
            return next(iter(own.values()))
        raise Problem(404, "no_app", "no app of BRIDGE_DIFY_APPS is this caller's; one of several is /apps/{name}/v1/…")

    def _request(self, dify: Dify, method: str, path: str, body: bytes | None) -> httpx2.Request:
        """With the app's key in place of the caller's, and no other header of the caller."""
        headers = {"authorization": f"Bearer {dify.app.key}", "accept-encoding": "identity"}
        if body is not None:
            headers["content-type"] = "application/json"
        timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        url = f"{self.config.dify_url}/v1/{path}"
        return self.client.build_request(method, url, content=body, headers=headers, timeout=timeout)

    async def _pass(self, request: Request, dify: Dify, upstream: httpx2.Request, user: str, waits: bool) -> Response:
        try:
            answer = await self.client.send(upstream, stream=True)
        except httpx2.HTTPError:
            raise Problem(502, "dify_unavailable", "Dify does not answer: it may have started the run") from None
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if 300 <= answer.status_code < 400 or answer.headers.get("content-encoding", "identity") != "identity":
            await answer.aclose()
            raise Problem(502, "dify_answer", "Dify's answer is a redirect or compressed: check BRIDGE_DIFY_URL")
        headers = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        if kind == EVENT_STREAM:
            return self._streamed(dify, answer, user, headers)
        body = await self._read(answer)
        said = object_or_none(body)
        if said is not None:
            body = await self._kept(request, dify, said, body, user, waits)
        elif _may_hold_token(body):
            raise Problem(502, "dify_answer", "Dify's answer cannot be read")
        return Response(body, answer.status_code, headers)

    async def _read(self, answer: httpx2.Response) -> bytes:
        pieces = bytearray()
        try:
            async for piece in answer.aiter_bytes():
                pieces += piece
                if len(pieces) > self.config.body_most:
                    raise Problem(502, "dify_answer", "Dify's answer is over BRIDGE_BODY_MOST")
        except httpx2.HTTPError:
            raise Problem(502, "dify_unavailable", "Dify's answer broke off") from None
        finally:
            await answer.aclose()
        return bytes(pieces)

    # Blocking calls

    async def _kept(
        self, request: Request, dify: Dify, said: dict[str, Any], body: bytes, user: str, waits: bool
    ) -> bytes:
        """The answer for the caller. ``waits``: a paused run is waited for, as long as the settings allow."""
        run_id = _run_id(said)
        forms = forms_in(said) if user and run_id else []
        stripped = json.dumps(said).encode() if strip(said, dify.app.nodes) else body
        if not any(form.node_id in dify.app.nodes for form in forms):
            return stripped
        done = await self._decided(request, dify, run_id, user, forms, self.config.hold_seconds if waits else 0)
        if done is None or done.finished is None:
            return stripped
        said["data"] = dict(done.finished)
        strip(said, dify.app.nodes)
        return json.dumps(said).encode()

    async def _decided(
        self, request: Request, dify: Dify, run_id: str, user: str, forms: list[Form], seconds: float
    ) -> Run | None:
        """The run once it is finished, or None. The forms are asked about whatever happens."""
        kept = self._mine(dify, run_id, user, forms)
        decisions = await self._ask(kept)
        if seconds <= 0:
            self._later(self._answer_now(dify, run_id, user, decisions))
            return None
        async with self.holds.one():
            work = self._through(dify, run_id, user, decisions, asyncio.get_running_loop().time() + seconds)
            done = await unless_over(request, self.draining, work)
        if done is None or done.finished is None:
            self.gatekeeper.follow(dify, run_id, user, frozenset(one.form.form_id for one in kept))
        return done

    def _mine(self, dify: Dify, run_id: str, user: str, forms: list[Form]) -> list[Kept]:
        found = [self.gatekeeper.kept(dify, run_id, user, form) for form in forms]
        return [one for one in found if one is not None]

    async def _ask(self, kept: list[Kept]) -> list[Decision]:
        """Raises Problem: then the run waits, and nothing was decided."""
        decisions = []
        for one in kept:
            try:
                decisions.append(await self.gatekeeper.ask(one))
            except CannotAsk as error:
                log.warning("form of node %s cannot be put to the gate: %s", one.form.node_id, error)
                self._later(self._refuse(one))
            except GateError as error:
                raise problem_of(error) from error
        return decisions

    async def _through(self, dify: Dify, run_id: str, user: str, decisions: list[Decision], end: float) -> Run | None:
        """Waits for people, answers, and goes on over further pauses until the run is finished or time is over."""
        loop, known = asyncio.get_running_loop(), set[str]()
        for _ in range(ROUNDS_MOST):
            waited = [await self.gatekeeper.wait(one, end - loop.time()) for one in decisions]
            if any(one.is_pending for one in waited):
                return None
            known |= {one.metadata.get("bridge_form", "") for one in waited}
            for one in waited:
                await self.gatekeeper.settle_soon(one)
            run = await self._next(dify, run_id, user, known, end)
            if run is None or run.finished is not None:
                return run
            decisions = await self._ask(self._mine(dify, run_id, user, list(run.forms)))
            if not decisions:
                return None
        return None

    async def _next(self, dify: Dify, run_id: str, user: str, known: set[str], end: float) -> Run | None:
        """The run finished, or paused at a form that is not known yet."""
        loop = asyncio.get_running_loop()
        while (left := end - loop.time()) > 0:
            run = await dify.look(run_id, user, left)
            if run.finished is not None or any(form.form_id not in known for form in run.forms):
                return run
            await self.gatekeeper.pause(0.3)
        return None

    # Streams

    def _streamed(self, dify: Dify, answer: httpx2.Response, user: str, headers: Mapping[str, str]) -> Response:
        """A task of its own reads: the run's forms are put to the gate although the caller has gone."""
        stream = _Stream(self, dify, user)
        self._later(stream.read(answer))
        return StreamingResponse(stream.pieces(), answer.status_code, dict(headers))

    async def asked(self, dify: Dify, run_id: str, user: str, form: Form) -> Decision | None:
        """For a form that came by in a stream; None for one that is not kept or cannot be asked about."""
        kept = self._mine(dify, run_id, user, [form])
        decisions = await self._ask(kept)
        return decisions[0] if decisions else None

    def answer_later(self, dify: Dify, run_id: str, user: str, decisions: list[Decision]) -> None:
        self._later(self._answer_now(dify, run_id, user, decisions))

    async def _answer_now(self, dify: Dify, run_id: str, user: str, decisions: list[Decision]) -> None:
        """What was decided at once; people's decisions come by webhook."""
        decided = [one for one in decisions if not one.is_pending]
        for one in decided:
            await self.gatekeeper.settle_soon(one)
        if decided:
            self.gatekeeper.follow(
                dify, run_id, user, frozenset(one.metadata.get("bridge_form", "") for one in decided)
            )

    async def _refuse(self, kept: Kept) -> None:
        await self.gatekeeper.refuse(kept)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Stream:
    """A stream from Dify: read to its end, passed on as long as somebody takes it."""

    def __init__(self, passing: Passing, dify: Dify, user: str) -> None:
        self._passing = passing
        self._dify = dify
        self._user = user
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MOST)
        self._is_read = True
        self._is_whole = False
        self._decisions: dict[str, Decision] = {}
        self._run_id = ""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises Broken when Dify's stream broke off: the caller's connection is cut too."""
        try:
            while (piece := await self._queue.get()) is not None:
                yield piece
        finally:
            self._is_read = False
            while not self._queue.empty():
                self._queue.get_nowait()
        if not self._is_whole:
            raise Broken

    async def read(self, answer: httpx2.Response) -> None:
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                await self._read(answer)
        except (httpx2.HTTPError, TooLong, TimeoutError, Broken) as error:
            log.warning("a stream of Dify was cut: %s", type(error).__name__)
        except Problem as problem:
            await self._put(_error_event(problem))
        finally:
            await answer.aclose()
            await self._put(None)
            decisions = list(self._decisions.values())
            self._passing.answer_later(self._dify, self._run_id, self._user, decisions)

    async def _read(self, answer: httpx2.Response) -> None:
        splitter = Splitter()
        async with aclosing(answer.aiter_bytes()) as pieces:
            async for piece in pieces:
                for block in splitter.feed(piece):
                    await self._put(await self._passed(block))
        if splitter.rest:
            await self._put(await self._passed(splitter.rest))
        self._is_whole = True

    async def _passed(self, block: bytes) -> bytes:
        """The event for the caller; a form of a kept node is put to the gate first. Raises Broken, Problem."""
        said = data_of(block)
        if said is None:
            if _may_hold_token(block):
                raise Broken
            return block
        self._run_id = _run_id(said) or self._run_id
        for form in _forms(said):
            if form.form_id not in self._decisions and self._user:
                decision = await self._passing.asked(self._dify, self._run_id, self._user, form)
                if decision is not None:
                    self._decisions[form.form_id] = decision
        if not strip(said, self._dify.app.nodes):
            return block
        return b"data: " + json.dumps(said).encode() + b"\n\n"

    async def _put(self, piece: bytes | None) -> None:
        """Waits for a caller who reads slowly, not for one who is gone."""
        while self._is_read:
            try:
                async with asyncio.timeout(1.0):
                    return await self._queue.put(piece)
            except TimeoutError:
                continue


def _known_id(request: Request) -> str:
    run_id: str = request.path_params["run"]
    if not _RUN_ID.fullmatch(run_id):
        raise Problem(404, "not_found", "no such run")
    return run_id


def strip(value: Any, nodes: Mapping[str, object]) -> bool:
    """Takes out the tokens of forms that the gate decides, wherever they are; whether there were any."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    each = [strip(one, nodes) for one in inner]  # all of them, not only to the first
    if not isinstance(value, dict):
        return any(each)
    node_id = value.get("node_id")
    is_open = isinstance(node_id, str) and node_id not in nodes
    if value.get(TOKEN) is None or is_open:
        return any(each)
    value[TOKEN] = None
    return True


def _may_hold_token(text: bytes) -> bool:
    return TOKEN.encode() in text or b"\\u" in text


def _forms(said: Mapping[str, Any]) -> list[Form]:
    data = said.get("data")
    if said.get("event") == "human_input_required" and isinstance(data, dict):
        form = form_of(data)
        return [] if form is None else [form]
    return forms_in(said) if said.get("event") == "workflow_paused" else []


def _run_id(said: Mapping[str, Any]) -> str:
    found = said.get("workflow_run_id")
    data = said.get("data")
    if not isinstance(found, str) and isinstance(data, dict):
        found = data.get("workflow_run_id")
    return found if isinstance(found, str) else ""


def _error_event(problem: Problem) -> bytes:
    """As Dify says that something went wrong in a stream."""
    said = {"event": "error", "status": problem.status, "code": problem.code, "message": problem.detail}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except (Problem, GateError, DifyUnavailable, RunNotFound) as error:
        log.warning("a form was not answered yet: %s", type(error).__name__)
    except Exception:
        log.exception("fault beside a call")
