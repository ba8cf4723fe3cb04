"""What a workflow learns when it is woken: where to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dify_plugin.entities.trigger import Variables
from dify_plugin.errors.trigger import EventIgnoreError
from dify_plugin.interfaces.trigger import Event
from werkzeug import Request

TEXTS: Final = (
    "event",
    "thread_id",
    "request_id",
    "task_id",
    "tool_name",
    "workflow_name",
    "task_label",
    "decision",
    "message",
    "reason_code",
    "decided_at",
    "webhook_id",
)


class DecisionMade(Event):
    """Read the decision back with the agent's key before anything is done: only there are token and payload."""

    def _on_event(self, request: Request, parameters: Mapping[str, Any], payload: Mapping[str, Any]) -> Variables:
        found: dict[str, Any] = {name: _text(payload.get(name)) for name in TEXTS}
        wanted, tool = parameters.get("only") or "any", parameters.get("tool_name") or ""
        if wanted not in ("any", found["event"].removeprefix("decision.")) or tool not in ("", found["tool_name"]):
            raise EventIgnoreError
        metadata = payload.get("metadata")
        found["edited"] = payload.get("edited") is True
        found["metadata"] = metadata if isinstance(metadata, dict) else {}
        return Variables(variables=found)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
