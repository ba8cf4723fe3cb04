"""How a handler is called and what it returns: a thin layer over ASGI, because every decision passes through it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Protocol
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from stacksona_gate.api.bodies import ClientGone, read_body
from stacksona_gate.api.errors import PROBLEM_TYPE, Problem, problem, problem_of
from stacksona_gate.api.exchange import Exchange
from stacksona_gate.api.watching import GONE, Watch, Watched
from stacksona_gate.domain.errors import FieldError, GateError, Invalid, Malformed, OverLimit, Unknown
from stacksona_gate.service.wakeups import until_due
from stacksona_gate.telemetry.trace import CURRENT, NOTHING, TRACEPARENT, Trace, named, read_traceparent

log = logging.getLogger(__name__)

JSON_TYPE: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


def _plain_text(value: object) -> str:
    """Masked texts are texts of a kind of their own."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be said in JSON")


ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain_text)
_CONTROLS: Final = bytes({*range(32), 127} - {9})
"""What no field may have (RFC 9110 section 5.5), the ends of its line included."""
_FIELDS_MOST: Final = 50
_NO_STORE: Final = (b"cache-control", b"no-store")

Header = tuple[bytes, bytes]


class Call(Trace):
    """One call: its parts are read when they are asked for. It is what log lines of its task belong to."""

    __slots__ = ("_receive", "headers", "left", "request_id", "route", "scope")

    def __init__(self, scope: Scope, receive: Receive, request_id: str, headers: dict[bytes, bytes]) -> None:
        """``request_id``: of the call."""
        self.scope = scope
        self._receive = receive
        self.headers = headers
        self.request_id = self.http_request_id = request_id
        # As Trace has them: made here, because every decision passes through it.
        self.traceparent = read_traceparent(headers, scope["headers"]) if TRACEPARENT in headers else None
        self.tenant_id = self.span = None
        self.about = NOTHING
        self.route: str | None = None
        """Where metrics count it, when not where its operation is counted: an answer that was held."""
        self.left: Callable[[], None] | None = None
        """Called when the call is answered or held: it no longer takes up a place."""

    def leave(self) -> None:
        """Gives up the place that the call took among those of its workspace."""
        left, self.left = self.left, None
        if left is not None:
            left()

    @property
    def path(self) -> dict[str, str]:
        """What the route's pattern took from the path, percent-decoded."""
        return self.scope["path_params"]  # type: ignore[no-any-return]

    def header(self, name: bytes) -> str | None:
        """A header's value; bytes beyond ASCII come as Latin-1."""
        raw = self.headers.get(name)
        return None if raw is None else raw.decode("latin-1")

    @property
    def peer(self) -> str:
        """The address of the other end."""
        client = self.scope.get("client")
        return client[0] if client else "unknown"

    @property
    def served_on(self) -> str:
        """The address of this end."""
        server = self.scope.get("server")
        return server[0] if server else "unknown"

    def query(self) -> dict[str, str]:
        """The query's fields. Raises Malformed for a repeated one or broken text, Invalid for too many."""
        try:
            pairs = _pairs(self.scope["query_string"].decode("ascii"))
        except (UnicodeDecodeError, ValueError):
            raise Malformed("the query is not valid UTF-8 in percent encoding, or has over 50 fields") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise Malformed("the query names a field twice: send each once")
        return fields

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises TooLarge as soon as the limit is passed."""
        return await read_body(self._receive, limit)

    async def while_connected[T](self, work: Awaitable[T]) -> T:
        """Awaits ``work``; raises ClientGone when the caller hangs up first, so that nothing waits for nobody."""
        # The work runs in this very task and only the watcher in another: thousands of answers are held at once.
        current, over = asyncio.current_task(), False
        watcher = asyncio.ensure_future(self._gone())

        def leave(gone: asyncio.Future[None]) -> None:
            if current is not None and not over and not gone.cancelled():
                current.cancel()

        watcher.add_done_callback(leave)
        try:
            return await work
        except asyncio.CancelledError:
            if current is None or not watcher.done() or watcher.cancelled():
                raise
            current.uncancel()
            raise ClientGone from None
        finally:
            over = True
            watcher.cancel()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _pairs(query: str) -> list[tuple[str, str]]:
    """Raises ValueError."""
    if "%" in query or "+" in query or query.count("&") >= _FIELDS_MOST:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MOST)
    # The same for a query without escapes, in a fifth of the time.
    return [(name, value) for name, _, value in (field.partition("=") for field in query.split("&") if field)]


async def shown[T](reading: Awaitable[T]) -> T:
    """What is read back for the answer after something was written. Raises Unknown that says that it was: to say
    that nothing was decided, or that the key is none, would be untrue by then. It may have been replaced in between."""
    try:
        return await reading
    except GateError as error:
        detail = "this was done and is kept, and cannot be shown now: read it again, do not repeat it"
        raise Unknown(detail, code="done_not_shown", retry_after=1) from error


@dataclass(slots=True)
class Reply:
    """A complete answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON_TYPE
    headers: tuple[Header, ...] = ()
    head: bytes | None = None
    """All header lines but the request id, written already: for a 200 that goes out in one piece."""

    def written(self) -> Reply:
        """The same with ``head``."""
        fields = _fields(self)
        head = b"".join([part for name, value in fields for part in (name, b": ", value, b"\r\n")])
        if len(head.translate(None, _CONTROLS)) != len(head) - len(fields) * len(b"\r\n"):
            raise ValueError("a header has a control character")
        self.head = head
        return self


