"""agent-governance-toolkit-core: its approval protocol, on the store that it ships, which is memory.

One piece of work: bind the action, open a request, one person's entry, revalidate and consume before execution.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import uvloop
from agentmesh.governance.approval_protocol import (
    ActionBinding,
    ActionTarget,
    ApprovalChain,
    ApprovalCoordinator,
    ApprovalStage,
    ApprovalStatus,
    ApproverKind,
    EntryDecision,
    InMemoryApprovalStore,
)

from bench.peers.questions import PAUSE, TOOL, payload
from bench.peers.side import Tally, serve

_ALICE: Final = "did:web:example.com:users:alice"
_CHAIN: Final = ApprovalChain("refunds", "1", (ApprovalStage(0, allowed_identities=frozenset({_ALICE})),))


class Approvals:
    """The coordinator, and how often it was asked."""

    def __init__(self) -> None:
        self._store = InMemoryApprovalStore()
        self._coordinator = ApprovalCoordinator(self._store, {_CHAIN.chain_id: _CHAIN})
        self._tally = Tally()
        self._requests: list[str] = []

    async def run(self, work: str, callers: int, seconds: float) -> dict[str, Any]:
        pause = PAUSE if work == "wake" else 0.0

        async def once() -> float:
            return await self._approve(pause)

        return await self._tally.run(once, callers, seconds)

    async def _approve(self, pause: float) -> float:
        binding = ActionBinding("tool.invoke", "refunds", ActionTarget(TOOL, "1"), payload())
        _, request = self._coordinator.open_request(
            binding, policy_rule_id="default", policy_version="1", chain_id=_CHAIN.chain_id, ttl_seconds=86_400
        )
        await asyncio.sleep(pause)
        clicked = time.perf_counter()
        self._coordinator.submit_entry(
            request.approval_request_id,
            stage_index=0,
            approver_kind=ApproverKind.HUMAN,
            approver_identity=_ALICE,
            identity_assurance="oidc",
            decision=EntryDecision.ALLOW,
        )
        verdict = self._coordinator.validate_for_execution(
            request.approval_request_id,
            current_action_digest=binding.digest(),
            current_policy_version="1",
            current_chain_version=_CHAIN.version,
        )
        if not verdict.allowed:
            raise RuntimeError(f"not allowed: {verdict.reason_code}")
        self._requests.append(request.approval_request_id)
        return time.perf_counter() - clicked

    async def rows(self) -> dict[str, Any]:
        """Nothing is on disk; what memory holds is counted instead."""
        found = [self._store.get_request(each) for each in self._requests]
        consumed = sum(request is not None and request.status == ApprovalStatus.CONSUMED for request in found)
        return {"done": self._tally.done, "kept": consumed, "rows": 0}


async def main() -> None:
    approvals = Approvals()
    await serve({"run": approvals.run, "rows": approvals.rows})


if __name__ == "__main__":
    uvloop.run(main())
