"""The five rules in Rego, compiled once into a bundle; each question is an input for its entry point."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import regopy

from bench.peers.judging import handlers
from bench.peers.side import serve

POLICY: Final = """
package refunds

reject if input.amount > 5000
reject if regex.match("^(?:xau|btc)$", input.currency)
reject if contains(lower(input.reason), "fraud")
reject if contains(lower(input.reason), "chargeback")
review if input.confidence < 0.8
small if { input.amount >= 0.01; input.amount <= 50 }

default status := "pending_review"
status := "reject" if reject
else := "pending_review" if review
else := "allow" if small
"""
ENTRY: Final = "refunds/status"


def main() -> None:
    building = regopy.Interpreter()
    building.add_module("refunds.rego", POLICY)
    bundle = building.build(None, [ENTRY])
    rego = regopy.Interpreter()

    def judge(payload: dict[str, Any]) -> str:
        rego.set_input(payload)
        return str(rego.query_bundle_entrypoint(bundle, ENTRY)[0].expressions[0])

    asyncio.run(serve(handlers(judge)))


if __name__ == "__main__":
    main()
