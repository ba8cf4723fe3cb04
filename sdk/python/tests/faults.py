"""What can happen to a call on its way, at the transport: between the client and a gate that answers well."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import httpx2
from sdk.python.tests.fake_gate import FakeGate, Reply

LATELY: Final = 6
"""Answers that a cache still has."""

Plan = Callable[[httpx2.Request], str]


class Time:
    """A clock that moves when somebody sleeps or waits for an answer."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


class Cut(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Half a body, and then the connection is gone."""

    def __init__(self, half: bytes) -> None:
        self._half = half

    def __iter__(self) -> Iterator[bytes]:
        yield self._half
        raise httpx2.ReadError("connection reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._half
        raise httpx2.ReadError("connection reset")


class Faulty(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Lets ``plan`` say what happens to each call. Names of faults: FAULTS, and "" for none."""

    def __init__(self, gate: FakeGate, time: Time, plan: Plan = lambda request: "", seed: int = 0) -> None:
        self.gate = gate
        self.time = time
        self.plan = plan
        self.sent: list[httpx2.Request] = []
        self._random = random.Random(seed)
        self._answers: list[Reply] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        return self._handle(request)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)  # others come in between
        return self._handle(request)

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        fault = self.plan(request)
        if fault in BEFORE:
            return BEFORE[fault](self, request)
        reply = self.gate.handle(request)
        self._answers.append(reply)
        return AFTER[fault](self, request, reply)

    def keep_only_the_last_answer(self) -> None:
        """What ``replay`` then gives."""
        del self._answers[:-1]

    # Before the gate saw it

    def unreachable(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("connection refused")

    def broken(self, request: httpx2.Request) -> httpx2.Response:
        raise RuntimeError("a transport of one's own fails")

    def proxy_503(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(503, text="<html>no backend</html>", headers={"content-type": "text/html"})

    def gate_503(self, request: httpx2.Request) -> httpx2.Response:
        problem = {"status": 503, "code": "unavailable", "detail": "nothing was decided"}
        headers = {"content-type": "application/problem+json", "retry-after": "2"}
        return httpx2.Response(503, content=json.dumps(problem), headers=headers)

    def redirect(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(307, headers={"location": "https://evil.test/collect"})

    def portal(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text="<html>sign in to the network</html>", headers={"content-type": "text/html"})

    def replay(self, request: httpx2.Request) -> httpx2.Response:
        """A cache gives the answer to another call."""
        if not self._answers:
            return self.portal(request)
        return _response(self._random.choice(self._answers[-LATELY:]))

    def unnamed_replay(self, request: httpx2.Request) -> httpx2.Response:
        """A cache that keeps no ids."""
        if not self._answers:
            return self.portal(request)
        status, headers, body = self._random.choice(self._answers[-LATELY:])
        return _response((status, {name: value for name, value in headers.items() if name != "x-request-id"}, body))

    # After the gate carried it out

    def well(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return _response(reply)

    def delay(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        self.time.now += 7
        return _response(reply)

    def hang(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        self.time.now += request.extensions["timeout"]["read"]
        raise httpx2.ReadTimeout("timed out")

    def reset(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        raise httpx2.ReadError("connection reset")

    def cut(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return httpx2.Response(reply[0], headers=reply[1], stream=Cut(reply[2][: len(reply[2]) // 2]))

    def truncated(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return _response((reply[0], reply[1], reply[2][: len(reply[2]) // 2]))

    def garbage(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return _response((reply[0], reply[1], self._random.randbytes(60)))

    def nonsense(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        body = self._random.choice([b"{}", b"[]", b"null", b'{"status":"approved"}', b'{"valid":"true"}', b'"allow"'])
        return _response((reply[0], reply[1], body))

    def empty(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return _response((self._random.choice([reply[0], 204]), reply[1], b""))

    def doubled(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return _response((reply[0], reply[1], reply[2] * 2))

    def internal_500(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return httpx2.Response(500, text="oops")

    def gateway_504(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return httpx2.Response(504, text="<html>timeout</html>")

    def delivered_twice(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        """A network that repeats the call; the client sees one of the answers."""
        return _response(self._random.choice([reply, self.gate.handle(request)]))

    def as_html(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return _response((reply[0], {**reply[1], "content-type": "text/html"}, reply[2]))

    def unknown_status(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return self._changed(reply, status="permitted", decision="permitted", valid=1)

    def other_ids(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        name = self._random.choice(["request_id", "task_id", "thread_id", "tool_name", "payload_digest"])
        return self._changed(reply, **{name: "other"})

    def other_payload(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        """One that would fit the same function."""
        payload = json.loads(reply[2]).get("payload") or {}
        return self._changed(reply, payload={**payload, "amount": 1_000_000})

    def no_payload(self, request: httpx2.Request, reply: Reply) -> httpx2.Response:
        return self._changed(reply, payload=None)

    def _changed(self, reply: Reply, **changes: Any) -> httpx2.Response:
        answer = json.loads(reply[2])
        answer |= {name: value for name, value in changes.items() if name in answer}
        return _response((reply[0], reply[1], json.dumps(answer).encode()))


def _response(reply: Reply) -> httpx2.Response:
    return httpx2.Response(reply[0], headers=reply[1], content=reply[2])


BEFORE: Final[dict[str, Callable[[Faulty, httpx2.Request], httpx2.Response]]] = {
    one.__name__: one
    for one in (
        Faulty.unreachable,
        Faulty.broken,
        Faulty.proxy_503,
        Faulty.gate_503,
        Faulty.redirect,
        Faulty.portal,
        Faulty.replay,
        Faulty.unnamed_replay,
    )
}
AFTER: Final[Mapping[str, Callable[[Faulty, httpx2.Request, Reply], httpx2.Response]]] = {"": Faulty.well} | {
    one.__name__: one
    for one in (
        Faulty.delay,
        Faulty.hang,
        Faulty.reset,
        Faulty.cut,
        Faulty.truncated,
        Faulty.garbage,
        Faulty.nonsense,
        Faulty.empty,
        Faulty.doubled,
        Faulty.internal_500,
        Faulty.gateway_504,
        Faulty.delivered_twice,
        Faulty.as_html,
        Faulty.unknown_status,
        Faulty.other_ids,
        Faulty.other_payload,
        Faulty.no_payload,
    )
}
FAULTS: Final = (*BEFORE, *(name for name in AFTER if name))
