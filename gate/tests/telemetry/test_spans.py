"""Spans of a call, its decision, the commit it is in, and the webhook that comes of it; none unless asked for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, Api, api_of, refund
from gate.tests.cli.processes import COMMAND, PATIENCE, made, running, send, until
from gate.tests.factories import world
from gate.tests.outbox import FakeSender, give_address, until as eventually, working
from gate.tests.ports import free_port
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stacksona_gate.telemetry.spans import Spans, is_asked_for, spans_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"x-request-id": "run-7", "traceparent": f"00-{TRACE}-{PARENT}-01"}
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def told() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def api(told: InMemorySpanExporter) -> AsyncIterator[Api]:
    """A gate whose spans are kept."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(told))
    spans = Spans(provider)
    async with world() as w:
        w.gate.env = replace(w.gate.env, spans=spans)
        w.gate.store.trace(spans)
        async with api_of(w) as found:
            told.clear()
            yield found


def named(told: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [one for one in told.get_finished_spans() if one.name == name]
    return span


def own(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def parent(span: ReadableSpan) -> tuple[str, str] | None:
    return None if span.parent is None else (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}")


CALL = "POST /api/agent/tasks/{task_id}/requests"


async def test_a_call_goes_on_from_its_callers_span_and_its_decision_from_the_call(
    api: Api, told: InMemorySpanExporter
) -> None:
    await api.post(ASK, refund(), headers=HEADERS)
    called, decided = named(told, CALL), named(told, "decide")
    assert parent(called) == (TRACE, PARENT)
    assert parent(decided) == own(called)
    assert (called.kind, called.attributes["http.response.status_code"]) == (SpanKind.SERVER, 200)  # type: ignore[index]
    assert decided.attributes == {"stacksona.status": "pending_review", "stacksona.reason_code": "rule"}


async def test_the_commit_links_to_every_call_that_is_in_it(api: Api, told: InMemorySpanExporter) -> None:
    await asyncio.gather(*(api.post(f"/api/agent/tasks/task-{i}/requests", refund(100)) for i in range(5)))
    calls = {own(one) for one in told.get_finished_spans() if one.name == CALL}
    commits = [one for one in told.get_finished_spans() if one.name == "commit"]
    linked = {
        (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for one in commits for link in one.links
    }
    assert len(calls) == 5
    assert calls <= linked
    assert sum(one.attributes["stacksona.batch_size"] for one in commits if one.links) == 5  # type: ignore[index,misc]


async def test_the_webhook_goes_on_from_the_call_that_asked_and_its_receiver_from_the_webhook(
    api: Api, told: InMemorySpanExporter
) -> None:
    await give_address(api.world)
    asked = (await api.post(ASK, refund(), headers=HEADERS)).json()
    sender: FakeSender
    async with working(api.world) as sender:
        await api.review(asked)
        await eventually(lambda: api.world.gate.deliveries["delivered"] == 1)
    called, sent = named(told, CALL), named(told, "webhook decision.approved")
    assert parent(sent) == own(called)
    assert sender.sent[0].headers["traceparent"] == f"00-{own(sent)[0]}-{own(sent)[1]}-01"
    assert (sent.kind, sent.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)


async def test_a_held_answers_span_ends_when_it_is_given(api: Api, told: InMemorySpanExporter) -> None:
    asked = (await api.post(ASK, refund())).json()
    where = {"request_id": asked["request_id"], "wait": 60}
    held = asyncio.ensure_future(api.get(DECISIONS, headers=HEADERS, **where))
    await eventually(lambda: api.context.holds.count == 1)
    assert [one for one in told.get_finished_spans() if one.name == "GET " + DECISIONS] == []
    await api.review(asked)
    await held
    assert parent(named(told, "GET " + DECISIONS)) == (TRACE, PARENT)


async def test_no_span_holds_what_was_asked(api: Api, told: InMemorySpanExporter) -> None:
    await api.post(ASK, refund(subject="hidden-subject", metadata={"a": "hidden-metadata"}), headers=HEADERS)
    written = json.dumps([json.loads(one.to_json()) for one in told.get_finished_spans()])
    assert not [one for one in ("hidden", "cus_99", api.world.key, "Bearer") if one in written]


async def test_a_call_that_is_not_sampled_passes_its_trace_on_and_is_not_told(
    api: Api, told: InMemorySpanExporter
) -> None:
    asked = (await api.post(ASK, refund(), headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})).json()
    kept = (await api.request(asked)).traceparent or ""
    assert (kept[3:35], kept[-2:]) == (TRACE, "00")
    assert [one.name for one in told.get_finished_spans() if one.name != "commit"] == []


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, False),
        ({ENDPOINT: "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", ENDPOINT: "http://127.0.0.1:4318"}, False),
        ({"OTEL_SERVICE_NAME": "gate"}, False),
    ],
)
def test_spans_are_made_when_the_standard_variables_ask_for_them(environ: dict[str, str], asked: bool) -> None:
    assert is_asked_for(environ) == asked
    assert asked or spans_of(environ) is None


@pytest.mark.slow
def test_nothing_of_it_is_loaded_unless_it_is_asked_for() -> None:
    look = "import sys, stacksona_gate.main; print([n for n in sys.modules if n.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@contextmanager
def collector() -> Iterator[tuple[str, list[str]]]:
    """An OTLP receiver on loopback: its address, and names of the spans that came, of one trace."""
    names: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            read = ExportTraceServiceRequest.FromString(body)
            for resource in read.resource_spans:
                assert any(one.value.string_value == "stacksona-gate" for one in resource.resource.attributes)
                names.extend(
                    span.name for scope in resource.scope_spans for span in scope.spans if span.trace_id.hex() == TRACE
                )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", names
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
def test_a_served_gate_sends_its_spans_to_the_collector_that_it_is_told_of(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/gate.db"
    key = made("agent", "create", "bot", "--database", database)["key"]
    port = free_port()
    with collector() as (address, names):
        settings = {ENDPOINT: address, "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        with running(COMMAND, "serve", "--port", str(port), "--database", database, **settings) as gate:
            gate.line("Stacksona Gate on")
            status, _ = send(
                port, "POST", ASK, {**HEADERS, "Authorization": f"Bearer {key}"}, json.dumps(refund()).encode()
            )
            until(lambda: True if {CALL, "decide"} <= set(names) else None)
            gate.end()
    assert status == 200


@pytest.mark.slow
def test_asked_for_and_not_installed_says_what_to_do_and_serves_nothing(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry'] = None; from stacksona_gate.cli import main; main()"
    arguments = ["serve", "--port", str(free_port()), "--database", f"sqlite:///{tmp_path}/gate.db"]
    done = subprocess.run(
        [sys.executable, "-c", hidden, *arguments],
        env={"PATH": "/usr/bin", ENDPOINT: "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode != 0
    assert "install stacksona-gate[otel]" in done.stderr
