"""What an agent asks: checked here by the gate's own limits, so that a mistake is seen where it is made."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from stacksona._canonical import MAX_DEPTH, canonicalize, digest_of
from stacksona._errors import InvalidRequest

RiskLevel = Literal["low", "medium", "high", "critical"]

BODY_MOST: Final = 256 * 1024
BODY_WITH_FILES_MOST: Final = 7 * 1024 * 1024

_TASK_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,200}")
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9._:/\-]{1,200}")
_THREAD_ID: Final = re.compile(r"THR-[0-9A-HJKMNP-TV-Z]{26}")
_REQUEST_ID: Final = re.compile(r"req_[0-9A-HJKMNP-TV-Z]{26}")
_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,200}")
_DOTS: Final = frozenset({".", ".."})
_LINES: Final = (("subject", 500), ("workflow_name", 200), ("task_label", 200), ("preview", 20_000))


@dataclass(frozen=True)
class Attachment:
    """A file for the reviewer. At most eight, 5 MB in all."""

    name: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class ActionRequest:
    """One question about one action.

    ``payload`` holds the action's arguments: rules look at it, people see it, the approval is bound to it.
    ``risk_level`` may tighten an answer and never loosens it. ``expires_in`` is seconds (30 to 2,592,000). With an
    ``idempotency_key`` of your own the same question after a crash is the same thread; without, each call has a
    fresh one and is still safely retried. Checked when it is sent.
    """

    task_id: str
    tool_name: str
    subject: str
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False)
    workflow_name: str | None = None
    task_label: str | None = None
    risk_level: RiskLevel | None = None
    preview: str | None = field(default=None, repr=False)
    summary: Sequence[str] | None = field(default=None, repr=False)
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    attachments: Sequence[Attachment] = ()
    expires_in: int | None = None
    idempotency_key: str | None = None

    def digest(self) -> str:
        """The digest that an approval of this payload has. Raises InvalidRequest."""
        return digest_of(canonicalize(dict(self.payload), "payload", depth=MAX_DEPTH - 1))

    def body(self) -> bytes:
        """What is sent. Raises InvalidRequest."""
        require_tool_name(self.tool_name)
        if not self.subject:
            raise InvalidRequest("subject: one line for the reviewer is needed")
        for name, most in _LINES:
            line = getattr(self, name)
            if line is not None and (not isinstance(line, str) or len(line) > most):
                raise InvalidRequest(f"{name}: text of at most {most} characters")
        fields = {
            "tool_name": self.tool_name,
            "subject": self.subject,
            "payload": dict(self.payload),
            "workflow_name": self.workflow_name,
            "task_label": self.task_label,
            "risk_level": self.risk_level,
            "preview": self.preview,
            "summary": None if self.summary is None else list(self.summary),
            "metadata": None if self.metadata is None else dict(self.metadata),
            "attachments": attachments(self.attachments) if self.attachments else None,
            "expires_in": self.expires_in,
        }
        return json_body(fields)


def json_body(fields: Mapping[str, object]) -> bytes:
    """Fields that are None stay out. Raises InvalidRequest, also for a body that is too large."""
    given = {name: value for name, value in fields.items() if value is not None}
    members = [f'"{name}":'.encode() + canonicalize(given[name], name, depth=MAX_DEPTH - 1) for name in sorted(given)]
    body = b"{" + b",".join(members) + b"}"
    most = BODY_WITH_FILES_MOST if given.get("attachments") else BODY_MOST
    if len(body) > most:
        raise InvalidRequest(f"the body has {len(body)} bytes, and at most {most} are taken")
    return body


def attachments(files: Sequence[Attachment]) -> list[dict[str, str]]:
    """As they are sent."""
    return [
        {"name": file.name, "content_type": file.content_type, "data": base64.b64encode(file.data).decode()}
        for file in files
    ]


def require_task_id(text: str) -> str:
    """The id, which goes into a path. Raises InvalidRequest."""
    # Dots alone are of the gate's alphabet, and lead to another address on the way.
    return _required("task_id", text, _TASK_ID, "1 to 200 of A-Z a-z 0-9 . _ : - and not . or ..", _DOTS)


def require_tool_name(text: str) -> str:
    """The name. Raises InvalidRequest."""
    return _required("tool_name", text, _TOOL_NAME, "1 to 200 of A-Z a-z 0-9 . _ : / -")


def require_thread_id(text: str) -> str:
    """The id, which goes into a path. Raises InvalidRequest."""
    return _required("thread_id", text, _THREAD_ID, "THR- and 26 characters, as the gate gave it")


def require_request_id(text: str) -> str:
    """The id. Raises InvalidRequest."""
    return _required("request_id", text, _REQUEST_ID, "req_ and 26 characters, as the gate gave it")


def require_idempotency_key(text: str) -> str:
    """The key, which goes into a header. Raises InvalidRequest."""
    return _required("idempotency_key", text, _IDEMPOTENCY_KEY, "1 to 200 visible ASCII characters")


def _required(
    name: str, text: object, pattern: re.Pattern[str], rule: str, without: frozenset[str] = frozenset()
) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text) or text in without:
        raise InvalidRequest(f"{name}: {rule}")
    return text
