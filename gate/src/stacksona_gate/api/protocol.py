"""What uvicorn leaves open on the wire, closed: sizes, deadlines, ambiguous framing, readers that never read.

Used as ``uvicorn.Config(http=GateProtocol)``. Every limit is a class attribute; a subclass overrides it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
from asyncio.events import TimerHandle
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from stacksona_gate.api.exchange import Exchange, Flow, Signal

IDLE, HEAD, BODY, REFUSED = range(4)
NEVER = math.inf
NO_HEADER = b"\0"  # no field can have this value
ONCE = (b"authorization", b"content-type", b"idempotency-key")
"""Fields that decide: whoever stands before the gate could have read the other one."""
_FORGOTTEN: Final = cast("HTTPScope", {})
HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is given before, or instead of, the application."""

    status: int
    title: str
    code: str
    detail: str

    def encode(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """The whole answer as bytes for the wire."""
        request_id = secrets.token_hex(16)
        problem = {
            "type": f"urn:stacksona:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "http_request_id": request_id,
        }
        body = json.dumps(problem).encode()
        fields = [
            *(field for field in default_headers if field[0] != b"connection"),
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        return STATUS_LINE[self.status] + head + b"\r\n" + body


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "Bad Request", "malformed", detail)


GARBLED = _malformed("This is not a well-formed HTTP/1.1 request. Send one request with one clear framing.")
HEAD_TOO_LARGE = _malformed("The request line and headers are too large. Send fewer or shorter headers.")
FRAMING = _malformed("The framing is ambiguous. Send either one Content-Length or Transfer-Encoding: chunked.")
NO_HOST = _malformed("An HTTP/1.1 request names exactly one valid Host. Send it.")
TWICE = _malformed("Authorization, Content-Type and Idempotency-Key can be read in one way only. Send each once.")
NO_TUNNEL = _malformed("CONNECT is not served here. Send the request itself.")
TOO_DEEP = _malformed("Too many requests without reading an answer. Read the answers first.")
BODY_TOO_LARGE = Refusal(413, "Content Too Large", "too_large", "The body is over the limit. Send a smaller one.")


class _Refused(Exception):
    """Stops the parser from inside one of its callbacks."""


class _Discard:
    """Stands in for the parser once a connection is refused: what still comes in is counted, not kept."""

    def __init__(self, transport: asyncio.Transport, limit: int) -> None:
        self._transport = transport
        self._left = limit

    def feed_data(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()


class GateProtocol(HttpToolsProtocol):
    """One connection, with every wait and every buffer bounded."""

    header_limit = 32 * 1024
    header_fields = 100
    header_seconds = 10.0
    body_limit = 7 * 1024 * 1024 + 65536
    body_seconds = 30.0
    write_seconds = 60.0
    """How long a client may take nothing of an answer that it has not finished reading."""
    last_seconds = 1.0
    """How long an idle connection stays when the server ends: a request may be on its way to it."""
    pipeline_limit = 100
    linger_seconds = 2.0
    linger_limit = 1024 * 1024
    """A refused client may still be sending: closing at once would reset the connection under the answer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None
        self.cycle: Exchange = cast("Exchange", None)
        self._phase = IDLE
        self._seen: HTTPScope | None = None
        self._behind: Exchange | None = None
        self._host = NO_HEADER
        self._refusal: Refusal | None = None
        self._answer = b""
        self._chunk_size = self._head_read = 0
        self._body_read = self._body_before = self._overhead = 0
        self._due = self._tick_at = NEVER
        self._timer: TimerHandle | None = None
        self._stall_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._set_due(self.header_seconds)  # uvicorn waits for ever for a first byte

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        # uvicorn tells only the newest request of a pipeline; the one being answered would go on for ever.
        answering = self._answering()
        if answering is not None:
            answering.hang_up()
        super().connection_lost(exc)

    # What the client sends. These five run for every request: several of uvicorn's are replaced, not extended.

    def data_received(self, data: bytes) -> None:
        """Feed the parser; watch the clock and the sizes only when a request is left unfinished."""
        self._chunk_size = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or GARBLED)
        else:
            if self._phase != IDLE or self.scope is not self._seen:
                self._watch()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._check_upgrade()
            return
        self._check_head()
        previous: Exchange | None = self.cycle
        self.cycle = self._exchange()
        if previous is None or previous.response_complete:
            self.start(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        if len(self.pipeline) == 1:
            self._behind = previous  # the one that is being answered
        self._seen = self.scope
        self._due = NEVER
        self._phase = BODY
        self._body_read = 0

    def _exchange(self) -> Exchange:
        """The request whose head is complete, as uvicorn describes it to an application."""
        scope, version = self.scope, self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        made = Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=cast("asyncio.Event", Signal()),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        made.connection = self
        return made

    def start(self, exchange: Exchange, app: ASGIApp) -> None:
        """Runs an application for a request in a task."""
        self._start_asgi_task(exchange, cast("ASGI3Application", app))

    def release(self, exchange: Exchange) -> None:
        """Forgets the head of a request, unless the next one's is being read."""
        if self.scope is exchange.scope:
            self.scope = self._seen = _FORGOTTEN
            self.headers, self.url = [], b""

    def on_body(self, body: bytes) -> None:
        self._body_read += len(body)
        if self._body_read > self.body_limit:
            self._stop(BODY_TOO_LARGE)
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._phase != BODY:  # an upgrade request, about to be read again without its Upgrade
            return
        self._phase = IDLE
        self._chunk_size = 0  # how much of this read belongs to a request behind this one is not known
        cycle = self.cycle
        if cycle.response_complete:
            self._set_due(self.timeout_keep_alive)
        else:
            self._due = NEVER
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch_flush()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._behind = cast("Exchange", cycle)
            self._start_asgi_task(cycle, app)
        elif self._phase == IDLE:
            self._set_due(self.timeout_keep_alive)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Nothing is being answered any more: the next head's time begins, or a refusal's turn has come."""
        if self._phase == HEAD:
            self._set_due(self.header_seconds)
        elif self._phase == REFUSED:
            self._close_with_answer()

    def _answering(self) -> Exchange | None:
        """The request that is being answered: the newest, or the one that the pipeline waits behind."""
        cycle = self._behind if self.pipeline else self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    # Heads

    def _check_head(self) -> None:
        """Refuse a head that is too large or can be read in two ways."""
        fields = dict(self.headers)
        if len(fields) != len(self.headers) or self._head_read or not 0 < self._chunk_size <= self.header_limit:
            self._check_unusual()
        if self.pipeline and len(self.pipeline) >= self.pipeline_limit:
            self._stop(TOO_DEEP)
        if len(fields) > self.header_fields:
            self._stop(HEAD_TOO_LARGE)
        host = fields.get(b"host")
        if host != self._host:
            self._check_host(host)
        if b"content-length" in fields and int(fields[b"content-length"]) > self.body_limit:
            self._stop(BODY_TOO_LARGE)
        if b"transfer-encoding" in fields:
            self._check_chunked(fields[b"transfer-encoding"])

    def _check_unusual(self) -> None:
        """Heads with repeated fields, and heads that did not come alone in one small read."""
        if self._head_size() > self.header_limit or len(self.headers) > self.header_fields:
            self._stop(HEAD_TOO_LARGE)
        names = [name for name, _ in self.headers]
        if names.count(b"host") > 1:
            self._stop(NO_HOST)
        if any(names.count(name) > 1 for name in ONCE):
            self._stop(TWICE)
        self._head_read = 0

    def _head_size(self) -> int:
        request_line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n")
        return request_line + sum(len(name) + len(value) + 4 for name, value in self.headers) + 2

    def _check_host(self, host: bytes | None) -> None:
        version = self.parser.get_http_version()
        missing = host is None and version != "1.0"
        if missing or version not in ("1.0", "1.1") or not HOST.fullmatch(host or b""):
            self._stop(NO_HOST)
        if host is not None:
            self._host = host

    def _check_chunked(self, coding: bytes) -> None:
        # Proxies disagree about chunks in HTTP/1.0 and about any coding beside chunked.
        if coding.lower() != b"chunked" or self.parser.get_http_version() != "1.1":
            self._stop(FRAMING)
        # Trailers would be appended to the headers that the application is already reading.
        self.headers = []

    def _check_upgrade(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            self._stop(NO_TUNNEL)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request again as if no upgrade were asked for: httptools would lose its body."""
        fields = [(name, value) for name, value in self.headers if name != b"upgrade"]
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)]
        head += [b"%s: %s\r\n" % field for field in fields]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    # Unfinished requests

    def _watch(self) -> None:
        if self._phase == BODY:
            self._watch_body()
        elif self._phase != REFUSED:
            self._watch_head()

    def _watch_head(self) -> None:
        """Count what the parser holds of a head that is not complete."""
        if self._phase != HEAD:
            self._phase = HEAD
            self._head_read = 0
            self._set_due(self.header_seconds)
        self._head_read += self._chunk_size or 1
        if self._head_read > self.header_limit:
            self._refuse(HEAD_TOO_LARGE)

    def _watch_body(self) -> None:
        """Chunk extensions and trailers are bytes that never reach the body's count."""
        if self._due == NEVER:
            self._set_due(self.body_seconds)
            self._overhead = self._body_before = 0
        elif self._body_read == self._body_before:
            self._overhead += self._chunk_size
        self._body_before = self._body_read
        if self._overhead > self.header_limit:
            self._refuse(HEAD_TOO_LARGE)

    # The clock: one timer for a connection. Moving a deadline later is a store; only an earlier one is scheduled.

    def _set_due(self, seconds: float) -> None:
        self._due = due = self.loop.time() + seconds
        if due < self._tick_at:
            if self._timer is not None:
                self._timer.cancel()
            self._tick_at = due
            self._timer = self.loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._tick_at = None, NEVER
        remaining = self._due - self.loop.time()
        if self._due == NEVER:
            return
        if remaining > 0:
            self._set_due(remaining)
        else:
            self._expire()

    def _expire(self) -> None:
        if self._phase == IDLE:
            self.timeout_keep_alive_handler()
            self._watch_flush()
        elif self._phase == HEAD and self._answering() is not None:
            self._due = NEVER  # it begins again when the earlier request is answered
        elif self._phase == BODY and self.flow.read_paused:
            self._set_due(self.body_seconds)  # the client waits for the application to read
        else:
            self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._stall_timer = None

    # Ending

    def shutdown(self) -> None:
        """A request that comes now is the connection's last: it is answered, and closed with its answer."""
        if self._answering() is not None or self._phase == BODY:
            super().shutdown()
        elif self._phase == IDLE:
            self._set_due(self.last_seconds)

    # Refusing

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, stop reading, close; behind an answer that is still under way, never inside it."""
        in_body = self._phase == BODY
        self._phase, self._due = REFUSED, NEVER
        self._answer = refusal.encode(self.server_state.default_headers)
        self.logger.info("Refused before the application: %s", refusal.detail)
        self.parser = cast("httptools.HttpRequestParser", _Discard(self.transport, self.linger_limit))
        if in_body:
            self._withdraw()
        if self._answering() is None:
            self._close_with_answer()

    def _withdraw(self) -> None:
        """Take back the request whose body is refused: it is queued, answered at least in part, or running."""
        cycle = self.cycle
        if self.pipeline:
            self.pipeline.popleft()
            self.cycle = cast("Exchange", self.pipeline[0][0] if self.pipeline else self._behind)
        elif cycle.response_started:
            self._answer = b""
            cycle.keep_alive = False
        else:
            cycle.hang_up()
            cycle.response_complete = True

    def _close_with_answer(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(self._answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._set_due(self.linger_seconds)
        else:
            self.transport.close()

    # Clients that do not read

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_stall_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_stall_timer()

    def _watch_flush(self) -> None:
        # A closing transport waits for ever for a client that does not take the rest.
        if self._stall_timer is None and self.transport.get_write_buffer_size():
            self._start_stall_timer()

    def _start_stall_timer(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.write_seconds, self._check_stall, unsent)

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _check_stall(self, unsent: int) -> None:
        """A reader may be slow for as long as it reads at all."""
        if self.transport.get_write_buffer_size() < unsent:
            self._start_stall_timer()
        else:
            self.transport.abort()
