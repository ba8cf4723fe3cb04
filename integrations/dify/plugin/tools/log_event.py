"""Put something on the timeline that reviewers see."""

from gate_tools.answers import Outputs
from gate_tools.parameters import Given
from stacksona import Gate
from tools import base


class LogEvent(base.CallingTool):
    """An event of the task. It decides nothing."""

    def outputs(self, gate: Gate, given: Given) -> Outputs:
        event_id = gate.log_event(
            given.needed_identifier("task_id"),
            given.needed("event_type"),
            given.text("event_summary") or "",
            payload=given.object("payload"),
            thread_id=given.identifier("thread_id"),
        )
        return {"event_id": event_id}
