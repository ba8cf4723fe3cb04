"""One call out: to an address that was checked, in a bounded time, with a bounded answer, and never an exception.

The HTTP library is loaded with the first call, in a thread: the gate starts without it and goes on deciding meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from stacksona_gate.delivery.addresses import AddressGuard, AddressRefused
from stacksona_gate.domain.times import DAY, SECOND
from stacksona_gate.service.environment import system_clock

if TYPE_CHECKING:
    from stacksona_gate.delivery.connections import Heard

log = logging.getLogger("stacksona_gate.delivery")

ADDRESSES_TRIED: Final = 3
LONGEST_WAIT: Final = DAY // SECOND
"""Seconds: what ``Retry-After`` can ask for at most."""

NO_URL: Final = "refused: not an http or https address"
REDIRECT: Final = "redirect not followed"

_SECONDS: Final = re.compile(r"[0-9]{1,19}")
_DATE_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call. ``error`` is a short stable phrase; it never quotes the call or the answer.

    Both ``status`` and ``error`` are there when an answer began and did not come to its end in time or in form, and for
    a redirect: the call counts as failed. ``body`` is as it came, never decompressed.
    """

    status: int | None
    error: str | None
    duration: int
    """Microseconds, looking the host up included."""
    body: bytes = b""
    """The first 1,024 bytes."""
    retry_after: int | None = None
    """Seconds from 0 to LONGEST_WAIT that the receiver asks to be left alone."""
    gone: bool = False
    """The receiver says that it wants no more (410)."""

    @property
    def delivered(self) -> bool:
        """A whole answer that says yes (2xx)."""
        return self.error is None and self.status is not None and 200 <= self.status < 300


class Sender:
    """Sends. One for the whole process; any number of calls at once."""

    def __init__(
        self,
        guard: AddressGuard,
        proxy: str | None = None,
        *,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], int] = system_clock,
    ) -> None:
        """``proxy``: ``http://[user:password@]host:port``; itself not guarded. ``context``: whom TLS trusts."""
        self._guard = guard
        self._proxy = proxy
        self._context = context
        self._loading: asyncio.Future[ssl.SSLContext] | None = None
        self._clock = clock

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST", seconds: float = 15.0
    ) -> Answer:
        """Calls ``url`` once and returns within ``seconds``, whatever happens. Follows no redirect, keeps no cookie.

        The host is looked up and checked, and the connection goes to one of the addresses checked for this call.
        """
        if self._context is None:
            # Once: the first calls come many at a time, and each load takes a thread for tens of milliseconds.
            self._loading = self._loading or asyncio.ensure_future(asyncio.to_thread(_load))
            try:
                self._context = await asyncio.shield(self._loading)
            finally:
                self._loading = None
        from stacksona_gate.delivery.connections import Heard, fault

        heard, error = Heard(), None
        began = time.monotonic_ns()
        try:
            async with asyncio.timeout(seconds):
                await self._call(url, headers, body, method, self._context, heard)
        except AddressRefused as refused:
            error = str(refused)
        except Exception as failure:
            error = fault(failure, proxied=self._proxy is not None)
            log.debug("call failed: %s", type(failure).__name__)
        if error is None and heard.status is not None and 300 <= heard.status < 400:
            error = REDIRECT
        wait = None if heard.retry_after is None else retry_after(heard.retry_after, self._clock())
        duration = (time.monotonic_ns() - began) // 1000
        return Answer(heard.status, error, duration, bytes(heard.body), wait, heard.status == 410)

    async def _call(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        method: str,
        context: ssl.SSLContext,
        heard: Heard,
    ) -> None:
        from stacksona_gate.delivery.connections import Call, target

        to = target(url)
        if to is None:
            raise AddressRefused(NO_URL)
        addresses = await self._guard.addresses(to.host, to.port)
        fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        fields += [(b"User-Agent", _agent()), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
        fields += [(b"Connection", b"close"), (b"Content-Length", b"%d" % len(body))]
        await Call(method, to, fields, body, context, self._proxy).exchange(addresses[:ADDRESSES_TRIED], heard)


def _load() -> ssl.SSLContext:
    from stacksona_gate.delivery.connections import default_context

    return default_context()


@cache
def _agent() -> bytes:
    return f"stacksona-gate/{version('stacksona-gate')}".encode("ascii")


def retry_after(text: str, now: int) -> int | None:
    """Seconds to wait, 0 to LONGEST_WAIT, from either form of ``Retry-After`` (RFC 9110 section 10.2.3); else None.

    ``now``: microseconds since 1970 UTC, what a date is measured against.
    """
    stripped = text.strip()
    if _SECONDS.fullmatch(stripped):
        return min(int(stripped), LONGEST_WAIT)
    if len(stripped) > _DATE_MOST or not stripped.isascii():
        return None
    try:
        moment = parsedate_to_datetime(stripped)
        wait = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now / SECOND
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0, min(round(wait), LONGEST_WAIT))
