"""Spans of OpenTelemetry, where it is installed and told where to send them. Otherwise nothing of it is loaded.

A span holds names and ids of ours, HTTP statuses and times: never what was asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from stacksona_gate.telemetry.trace import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, SpanContext

SERVICE: Final = "stacksona-gate"
LINKS_MOST: Final = 128
"""Of one commit, which may have hundreds of calls in it."""
NANOSECONDS: Final = 1_000_000_000
MISSING: Final = (
    "OTEL_… asks for traces, and OpenTelemetry is not installed: install stacksona-gate[otel], or set"
    " OTEL_SDK_DISABLED=true"
)


def is_asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces: an exporter by name, or an address to send to."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    addresses = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return exporter == "otlp" or (not exporter and any(environ.get(name) for name in addresses))


def spans_of(environ: Mapping[str, str]) -> Spans | None:
    """What sends spans as the standard variables say; None where they ask for none. Raises ValueError when they do and
    it is not installed."""
    if not is_asked_for(environ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ValueError(MISSING) from None
    named = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


class Spans:
    """Makes spans of calls, decisions, commits and deliveries. Any thread may."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace

        self._api = trace
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)

    def begin(self, trace: Trace, name: str, *, outgoing: bool = False) -> None:
        """Opens the span of a call, or of a delivery (``outgoing``). From here on it is what the trace goes on from."""
        kind = self._api.SpanKind.CLIENT if outgoing else self._api.SpanKind.SERVER
        span = self._tracer.start_span(name, context=self._parent(trace), kind=kind)
        trace.span = span
        trace.traceparent = _traceparent(span.get_span_context())

    def end(self, trace: Trace | None, status: int | None, *, failed: bool | None = None) -> None:
        """Closes what was begun. ``status``: HTTP. ``failed``: by default from 500 on."""
        span = None if trace is None else trace.span
        if trace is None or span is None:
            return
        trace.span = None
        for name, value in trace.fields().items():
            if name not in ("trace_id", "span_id"):
                span.set_attribute(f"stacksona.{name}", value)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if failed if failed is not None else (status or 0) >= 500:
            span.set_status(self._api.StatusCode.ERROR)
        span.end()

    def decided(self, trace: Trace | None, seconds: float, status: str, reason_code: str) -> None:
        """The rules were evaluated, just now."""
        end = time.time_ns()
        begin = end - round(seconds * NANOSECONDS)
        answered = {"stacksona.status": status, "stacksona.reason_code": reason_code}
        context = None if trace is None else self._parent(trace)
        self._tracer.start_span("decide", context=context, start_time=begin, attributes=answered).end(end)

    def committed(self, traces: Sequence[Trace | None], seconds: float) -> None:
        """Writes of several calls went to disk together, just now: a span of its own that links to each of them."""
        end = time.time_ns()
        begin = end - round(seconds * NANOSECONDS)
        links = [link for link in map(self._link, traces[:LINKS_MOST]) if link is not None]
        size = {"stacksona.batch_size": len(traces)}
        self._tracer.start_span("commit", links=links, start_time=begin, attributes=size).end(end)

    def close(self) -> None:
        """Sends what was not sent yet."""
        self._provider.shutdown()

    def _parent(self, trace: Trace) -> Any:
        context = _context(self._api, trace)
        return None if context is None else self._api.set_span_in_context(self._api.NonRecordingSpan(context))

    def _link(self, trace: Trace | None) -> Link | None:
        context = None if trace is None else _context(self._api, trace)
        return None if context is None else self._api.Link(context)


def _context(api: Any, trace: Trace) -> SpanContext | None:
    """Of the ``traceparent``, which has been checked."""
    given = trace.traceparent
    if given is None:
        return None
    flags = api.TraceFlags(int(given[53:55], 16))
    made: SpanContext = api.SpanContext(int(given[3:35], 16), int(given[36:52], 16), is_remote=True, trace_flags=flags)
    return made


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
