"""The five rules in Cedar. It answers allow or deny; which of the matching prohibitions are there says why.

Cedar has whole numbers and decimals of four places, no regular expressions and no folding of case: amounts are handed
over as decimals, and the reason in small letters.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import cedarpy

from bench.peers.judging import handlers
from bench.peers.side import serve

POLICY: Final = """
permit (principal, action == Action::"issue_refund", resource) when {
  context.amount.greaterThanOrEqual(decimal("0.01")) && context.amount.lessThanOrEqual(decimal("50.0")) };
@id("reject") forbid (principal, action, resource) when { context.amount.greaterThan(decimal("5000.0")) };
@id("reject") forbid (principal, action, resource) when { context.currency == "xau" || context.currency == "btc" };
@id("review") forbid (principal, action, resource) when { context.confidence.lessThan(decimal("0.8")) };
@id("reject") forbid (principal, action, resource) when {
  context.reason like "*fraud*" || context.reason like "*chargeback*" };
"""


def main() -> None:
    policies = cedarpy.PolicySet.from_str(POLICY)
    entities = cedarpy.Entities.from_json_str("[]")

    def judge(payload: dict[str, Any]) -> str:
        context = {
            "amount": _decimal(payload["amount"]),
            "currency": payload["currency"],
            "confidence": _decimal(payload["confidence"]),
            "reason": payload["reason"].lower(),
        }
        request = {
            "principal": 'Agent::"refunds"',
            "action": 'Action::"issue_refund"',
            "resource": 'Shop::"one"',
            "context": context,
        }
        result = cedarpy.is_authorized(request, policies, entities)
        if result.allowed:
            return "allow"
        causes = result.diagnostics.id_annotations_by_reason.values()
        return "reject" if "reject" in causes else "pending_review"

    asyncio.run(serve(handlers(judge)))


def _decimal(value: float) -> dict[str, dict[str, str]]:
    return {"__extn": {"fn": "decimal", "arg": f"{value:.4f}"}}


if __name__ == "__main__":
    main()
