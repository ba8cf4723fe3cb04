"""Ask, and wait for people within Dify's limits."""

from collections.abc import Generator
from typing import Any

from dify_plugin.entities.tool import ToolInvokeMessage
from gate_tools.answers import decision_outputs
from gate_tools.connection import gate_of, patience_of
from gate_tools.parameters import Given
from gate_tools.questions import question
from gate_tools.waiting import WAIT, WAIT_MOST, waited
from stacksona import Decision, Gate
from tools import base


class RequestAndWait(base.GateTool):
    """When the wait is over and nobody decided, the status is still ``pending_review``: go on with another way."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> base.Messages:
        given = Given(tool_parameters)
        seconds = given.whole("wait_seconds", 1, WAIT_MOST) or WAIT
        with gate_of(self.runtime.credentials) as gate:
            asked = gate.request_decision(question(self.runtime.credentials, given, self.place))
            decision = yield from self._waited(gate, asked, seconds)
            if decision.may_run:
                decision = gate.get_decision(request_id=decision.request_id)
        yield from self.put_out(decision_outputs(decision))

    def _waited(self, gate: Gate, asked: Decision, seconds: int) -> Generator[ToolInvokeMessage, None, Decision]:
        """Shows in the run's trace where people look, again before each slice of the wait."""
        where = {"thread_id": asked.thread_id, "review_url": asked.review_url, "message": asked.message}
        status = ToolInvokeMessage.LogMessage.LogStatus.START
        # Dify's engine takes no log without metadata, which the SDK would leave null.
        log = self.create_log_message("Waiting for people", where, status=status, metadata={})
        decision = asked
        for decision in waited(gate, asked, seconds, patience_of(self.runtime.credentials)):
            if decision.is_pending:
                yield log
        if asked.is_pending:
            yield self.finish_log_message(log)
        return decision
