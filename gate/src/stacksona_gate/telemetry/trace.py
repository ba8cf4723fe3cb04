"""Where a call belongs: the id that its caller gave it, and the W3C trace that it is part of.

What comes from outside is taken only in its exact form: everything else is dropped, so that log lines and outgoing
headers hold nothing that a caller made up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

_HTTP_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KNOWN: Final = b"00"
_FORBIDDEN: Final = b"ff"
TRACEPARENT: Final = b"traceparent"
TRACEPARENT_MOST: Final = 512
IDS_FETCHED: Final = 256
_IDS: Final[list[str]] = []


NOTHING: Final[Mapping[str, str | None]] = {}


class Trace:
    """One call, or one delivery, on its way through the gate. Made for every call, so it is small."""

    __slots__ = ("about", "http_request_id", "span", "tenant_id", "traceparent")

    def __init__(
        self,
        http_request_id: str | None = None,
        traceparent: str | None = None,
        tenant_id: str | None = None,
        about: Mapping[str, str | None] = NOTHING,
    ) -> None:
        """``traceparent``: version 00, as ``parsed_traceparent`` gives it. ``about``: ids by name, as far as known."""
        self.http_request_id = http_request_id
        self.traceparent = traceparent
        self.tenant_id = tenant_id
        self.about = about
        self.span: Any = None
        """OpenTelemetry's, while it is open."""

    def fields(self) -> dict[str, str]:
        """What a log line says of it: only what is known."""
        known = {
            "http_request_id": self.http_request_id,
            "trace_id": None if self.traceparent is None else self.traceparent[3:35],
            "span_id": None if self.traceparent is None else self.traceparent[36:52],
            "tenant_id": self.tenant_id,
            **self.about,
        }
        return {name: value for name, value in known.items() if value is not None}


CURRENT: Final[ContextVar[Trace | None]] = ContextVar("stacksona_gate_trace", default=None)
"""What the running task, or the writer's unit, belongs to."""


def given_request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The caller's ``X-Request-Id``, when it is well formed."""
    given = headers.get(b"x-request-id")
    return given.decode() if given is not None and _HTTP_REQUEST_ID.fullmatch(given) else None


def new_request_id() -> str:
    """128 random bits in hex, fetched many at a time: a system call for each costs more than the rest of a call's
    trace. Every one is given once, whichever thread asks."""
    while True:
        try:
            return _IDS.pop()
        except IndexError:
            page = os.urandom(16 * IDS_FETCHED).hex()
            _IDS.extend(page[i : i + 32] for i in range(0, len(page), 32))


def named(headers: Mapping[bytes, bytes]) -> str:
    """The id of a call: its caller's when well formed, else a new one."""
    return (given_request_id(headers) if b"x-request-id" in headers else None) or new_request_id()


def traced(headers: Mapping[bytes, bytes], fields: Iterable[tuple[bytes, bytes]]) -> Trace:
    """A call's, as its headers say. As ``read_traceparent``."""
    return Trace(named(headers), read_traceparent(headers, fields) if TRACEPARENT in headers else None)


def read_traceparent(headers: Mapping[bytes, bytes], fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The caller's ``traceparent`` in version 00; None for none, a malformed one, or more than one.

    ``headers`` are the ``fields`` by name. A version of the future is read as far as version 00 goes, as W3C Trace
    Context says.
    """
    given = headers.get(TRACEPARENT)
    if given is None or len(given) > TRACEPARENT_MOST or sum(name == TRACEPARENT for name, _ in fields) != 1:
        return None
    return parsed_traceparent(given)


def parsed_traceparent(given: bytes) -> str | None:
    match = _TRACEPARENT.fullmatch(given)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == _FORBIDDEN or (version == _KNOWN and more is not None):
        return None
    if not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    sampled = int(flags, 16) & 1  # of the flags of another version only this one is known to mean the same
    return f"00-{trace_id.decode()}-{parent_id.decode()}-{flags.decode() if version == _KNOWN else f'{sampled:02x}'}"
