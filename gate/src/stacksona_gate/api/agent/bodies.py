"""What agents send: fields, limits, and how a body becomes values."""

from __future__ import annotations

import asyncio
import base64
import binascii
import difflib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from stacksona_gate.api.http import Call, convert
from stacksona_gate.domain.errors import FieldError, Invalid, Malformed, TooLarge, UnsupportedMediaType
from stacksona_gate.domain.forms import ScalarType, convert_scalars, read_form
from stacksona_gate.domain.ids import TOOL_NAME
from stacksona_gate.domain.reading import read_json
from stacksona_gate.service.requests import File

BODY_MOST: Final = 256 * 1024
BODY_WITH_FILES_MOST: Final = 7 * 1024 * 1024
FILES_MOST: Final = 5 * 1024 * 1024
THREAD_ABOVE: Final = 64 * 1024
"""Bodies larger than this are read beside the event loop: they would hold everybody up."""
WARNINGS_MOST: Final = 20
LIKELY: Final = 0.55
"""How alike two names are before one is taken for a misspelling of the other: `risk` is `risk_level`."""

FORM: Final = "application/x-www-form-urlencoded"

# Python's $ also matches before a newline at the end, which is not of the alphabet.
ToolName = Annotated[str, Meta(pattern=f"^{TOOL_NAME.pattern}$(?!\\n)", min_length=1, max_length=200)]
Line = Annotated[str, Meta(max_length=200)]
Digest = Annotated[str, Meta(pattern="^sha-256:[0-9a-f]{64}$(?!\\n)")]
Subject = Annotated[str, Meta(min_length=1, max_length=500)]
Preview = Annotated[str, Meta(max_length=20_000)]
Summary = Annotated[list[Annotated[str, Meta(max_length=1000)]], Meta(max_length=50)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=1000)]], Meta(max_length=20)
]
Payload = dict[str, object]


class AttachmentBody(msgspec.Struct, forbid_unknown_fields=True):
    """A file. ``data`` is base 64."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    content_type: Annotated[str, Meta(min_length=1, max_length=100)]
    data: str


Attachments = Annotated[list[AttachmentBody], Meta(max_length=8)]


class RequestBody(msgspec.Struct):
    """One question about one action."""

    tool_name: ToolName
    subject: Subject
    workflow_name: Line | None = None
    task_label: Line | None = None
    risk_level: Literal["low", "medium", "high", "critical"] = "medium"
    preview: Preview | None = None
    summary: Summary | None = None
    payload: Payload | None = None
    attachments: Attachments | None = None
    metadata: Metadata | None = None
    expires_in: Annotated[int, Meta(ge=30, le=2_592_000)] | None = None


class ValidateBody(msgspec.Struct):
    """A redemption. Send the tool's name and the payload, or its digest, always: what is sent must match."""

    task_id: str
    signature: Annotated[str, Meta(max_length=8192)]
    tool_name: Annotated[str, Meta(max_length=200)] | None = None
    payload: Payload | None = None
    payload_digest: Digest | None = None


class EventBody(msgspec.Struct):
    """An event on the task's timeline, or with ``event_type: revision`` the next revision of a thread."""

    event_type: Annotated[str, Meta(min_length=1, max_length=100)]
    event_summary: Annotated[str, Meta(max_length=1000)] | None = None
    payload: Payload | None = None
    thread_id: Annotated[str, Meta(max_length=64)] | None = None
    subject: Subject | None = None
    preview: Preview | None = None
    summary: Summary | None = None
    attachments: Attachments | None = None


class OutcomeBody(msgspec.Struct):
    """What became of the action. Name the request or the thread."""

    status: Literal["executed", "failed", "skipped"]
    request_id: Annotated[str, Meta(max_length=64)] | None = None
    thread_id: Annotated[str, Meta(max_length=64)] | None = None
    detail: Annotated[str, Meta(max_length=5000)] | None = None
    payload_digest: Digest | None = None


SCALARS: Final[dict[str, ScalarType]] = {"expires_in": "integer"}


class Raw(msgspec.Struct):
    """A body as it came, and as it was read."""

    content_type: str
    content: bytes
    fields: dict[str, object]


async def read_fields(call: Call, *, limit: int = BODY_MOST) -> Raw:
    """A JSON or form body's top-level fields.

    Raises TooLarge, UnsupportedMediaType, Malformed, Invalid. With a higher ``limit`` a body over 256 KiB needs
    attachments to be allowed it.
    """
    content_type = call.header(b"content-type") or ""
    content = await call.body(limit)
    if len(content) > THREAD_ABOVE:
        fields = await asyncio.to_thread(_fields, content_type, content)
    else:
        fields = _fields(content_type, content)
    if len(content) > BODY_MOST and not fields.get("attachments"):
        raise TooLarge(f"a body without attachments has at most {BODY_MOST} bytes")
    return Raw(content_type, content, fields)


def _fields(content_type: str, content: bytes) -> dict[str, object]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        return convert_scalars(read_form(content), SCALARS)
    if kind not in ("", "application/json"):
        raise UnsupportedMediaType(f"send application/json or {FORM}, not {kind[:100]!r}")
    value = read_json(content)
    if not isinstance(value, dict):
        raise Malformed('the body is one JSON object, as in {"tool_name": "issue_refund", …}')
    return value


def unknown_fields(fields: dict[str, object], kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """A warning for each field that this call does not know: it has no part in the decision."""
    known = kind.__struct_fields__
    unknown = [name for name in fields if name not in known]
    if not unknown:
        return ()
    warnings = [_warning(name, known) for name in unknown[:WARNINGS_MOST]]
    if len(unknown) > WARNINGS_MOST:
        warnings.append(f"{len(unknown) - WARNINGS_MOST} more unknown fields are not part of the decision")
    return tuple(warnings)


def _warning(name: str, known: tuple[str, ...]) -> str:
    shown = name if len(name) <= 80 else name[:80] + "…"
    likely = difflib.get_close_matches(name[:80].lower(), known, 1, LIKELY)
    hint = f"; did you mean {likely[0]}?" if likely else ""
    return f"unknown field {shown!r} is not part of the decision{hint}"


def decoded_files(attachments: list[AttachmentBody] | None) -> tuple[File, ...]:
    """Raises Invalid: not base 64, or over 5 MB in all."""
    files, size = [], 0
    for position, attachment in enumerate(attachments or ()):
        try:
            data = base64.b64decode(attachment.data, validate=True)
        except (binascii.Error, ValueError):
            field = f"attachments[{position}].data"
            raise Invalid(f"{field} is not base 64", errors=(FieldError(field, "not base 64"),)) from None
        size += len(data)
        if size > FILES_MOST:
            raise Invalid(
                "attachments have at most 5 MB in all", errors=(FieldError("attachments", "over 5 MB in all"),)
            )
        files.append(File(attachment.name, attachment.content_type, data))
    return tuple(files)


def read_as[T: msgspec.Struct](raw: Raw, kind: type[T]) -> T:
    return convert(raw.fields, kind)
