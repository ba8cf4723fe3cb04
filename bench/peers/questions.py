"""What is asked of every side: the refund of the other measurements, and a table for those that only judge."""

from __future__ import annotations

from typing import Any, Final

TOOL: Final = "issue_refund"
PAUSE: Final = 0.02
"""Seconds that a person takes to click where waking is measured: the waiting side waits by then."""


def payload(amount: float = 400.0, **other: Any) -> dict[str, Any]:
    """Arguments of the call that is asked about; 40 is allowed, 400 goes to people."""
    return {
        "amount": amount,
        "currency": "eur",
        "confidence": 0.93,
        "reason": "the parcel came back unopened",
        "order_id": "ord_8821",
        "customer": {"id": "cus_4711", "country": "DE"},
    } | other


TABLE: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    (payload(40), "allow"),
    (payload(50), "allow"),
    (payload(0.01), "allow"),
    (payload(50.01), "pending_review"),
    (payload(400), "pending_review"),
    (payload(5000), "pending_review"),
    (payload(5000.01), "reject"),
    (payload(40, currency="xau"), "reject"),
    (payload(40, currency="btc"), "reject"),
    (payload(40, currency="xaus"), "allow"),
    (payload(40, confidence=0.5), "pending_review"),
    (payload(40, confidence=0.8), "allow"),
    (payload(40, reason="a chargeback came"), "reject"),
    (payload(40, reason="looks like fraud"), "reject"),
    (payload(40, confidence=0.1, reason="fraud"), "reject"),
    (payload(9000, confidence=0.1), "reject"),
)
"""Payloads and the answer that the five rules give. Every side must give it before it is measured."""
