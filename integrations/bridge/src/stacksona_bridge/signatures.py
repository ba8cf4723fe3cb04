"""Signs what the bridge puts into a thread's metadata, so that it knows its own again.

Metadata is written by whoever has the agent's key. A signature says: the bridge wrote this, for this question. It is
bound to task and tool, so that it is worth nothing on another thread's question.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Final

WAKE: Final = "wake"
KEEP: Final = "keep"
WAKE_FIELDS: Final = (
    "dify_resume",
    "dify_app",
    "dify_run_id",
    "dify_user",
    "dify_node",
    "dify_action_approved",
    "dify_action_rejected",
    "dify_webhook",
    "resume_url",
)
KEEP_FIELDS: Final = (
    "bridge_app",
    "bridge_run",
    "bridge_user",
    "bridge_node",
    "bridge_form",
    "bridge_approve",
    "bridge_reject",
    "bridge_digest",
)
WAKE_SIGNATURE: Final = "dify_signature"
KEEP_SIGNATURE: Final = "bridge_signature"
_VERSION: Final = "v1."


def signature(
    keys: Sequence[bytes], purpose: str, task_id: str, tool_name: str, fields: Mapping[str, str | None]
) -> str:
    """With the first of the keys. Fields that are missing are signed as missing."""
    return _VERSION + _mac(keys[0], _text(purpose, task_id, tool_name, fields))


def is_signed(
    keys: Sequence[bytes],
    purpose: str,
    task_id: str,
    tool_name: str,
    fields: Mapping[str, str | None],
    given: object,
) -> bool:
    """Whether one of the keys made it. All are tried, so that the time taken says nothing."""
    if not isinstance(given, str) or not given.isascii():
        return False
    text = _text(purpose, task_id, tool_name, fields)
    equal = [hmac.compare_digest(_VERSION + _mac(key, text), given) for key in keys]
    return any(equal)


def chosen(names: Sequence[str], metadata: Mapping[str, object]) -> dict[str, str | None]:
    """The fields that a signature is over."""
    return {name: None if metadata.get(name) is None else str(metadata[name]) for name in names}


def _text(purpose: str, task_id: str, tool_name: str, fields: Mapping[str, str | None]) -> bytes:
    parts = ["stacksona-bridge", purpose, task_id, tool_name, *([name, fields[name]] for name in sorted(fields))]
    return json.dumps(parts, separators=(",", ":")).encode()


def _mac(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()
