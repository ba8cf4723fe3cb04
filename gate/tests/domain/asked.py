"""A request without a database."""

from __future__ import annotations

from typing import Any

from gate.tests.factories import START

from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import HOUR


def asked(**known: Any) -> Request:
    """A thread that waits from START on for ten hours; what a test is about, it says."""
    blank: dict[str, Any] = dict.fromkeys(Request.__struct_fields__)
    waits = {"status": "pending_review", "created_at": START, "expires_at": START + 10 * HOUR, "reminders": 0}
    return Request(**(blank | waits | known))
