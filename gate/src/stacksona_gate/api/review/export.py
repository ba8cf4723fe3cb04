"""Handing a thread out as one document."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any, Final, Literal

import msgspec

from stacksona_gate.api.fields import chosen
from stacksona_gate.api.http import ENCODER, Call, Reply
from stacksona_gate.api.pages import HTML_TYPE, page
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import Named, Thread, thread_of
from stacksona_gate.domain.merkle import leaf_hash
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service.exports import Export, ExportedEntry, LogHeader, export_thread, take_thread
from stacksona_gate.service.redaction import for_person

_CSP: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'",
)
IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_UNSAFE: Final = re.compile(r"[^ -~]|[<>&]")


class ExportedFile(msgspec.Struct):
    """An attachment's data, in base64."""

    id: str
    data: str


class ThreadExport(msgspec.Struct):
    """A thread with everything that was said and recorded about it.

    `log` and `entries` are what can be verified; `thread` retells it. Attachments are named by digest; `files` has
    their data where that was asked for.
    """

    format: Literal["stacksona-gate-thread-export/2"]
    exported_at: str
    exported_by: Named
    log: LogHeader
    thread: Thread
    entries: list[ExportedEntry]
    files: list[ExportedFile] | None


async def export(context: PeopleContext, call: Call) -> Reply:
    """The whole thread as one document, JSON or a page to print, with its audit entries and what proves them.

    Taking it out is itself recorded (`thread.exported`), and is the last of its entries. Values that you may not see
    are withheld.
    """
    person = await context.person(call)
    query = call.query()
    form = chosen(query, "format", ("json", "html")) or "json"
    with_files = chosen(query, "attachments", ("true", "false")) == "true"
    gate, thread_id = context.gate, call.path["thread_id"]
    await context.write(person, lambda tx, user: export_thread(tx, gate.env, user, thread_id, form))
    reader = person.user
    taken = await take_thread(
        gate, reader, thread_id, redactor_of=lambda tx: for_person(tx, reader), with_files=with_files
    )
    disposition = (b"content-disposition", f'attachment; filename="{taken.log.thread_id}.{form}"'.encode())
    # In a thread: an agent decides how much there is, and of text made to take long a page takes many seconds.
    body = await asyncio.to_thread(thread_document, taken, form)
    if form == "json":
        return Reply(body, headers=(disposition,))
    return Reply(body, content_type=HTML_TYPE, headers=(disposition, _CSP))


def thread_document(taken: Export, form: str) -> bytes:
    """The document's bytes. ``form``: ``json`` or ``html``."""
    encoded = ENCODER.encode(document_of(taken))
    if form == "json":
        return encoded + b"\n"
    # The page is read back from the JSON: both forms say the same, to the byte.
    told = msgspec.json.decode(encoded)
    images = {file.id: file.content_type for file in taken.view.attachments if file.content_type in IMAGES}
    shown = {
        one["id"]: f"data:{images[one['id']]};base64,{one['data']}"
        for one in told["files"] or ()
        if one["id"] in images
    }
    return page(
        "export.html",
        export=told,
        entries=[_told(entry) for entry in taken.entries],
        names=_names(told["thread"], told["exported_by"]),
        fingerprint=_fingerprint(taken.log),
        images=shown,
        evidence=_in_a_page(encoded),
    )


def _told(entry: ExportedEntry) -> dict[str, Any]:
    """An entry as the page shows it. The text that counts is in the evidence."""
    leaf = msgspec.json.decode(entry.leaf)
    hashed = leaf_hash(entry.leaf.encode()).hex()
    return {
        "index": entry.index,
        "text": entry.leaf,
        "leaf": leaf,
        "hash": hashed,
        "private": msgspec.json.decode(ENCODER.encode(entry.private)),
    }


def _names(thread: dict[str, Any], exporter: dict[str, Any]) -> dict[str, str]:
    """Names of those whose ids stand in the entries, as far as the thread tells them."""
    people = [one["reviewer"] for one in thread["reviews"]] + [one["author"] for one in thread["notes"]]
    known = [exporter, *filter(None, [thread["claimed_by"]]), *people, thread["agent"]]
    return {one["id"]: one["name"] for one in known}


def _fingerprint(header: LogHeader) -> str:
    """The checkpoint's root hash in hexadecimal, in groups that can be read out."""
    root = base64.b64decode(header.checkpoint.split("\n")[2]).hex()
    return " ".join(root[start : start + 8] for start in range(0, len(root), 8))


def _in_a_page(encoded: bytes) -> str:
    """JSON in which nothing ends a script, begins a tag or hides: such characters stand in texts only, as escapes."""
    return _UNSAFE.sub(_escape, encoded.decode())


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def document_of(taken: Export) -> ThreadExport:
    """What an export holds."""
    user = taken.exported_by
    files = None if taken.files is None else [_file(file.id, file.data) for file in taken.files]
    return ThreadExport(
        "stacksona-gate-thread-export/2",
        rfc3339(taken.exported_at),
        Named(user.id, user.name),
        taken.log,
        thread_of(taken.view, taken.exported_at),
        list(taken.entries),
        files,
    )


def _file(file_id: str, data: bytes) -> ExportedFile:
    return ExportedFile(file_id, base64.b64encode(data).decode())
