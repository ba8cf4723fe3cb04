"""What callers send to the bridge's own endpoints, in snake_case or camelCase, read into types."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from stacksona import Attachment

from stacksona_bridge.problems import invalid

WAIT_MOST: Final = 300
_CAMEL: Final = re.compile(r"(?<=[a-z])([A-Z])")


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    content_type: str
    data: str


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``wait``: seconds to wait for people before the answer is the pending one."""

    task_id: str
    tool_name: str
    subject: str
    workflow_name: str | None = None
    task_label: str | None = None
    risk_level: Literal["low", "medium", "high", "critical"] | None = None
    preview: str | None = None
    summary: list[str] | None = None
    payload: dict[str, Any] = {}
    attachments: list[File] = []
    metadata: dict[str, str] = {}
    expires_in: int | None = None
    wait: int = 0


class Redeem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    task_id: str
    signature: str
    tool_name: str
    payload: dict[str, Any] | None = None
    payload_digest: str | None = None


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``event_type`` ``revision`` makes the next revision of a pending thread from the fields that are given."""

    task_id: str
    event_type: str
    event_summary: str = ""
    payload: dict[str, Any] | None = None
    thread_id: str | None = None
    subject: str | None = None
    preview: str | None = None
    summary: list[str] | None = None
    attachments: list[File] | None = None


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    task_id: str
    status: Literal["executed", "failed", "skipped"]
    request_id: str | None = None
    thread_id: str | None = None
    detail: str | None = None
    payload_digest: str | None = None


def read_as[T: msgspec.Struct](raw: Mapping[str, Any], kind: type[T]) -> T:
    """Raises Problem (422) for a field that is unknown, missing, of another type, or there in both spellings."""
    fields = _snake(raw)
    if "attachments" in fields and isinstance(fields["attachments"], list):
        fields["attachments"] = [_snake(one) if isinstance(one, dict) else one for one in fields["attachments"]]
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        named = re.search(r"`([a-z_]{1,40})`|\$\.([a-z_]{1,40})", text)
        raise invalid((named[1] or named[2]) if named else "body", text[:300]) from None


def _snake(raw: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in raw.items():
        snake = _CAMEL.sub(lambda found: "_" + found[1].lower(), name)
        if snake in fields:
            raise invalid(snake if len(snake) <= 40 else "body", "is there twice, in two spellings")
        fields[snake] = value
    return fields


def files(given: list[File]) -> list[Attachment]:
    """Raises Problem (422)."""
    return [Attachment(one.name, one.content_type, _decoded(one.data)) for one in given]


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("attachments", "data is not base64") from None


def waiting_time(text: object) -> int:
    """Seconds. Raises Problem (422)."""
    is_whole = isinstance(text, int) or (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 6)
    if not is_whole or isinstance(text, bool) or not 0 <= int(str(text)) <= WAIT_MOST:
        raise invalid("wait", f"is a whole number of seconds from 0 to {WAIT_MOST}")
    return int(str(text))
