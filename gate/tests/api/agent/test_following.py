"""One call followed from the agent's headers through the log to the receiver of its webhook."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from gate.tests.api.agent.calls import ASK, Api, refund
from gate.tests.delivery.receivers import OK, Receiver, receiving, says
from gate.tests.factories import PATIENCE
from gate.tests.outbox import deliveries, give_address, until

from stacksona_gate.api.routing import Operation, build_routes
from stacksona_gate.api.watching import Watch
from stacksona_gate.config import Settings
from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.delivery.worker import DeliveryWorker
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.logs import JsonFormatter

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
HEADERS = {"x-request-id": "run-7", "traceparent": TRACEPARENT}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the gate's loggers write."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("stacksona_gate")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before)


def read(lines: io.StringIO, event: str) -> dict[str, Any]:
    """The one line of that event."""
    (line,) = [one for one in map(json.loads, lines.getvalue().splitlines()) if one["event"] == event]
    return line  # type: ignore[no-any-return]


@asynccontextmanager
async def delivering(api: Api, answer: bytes = OK) -> AsyncIterator[Receiver]:
    async with receiving(says(answer)) as receiver:
        await give_address(api.world, f"http://127.0.0.1:{receiver.port}/hook")
        worker = DeliveryWorker(api.world.gate, Sender(AddressGuard.of("127.0.0.0/8", "")))
        worker.start()
        try:
            yield receiver
        finally:
            await worker.stop(PATIENCE)


async def ask(api: Api, headers: dict[str, str]) -> Any:
    return (await api.post(ASK, refund(), headers=headers)).json()


async def test_the_receiver_gets_the_trace_and_the_id_of_the_call_that_asked(api: Api) -> None:
    async with delivering(api) as receiver:
        decision = await ask(api, HEADERS)
        await api.review(decision)
        await until(receiver.arrived.is_set)
    sent = receiver.headers()
    assert (sent["traceparent"], sent["x-request-id"]) == (TRACEPARENT, "run-7")


async def test_every_attempt_carries_them_and_its_line_says_whose_it_is(api: Api, lines: io.StringIO) -> None:
    async with delivering(api, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"):
        decision = await ask(api, HEADERS)
        await api.review(decision)
        await until(lambda: "webhook failed" in lines.getvalue())
    line = read(lines, "webhook failed")
    assert (line["http_request_id"], line["trace_id"], line["span_id"]) == ("run-7", TRACE, PARENT)
    assert (line["request_id"], line["thread_id"]) == (decision["request_id"], decision["thread_id"])
    assert (line["tenant_id"], line["status"], line["attempt"]) == ("default", 500, 1)


async def test_a_webhook_of_an_untraced_call_carries_its_id_alone(api: Api) -> None:
    async with delivering(api) as receiver:
        answer = await api.post(ASK, refund())
        await api.review(answer.json())
        await until(receiver.arrived.is_set)
    sent = receiver.headers()
    assert "traceparent" not in sent
    assert sent["x-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "hostile", [TRACEPARENT.upper(), TRACEPARENT + "-more", "0" * 55, f"{TRACEPARENT}, {TRACEPARENT}"]
)
async def test_a_hostile_traceparent_goes_nowhere(api: Api, lines: io.StringIO, hostile: str) -> None:
    async with delivering(api) as receiver:
        await api.review(await ask(api, {"traceparent": hostile}))
        await until(receiver.arrived.is_set)
        await until(lambda: "webhook delivered" in lines.getvalue())
    assert "traceparent" not in receiver.headers()
    assert hostile not in lines.getvalue()
    assert "trace_id" not in read(lines, "webhook delivered")


async def test_threads_that_end_in_one_go_keep_each_its_own_trace(api: Api) -> None:
    await give_address(api.world)
    for number in range(3):
        await ask(api, {"x-request-id": f"run-{number}", "traceparent": f"00-{TRACE[:-1]}{number}-{PARENT}-01"})
    await api.world.pause()
    kept = {one.http_request_id: one.traceparent for one in await deliveries(api.world)}
    assert kept == {f"run-{number}": f"00-{TRACE[:-1]}{number}-{PARENT}-01" for number in range(3)}


async def test_the_trace_of_a_thread_is_that_of_its_opening_whoever_calls_later(api: Api) -> None:
    decision = await ask(api, HEADERS)
    await api.post(
        "/api/agent/tasks/task-1/events",
        {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"amount": 300}},
        headers={"x-request-id": "later", "traceparent": TRACEPARENT.replace("b7-", "b8-")},
    )
    kept = await api.request(decision)
    assert (kept.revision, kept.http_request_id, kept.traceparent) == (2, "run-7", TRACEPARENT)


async def test_an_answer_given_at_once_keeps_no_trace(api: Api) -> None:
    decision = (await api.post(ASK, refund(100), headers=HEADERS)).json()
    kept = await api.request(decision)
    assert (kept.status, kept.http_request_id, kept.traceparent) == ("allow", None, None)


async def test_erasing_takes_the_trace_too(api: Api) -> None:
    await give_address(api.world)
    decision = await ask(api, HEADERS)
    await api.review(decision, "reject")
    w = api.world
    await w.write(lambda tx: tx.erasure.erase_request(w.tenant_id, decision["request_id"], w.env.now()))
    kept = await api.request(decision)
    (sent,) = await deliveries(w)
    assert (kept.http_request_id, kept.traceparent, sent.http_request_id, sent.traceparent) == (None,) * 4


async def test_a_unit_in_the_writers_thread_logs_with_its_callers_ids(api: Api, lines: io.StringIO) -> None:
    log = logging.getLogger("stacksona_gate.test")

    async def write(context: Any, call: Any) -> Any:
        await context.gate.store.write(lambda tx: log.info("in the writer"))
        raise Unavailable("over")

    operation = Operation("GET", "/writes", write, "Test", None)
    (route,) = build_routes([operation], api.context, watch=Watch(access_log="failures"))
    await _called(route, HEADERS)
    assert read(lines, "in the writer")["http_request_id"] == "run-7"
    line = read(lines, "GET /writes 503")
    assert (line["level"], line["status"], line["trace_id"]) == ("warning", 503, TRACE)
    assert line["seconds"] > 0


async def _called(route: Any, headers: dict[str, str]) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/writes", "headers": fields, "path_params": {}}

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None: ...

    await route.app(scope, receive, send)


@pytest.mark.parametrize(("setting", "told"), [("all", True), ("failures", False), ("none", False)])
async def test_a_call_gets_a_line_as_the_setting_says_and_no_line_has_its_content(
    api: Api, lines: io.StringIO, setting: str, told: bool
) -> None:
    from stacksona_gate.api.agent.routes import OPERATIONS

    routes = build_routes(OPERATIONS, api.context, watch=Watch(access_log=setting))
    api.app.routes[:0] = routes  # type: ignore[attr-defined]
    await api.post(ASK, refund(subject="secret-subject"), headers=HEADERS)
    assert ("POST /api/agent/tasks/{task_id}/requests 200" in lines.getvalue()) == told
    assert not {"secret-subject", "cus_99", api.world.key} & set(lines.getvalue().split('"'))


def test_the_default_is_a_line_for_failures() -> None:
    assert Settings().access_log == "failures"
