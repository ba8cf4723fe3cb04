"""What every tool of the plugin is: a call to the gate whose outputs come all together, after it went well."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage
from gate_tools.answers import Outputs
from gate_tools.connection import gate_of
from gate_tools.parameters import Given
from gate_tools.questions import Place
from stacksona import Gate

Messages = Generator[ToolInvokeMessage, None, None]


class GateTool(Tool):
    """Whatever the client raises fails the node: a fault is never put out as a result."""

    def put_out(self, outputs: Outputs) -> Messages:
        """Each as a variable for the next node, and all in one object, which is what a model reads."""
        for name, value in outputs.items():
            yield self.create_variable_message(name, value)
        yield self.create_json_message(outputs)

    @property
    def place(self) -> Place:
        """Where the call comes from."""
        return Place(self.runtime.session_id or "", self.session.message_id)


class CallingTool(GateTool):
    """One call, and what it answers."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Messages:
        with gate_of(self.runtime.credentials) as gate:
            outputs = self.outputs(gate, Given(tool_parameters))
        yield from self.put_out(outputs)

    @abstractmethod
    def outputs(self, gate: Gate, given: Given) -> Outputs:
        """What the node puts out. Raises GateError."""
