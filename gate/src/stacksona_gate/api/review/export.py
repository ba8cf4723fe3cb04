"""Handing a thread out as one document."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from stacksona_gate.api.fields import chosen
from stacksona_gate.api.http import ENCODER, Call, Reply
from stacksona_gate.api.pages import HTML_TYPE, page
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import Named, Thread, as_is, thread_of
from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service.exports import Export, export_thread

_CSP = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")


class ExportedEntry(msgspec.Struct):
    """An audit entry. `leaf` is what the log's tree holds; `private` has the committed values and their salts."""

    leaf: dict[str, Any]
    private: dict[str, Any]


class ThreadExport(msgspec.Struct):
    """A thread with everything that was said and recorded about it. Attachments are named by digest."""

    format: Literal["stacksona-gate-thread-export/1"]
    exported_at: str
    exported_by: Named
    thread: Thread
    entries: list[ExportedEntry]


async def export(context: PeopleContext, call: Call) -> Reply:
    """The whole thread as one document, JSON or a page to print, with its audit entries.

    Taking it out is itself recorded (`thread.exported`), and is the last of its entries.
    """
    person = await context.person(call)
    form = chosen(call.query(), "format", ("json", "html")) or "json"
    gate, thread_id = context.gate, call.path["thread_id"]
    taken = await context.write(person, lambda tx, user: export_thread(tx, gate.env, user, thread_id, form))
    file_name = f"{taken.view.request.thread_id}.{form}"
    disposition = (b"content-disposition", f'attachment; filename="{file_name}"'.encode())
    # In a thread: an agent decides how much there is, and of text made to take long a page takes many seconds.
    body = await asyncio.to_thread(_written, taken, form)
    if form == "json":
        return Reply(body, headers=(disposition,))
    return Reply(body, content_type=HTML_TYPE, headers=(disposition, _CSP))


def _written(taken: Export, form: str) -> bytes:
    encoded = ENCODER.encode(document_of(taken))
    # The page is read back from the JSON: both forms say the same, to the byte.
    return encoded if form == "json" else page("export.html", export=msgspec.json.decode(encoded))


def document_of(taken: Export) -> ThreadExport:
    """What an export holds."""
    user = taken.exported_by
    return ThreadExport(
        "stacksona-gate-thread-export/1",
        rfc3339(taken.exported_at),
        Named(user.id, user.name),
        thread_of(taken.view, taken.exported_at),
        [exported_entry(entry) for entry in taken.view.entries],
    )


def exported_entry(entry: Entry) -> ExportedEntry:
    return ExportedEntry(as_is(entry.leaf), as_is(entry.private))
