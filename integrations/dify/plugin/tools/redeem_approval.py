"""Use the approval up, once, right before the action."""

from gate_tools.answers import Outputs, redemption_outputs
from gate_tools.connection import allowed_tool
from gate_tools.parameters import Given
from stacksona import Gate
from tools import base


class RedeemApproval(base.CallingTool):
    """Ends well only when the gate says that this redemption is the one. A refusal fails the node as a fault does:
    what is wired behind it without a branch must not run."""

    def outputs(self, gate: Gate, given: Given) -> Outputs:
        redemption = gate.validate_approval(
            given.needed("approval_token"),
            task_id=given.needed_identifier("task_id"),
            tool_name=allowed_tool(self.runtime.credentials, given.text("tool_name")),
            payload=given.object("payload"),
            payload_digest=given.text("payload_digest"),
        )
        return redemption_outputs(redemption)
