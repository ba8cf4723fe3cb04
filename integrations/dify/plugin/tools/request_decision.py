"""Ask, and go on at once."""

from gate_tools.answers import Outputs, decision_outputs
from gate_tools.parameters import Given
from gate_tools.questions import question
from stacksona import Gate
from tools import base


class RequestDecision(base.CallingTool):
    """Answers with what the rules say; people's decision is read later."""

    def outputs(self, gate: Gate, given: Given) -> Outputs:
        decision = gate.request_decision(question(self.runtime.credentials, given, self.place))
        if decision.may_run:
            # The first answer may be the repetition of one whose approval is used: reading it back tells.
            decision = gate.get_decision(request_id=decision.request_id)
        return decision_outputs(decision)