@dataclass(slots=True)
class Events:
    """Server-sent events. An empty chunk is a sign of life."""

    chunks: AsyncIterator[bytes]
    headers: tuple[Header, ...] = ()


@dataclass(slots=True)
class Download:
    """A long answer, sent as it is made. ``chunks`` that raise end the connection: nobody takes half for the whole."""

    chunks: AsyncGenerator[bytes]
    content_type: bytes
    headers: tuple[Header, ...] = ()


class Held(Protocol):
    """An answer that waits for something. The server keeps nothing else of the call meanwhile, where it can."""

    def arm(self, due: Callable[[bool], None]) -> None:
        """Calls ``due`` once, when it is time to look."""
        ...

    async def look(self) -> Reply | None:
        """The answer; None: arm again. Raises GateError."""
        ...

    def close(self) -> None:
        """It is answered, or there is nobody to answer any more."""
        ...


Answered = Reply | Events | Download | Held
Handler = Callable[[Call], Awaitable[Answered]]


def json_reply(value: object, status: int = 200, headers: tuple[Header, ...] = ()) -> Reply:
    return Reply(ENCODER.encode(value), status, JSON_TYPE, headers)


def problem_reply(made: Problem, headers: tuple[Header, ...] = ()) -> Reply:
    return Reply(ENCODER.encode(made), made.status, PROBLEM_TYPE, headers)


class Endpoint:
    """An ASGI application around one handler: request id, errors, headers that every answer has.

    ``on_error`` is told of every refusal, so that floods are counted in one place.
    """

    def __init__(
        self,
        handler: Handler,
        on_error: Callable[[Call, GateError], Awaitable[None]] | None = None,
        watched: Watched | None = None,
    ) -> None:
        self._handler = handler
        self._on_error = on_error
        self._watched = watched or Watch().of("", "other")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        call = Call(scope, receive, named(headers), headers)
        CURRENT.set(call)  # of this call's own task
        if self._watched.spans is not None:
            self._watched.spans.begin(call, self._watched.name)
        await self.answer(call, self._handler(call), send, begun)

    async def answer(self, call: Call, work: Awaitable[Answered], send: Send, begun: float) -> None:
        """Awaits the work for a call and sends what comes of it. ``begun``: perf_counter when the call came."""
        try:
            reply = await work
        except GateError as error:
            reply = await self._refused(call, error)
        except ClientGone:
            self.gone(begun, call.route)
            return
        except Exception:
            log.exception("fault in %s", call.scope.get("path_params"))
            reply = problem_reply(
                problem(500, "fault", "the gate has a fault here: nothing was allowed; see its log", call.request_id)
            )
        finally:
            if call.left is not None:
                call.leave()
        if isinstance(reply, Reply):
            if reply.head is None or not _write(reply, reply.head, call.request_id, send):
                await send_reply(reply, call.request_id, send, head=call.scope["method"] == "HEAD")
            if call.route is None:
                self._watched.done(reply.status, begun)
            else:
                self._watched.opened(reply.status, begun, call.route)
        elif isinstance(reply, Events | Download):
            self._watched.opened(200, begun)
            await _go_on(call, reply, send)
        else:
            await self._hold(call, reply, send, begun)

    async def _hold(self, call: Call, held: Held, send: Send, begun: float) -> None:
        parked = _Parked(self, held, call, begun)
        exchange = getattr(send, "__self__", None)
        if isinstance(exchange, Exchange):
            exchange.park(parked)
        else:
            await self.answer(call, call.while_connected(parked.wait()), send, begun)

    def gone(self, begun: float, route: str | None, trace: Trace | None = None) -> None:
        """Counts a caller that hung up. ``trace``: of the call, where it is not the running task's."""
        self._watched.opened(GONE, begun, route, trace)

    async def _refused(self, call: Call, error: GateError) -> Reply:
        if error.kind == "too_many":
            self._watched.measures.limited[error.code] += 1
        if self._on_error is not None:
            await self._on_error(call, error)
        return refused(error, call.request_id)


