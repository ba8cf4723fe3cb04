"""The review API's table."""

from __future__ import annotations

from typing import Final

from stacksona_gate.api.fields import PAGE, PAGE_MOST
from stacksona_gate.api.review import answers, bodies, export, stream, threads, verdicts
from stacksona_gate.api.routing import Operation, Parameter

_FILTERS: Final = (
    Parameter("folder", "query", "Only threads of this folder", {"type": "string", "enum": ["", *threads.FOLDERS]}),
    Parameter(
        "q",
        "query",
        "Looked for in subject, task, tool, thread id and payload",
        {"type": "string", "maxLength": threads.QUERY_MOST},
    ),
    Parameter("agent", "query", "Only threads of this agent, by id or name", {"type": "string"}),
    Parameter("tool", "query", "Only threads of this tool", {"type": "string"}),
    Parameter(
        "risk",
        "query",
        "Only threads with this risk level",
        {"type": "string", "enum": ["", "low", "medium", "high", "critical"]},
    ),
    Parameter(
        "limit",
        "query",
        "Threads per page",
        {"type": "integer", "minimum": 1, "maximum": PAGE_MOST, "default": PAGE},
    ),
    Parameter("cursor", "query", "next_cursor of the page before", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
)
_FORMAT: Final = Parameter(
    "format", "query", "json, or html to print", {"type": "string", "enum": ["json", "html"], "default": "json"}
)
_ATTACHMENTS: Final = Parameter(
    "attachments",
    "query",
    "true: with the files' data, else their digests",
    {"type": "string", "enum": ["true", "false"]},
)
_READ: Final = (400, 401, 403, 404, 422, 503)
_SWITCH: Final = (401, 403, 404, 409, 503)
_WRITE: Final = (400, 401, 403, 404, 409, 413, 415, 422, 503)
_THREAD: Final = "/api/review/threads/{thread_id}"
_TAG: Final = "Review"

REVIEW_OPERATIONS: Final = (
    Operation(
        "GET",
        "/api/review/threads",
        threads.get_threads,
        _TAG,
        "person",
        answer=answers.ThreadPage,
        errors=(400, 401, 403, 422, 503),
        parameters=_FILTERS,
    ),
    Operation("GET", _THREAD, threads.get_thread, _TAG, "person", answer=answers.Thread, errors=_READ),
    Operation(
        "GET",
        _THREAD + "/attachments/{attachment_id}",
        threads.get_attachment,
        _TAG,
        "person",
        media_type="application/octet-stream",
        errors=_READ,
    ),
    Operation("PUT", _THREAD + "/claim", verdicts.put_claim, _TAG, "person", answer=answers.Thread, errors=_SWITCH),
    Operation(
        "DELETE", _THREAD + "/claim", verdicts.delete_claim, _TAG, "person", answer=answers.Thread, errors=_SWITCH
    ),
    Operation(
        "POST",
        _THREAD + "/reviews",
        verdicts.create_review,
        _TAG,
        "person",
        body=bodies.ReviewBody,
        answer=answers.Thread,
        errors=_WRITE,
    ),
    Operation(
        "POST",
        _THREAD + "/notes",
        verdicts.create_note,
        _TAG,
        "person",
        body=bodies.NoteBody,
        answer=answers.ThreadNote,
        status=201,
        errors=_WRITE,
    ),
    Operation(
        "GET",
        _THREAD + "/export",
        export.export,
        _TAG,
        "person",
        answer=export.ThreadExport,
        errors=_READ,
        parameters=(_FORMAT, _ATTACHMENTS),
    ),
    Operation(
        "GET",
        "/api/review/stream",
        stream.stream_changes,
        _TAG,
        "person",
        media_type="text/event-stream",
        errors=(401, 403, 429, 503),
    ),
)
