"""A question to the gate, made from a call's parameters; and what makes a second call the same question."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stacksona import ActionRequest, InvalidRequest, payload_digest

from gate_tools.connection import allowed_tool
from gate_tools.parameters import Given

RISK_LEVELS: Final = ("low", "medium", "high", "critical")
EXPIRY: Final = (30, 2_592_000)

_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,150}")


@dataclass(frozen=True)
class Place:
    """Where in Dify the call comes from. Dify tells a plugin no run and no node."""

    session_id: str
    """Another one for each call, a node's retry included."""
    message_id: str | None
    """In a chat with an agent: the message that is being answered."""

    @property
    def task_id(self) -> str:
        """A message's calls are one task. Elsewhere each call is a task of its own, which no other call can meet."""
        if self.message_id:
            return "dify-message-" + _short(self.message_id)
        if not self.session_id:
            raise InvalidRequest("task_id: Dify names neither run nor session; give the run's id")
        return "dify-session-" + _short(self.session_id)


def question(credentials: Mapping[str, Any], given: Given, place: Place) -> ActionRequest:
    """Raises InvalidRequest, ConfigurationError.

    The same question of the same task has the same idempotency key, so that a node's retry and a model that repeats
    itself get the first decision again, and people see one thread. ``occurrence`` tells equal actions apart that are
    both wanted in one run. That two wanted actions share a decision by mistake costs the second: an approval is
    redeemed once. That they shared none by mistake would ask people twice.
    """
    payload = given.object("payload")
    if payload is None:
        raise InvalidRequest("payload: the action's arguments are missing, as a JSON object")
    task_id = given.identifier("task_id") or place.task_id
    fields: dict[str, Any] = {
        "tool_name": allowed_tool(credentials, given.text("tool_name")),
        "subject": given.needed("subject"),
        "payload": payload,
        "workflow_name": given.text("workflow_name"),
        "task_label": given.text("task_label"),
        "risk_level": _risk_level(given),
        "preview": given.text("preview"),
        "summary": given.lines("summary"),
        "metadata": given.object("metadata"),
        "expires_in": given.whole("expires_in", *EXPIRY),
    }
    return ActionRequest(task_id, **fields, idempotency_key=_key(task_id, fields, given.text("occurrence")))


def _risk_level(given: Given) -> str | None:
    value = given.text("risk_level")
    if value is not None and value not in RISK_LEVELS:
        raise InvalidRequest(f"risk_level: one of {', '.join(RISK_LEVELS)}")
    return value


def _key(task_id: str, fields: Mapping[str, Any], occurrence: str | None) -> str:
    """Over all that is sent: another body never has the key of this one."""
    return "dify:" + payload_digest({"task_id": task_id, "occurrence": occurrence, "fields": dict(fields)})


def _short(text: str) -> str:
    return text if _ID.fullmatch(text) else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
