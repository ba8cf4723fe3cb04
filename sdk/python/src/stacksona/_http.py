"""The steps that touch the network, on httpx2. The library takes longer to load than everything else together, so it
is loaded with the first call.

The key goes to the gate's address and nowhere else: redirects are not followed, and on plain http no proxy of the
environment is used. Whatever a transport raises is a Fault: no error of the network may look like a result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from stacksona._settings import Settings
from stacksona._wire import ANSWER_MOST, Answer, Call, Fault

if TYPE_CHECKING:
    import httpx2

CONNECT_MOST: Final = 10.0
SLACK: Final = 5.0
"""Seconds beyond its timeouts after which a call is given up though bytes still drip."""

_NEVER_SENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
_TOO_LONG: Final = Fault("the answer took too long")
_TOO_LARGE: Final = Fault("the answer is too large")
_ENCODED: Final = Fault("the answer is compressed although that was not asked for")


class Connection:
    """Calls, one after another or from several threads."""

    def __init__(self, settings: Settings, transport: httpx2.BaseTransport | None, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None

    def send(self, call: Call) -> Answer | Fault:
        try:
            return self._send(self._opened(), call)
        except Exception as error:
            return _fault(error, self._settings)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _opened(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                import httpx2

                self._client = httpx2.Client(transport=self._transport, **_options(self._settings))
            return self._client

    def _send(self, client: httpx2.Client, call: Call) -> Answer | Fault:
        end = self._clock() + _seconds_most(call)
        response = client.send(client.build_request(**_request(call, self._settings)), stream=True)
        try:
            if _is_encoded(response):
                return _ENCODED
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > ANSWER_MOST:
                    return _TOO_LARGE
                if self._clock() > end:
                    return _TOO_LONG
            return _answer(response, bytes(body), self._settings)
        finally:
            response.close()


class AsyncConnection:
    """Calls on one event loop."""

    def __init__(self, settings: Settings, transport: httpx2.AsyncBaseTransport | None) -> None:
        self._settings = settings
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    async def send(self, call: Call) -> Answer | Fault:
        try:
            return await self._send(self._opened(), call)
        except TimeoutError:
            return _TOO_LONG
        except Exception as error:
            return _fault(error, self._settings)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        self._client = None

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2

            self._client = httpx2.AsyncClient(transport=self._transport, **_options(self._settings))
        return self._client

    async def _send(self, client: httpx2.AsyncClient, call: Call) -> Answer | Fault:
        import anyio

        with anyio.fail_after(_seconds_most(call)):
            response = await client.send(client.build_request(**_request(call, self._settings)), stream=True)
            try:
                if _is_encoded(response):
                    return _ENCODED
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_MOST:
                        return _TOO_LARGE
                return _answer(response, bytes(body), self._settings)
            finally:
                await response.aclose()


def _options(settings: Settings) -> dict[str, Any]:
    return {"follow_redirects": False, "trust_env": settings.url.startswith("https:")}


def _request(call: Call, settings: Settings) -> dict[str, Any]:
    import httpx2

    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "stacksona-python"}
    headers |= call.headers
    if call.is_authorized:
        headers["authorization"] = settings.authorization
    query = f"?{urlencode(call.query)}" if call.query else ""
    return {
        "method": call.method,
        "url": settings.url + call.path + query,
        "headers": headers,
        "content": call.body,
        "timeout": httpx2.Timeout(call.timeout, connect=min(CONNECT_MOST, call.timeout)),
    }


def _answer(response: httpx2.Response, body: bytes, settings: Settings) -> Answer:
    headers = {name.lower(): settings.without_key(value) for name, value in response.headers.items()}
    return Answer(response.status_code, headers, settings.body_without_key(body))


def _is_encoded(response: httpx2.Response) -> bool:
    return response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def _seconds_most(call: Call) -> float:
    return call.timeout + min(CONNECT_MOST, call.timeout) + SLACK


def _fault(error: Exception, settings: Settings) -> Fault:
    kind = type(error).__name__
    text = "".join(one for one in settings.without_key(str(error))[:200] if one.isprintable())
    return Fault(f"{kind}: {text}" if text else kind, was_sent=kind not in _NEVER_SENT)
