"""Say what became of the action."""

from gate_tools.answers import Outputs
from gate_tools.parameters import Given
from stacksona import Gate, InvalidRequest
from tools import base

STATUSES = ("executed", "failed", "skipped")


class ReportOutcome(base.CallingTool):
    """Closes the record. ``flag`` says what does not fit: an action that ran without an approval, for one."""

    def outputs(self, gate: Gate, given: Given) -> Outputs:
        status = given.needed("status")
        if status not in STATUSES:
            raise InvalidRequest(f"status: one of {', '.join(STATUSES)}")
        outcome = gate.report_outcome(
            given.needed_identifier("task_id"),
            status,
            request_id=given.identifier("request_id"),
            thread_id=given.identifier("thread_id"),
            detail=given.text("detail"),
            payload_digest=given.text("payload_digest"),
        )
        return {"outcome_id": outcome.outcome_id, "flag": outcome.flag or ""}