class _Parked:
    """A held answer, and what is needed of its call."""

    __slots__ = ("_begun", "_client", "_endpoint", "_held", "_route", "_trace")

    def __init__(self, endpoint: Endpoint, held: Held, call: Call, begun: float) -> None:
        self._endpoint = endpoint
        self._held = held
        self._client = call.scope.get("client")
        self._trace = Trace(call.http_request_id, call.traceparent, call.tenant_id, call.about)  # the call is large
        self._trace.span = call.span
        self._route = call.route
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = self._trace
        CURRENT.set(trace)  # of this task; who woke it belongs to another call
        call = Call({"method": scope["method"], "client": self._client}, receive, trace.http_request_id or "", {})
        call.traceparent, call.tenant_id, call.about = trace.traceparent, trace.tenant_id, trace.about
        call.span = trace.span
        call.route = self._route
        await self._endpoint.answer(call, self._look(), send, self._begun)

    async def _look(self) -> Answered:
        """The answer, or the same once more."""
        try:
            reply = await self._held.look()
        except BaseException:
            self._held.close()
            raise
        if reply is None:
            return self._held
        self._held.close()
        return reply

    def arm(self, due: Callable[[bool], None]) -> None:
        self._held.arm(due)

    def gone(self) -> None:
        self._held.close()
        self._endpoint.gone(self._begun, self._route, self._trace)

    async def wait(self) -> Reply:
        """For a server that knows no better way."""
        try:
            while True:
                await until_due(self._held.arm)
                reply = await self._held.look()
                if reply is not None:
                    return reply
        finally:
            self._held.close()


def refused(error: GateError, request_id: str) -> Reply:
    """The answer to a call that was refused."""
    headers: tuple[Header, ...] = ()
    if error.retry_after is not None:
        headers = ((b"retry-after", str(error.retry_after).encode()),)
    if isinstance(error, OverLimit):
        headers = (*headers, *quota_headers(error))
    if error.kind == "unauthenticated":
        headers = (*headers, (b"www-authenticate", b'Bearer realm="stacksona-gate"'))
    if error.kind == "too_large":
        headers = (*headers, (b"connection", b"close"))
    return problem_reply(problem_of(error, request_id), headers)


def quota_headers(error: OverLimit) -> tuple[Header, ...]:
    """Which quota is used up (draft-ietf-httpapi-ratelimit-headers-10)."""
    window = "" if error.window is None else f";w={error.window}"
    return (
        (b"ratelimit-policy", f'"{error.quota}";q={error.limit}{window}'.encode()),
        (b"ratelimit", f'"{error.quota}";r=0;t={error.retry_after}'.encode()),
    )


async def send_reply(reply: Reply, request_id: str, send: Send, *, head: bool = False) -> None:
    headers = [*_fields(reply), (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})


def _fields(reply: Reply) -> list[Header]:
    """Its headers but the request id."""
    headers: list[Header] = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    if not any(name == b"cache-control" for name, _ in reply.headers):
        headers.append(_NO_STORE)
    headers.extend(reply.headers)
    return headers


def _write(reply: Reply, head: bytes, request_id: str, send: Send) -> bool:
    """Sends it in one piece, where the server can. False: it did not."""
    exchange = getattr(send, "__self__", None)
    if not isinstance(exchange, Exchange):
        return False
    return exchange.write(b"%sx-request-id: %s\r\n" % (head, request_id.encode()), reply.body)


async def _go_on(call: Call, reply: Events | Download, send: Send) -> None:
    if isinstance(reply, Events):
        await _send_events(call, reply, send)
    else:
        await _send_download(call, reply, send)


async def _send_events(call: Call, events: Events, send: Send) -> None:
    headers: list[Header] = [
        (b"content-type", EVENT_STREAM),
        (b"x-request-id", call.request_id.encode()),
        (b"x-accel-buffering", b"no"),
        _NO_STORE,
        *events.headers,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def pump() -> None:
        async for chunk in events.chunks:
            await send({"type": "http.response.body", "body": chunk or b": alive\n\n", "more_body": True})

    try:
        await call.while_connected(pump())
    except ClientGone:
        return
    except GateError as error:
        # The status line is long gone; the stream says it in its own words, and carries no decision.
        body = ENCODER.encode(problem_of(error, call.request_id))
        await send({"type": "http.response.body", "body": b"event: error\ndata: " + body + b"\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_download(call: Call, download: Download, send: Send) -> None:
    headers: list[Header] = [
        (b"content-type", download.content_type),
        (b"x-request-id", call.request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        _NO_STORE,
        *download.headers,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def pump() -> None:
        async with aclosing(download.chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

    try:
        await call.while_connected(pump())
    except ClientGone:
        return
    await send({"type": "http.response.body", "body": b""})


def convert[T](value: object, kind: type[T]) -> T:
    """A body's values as a struct. Raises Invalid naming the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None


def _invalid(text: str) -> Invalid:
    message, _, place = text.partition(" - at ")
    path = re.search(r"`\$([^`]*)`", place)
    field = path[1].lstrip(".") if path else ""
    if not place:
        missing = re.search(r"required field `([^`]+)`", message)
        field = missing[1] if missing else ""
    message = message.replace("`", "'")
    return Invalid(f"{field or 'the body'}: {message}", errors=(FieldError(field, message),))
