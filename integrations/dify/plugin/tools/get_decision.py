"""Read a decision back."""

from gate_tools.answers import Outputs, decision_outputs
from gate_tools.parameters import Given
from stacksona import Gate
from tools import base


class GetDecision(base.CallingTool):
    """The decision as it stands, by one of its three ids."""

    def outputs(self, gate: Gate, given: Given) -> Outputs:
        names = ("thread_id", "request_id", "task_id")
        thread_id, request_id, task_id = (given.identifier(name) for name in names)
        return decision_outputs(gate.get_decision(thread_id=thread_id, request_id=request_id, task_id=task_id))
