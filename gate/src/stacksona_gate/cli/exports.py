"""``audit export``: the log, or a part of it, as a file that can be checked without the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from stacksona_gate.cli.audit import audit
from stacksona_gate.cli.moments import moment
from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, on_tenant
from stacksona_gate.cli.whole_files import whole_file
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.people import ADMIN, User

if TYPE_CHECKING:
    from stacksona_gate.service.exports import Form, LogHeader, RedactorOf, Selection
    from stacksona_gate.service.gate import Gate

NOTE_MOST: Final = 65_536
FORMS: Final = {".jsonl": "jsonl", ".csv": "csv", ".html": "html", ".json": "json"}

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write; its folder must be there.")]
Thread = Annotated[str | None, typer.Option("--thread", metavar="ID", help="Only this thread.")]
RequestId = Annotated[
    str | None, typer.Option("--request", metavar="ID", help="Only this request, also one that was decided at once.")
]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="From this time on: 2026-11-24T00:00:00Z.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this time.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="FORMAT", help="jsonl, csv; of a thread json, html too. By the name.")
]
Since = Annotated[
    Path | None,
    typer.Option("--since", metavar="CHECKPOINT", help="A checkpoint saved earlier: prove that the log extends it."),
]
Redacted = Annotated[bool, typer.Option("--redacted", help="Mask what the workspace masks for everybody else.")]
Attachments = Annotated[bool, typer.Option("--attachments", help="With the data of a thread's attachments.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]


@audit.command("export")
def export(
    out: Out,
    thread: Thread = None,
    request: RequestId = None,
    start: From = None,
    to: To = None,
    form: Format = None,
    since: Since = None,
    redacted: Redacted = False,
    attachments: Attachments = False,
    force: Force = False,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Write the log, a time range, a thread or a request into a file, with what proves it.

    What is committed so far is sealed first, and the export is itself recorded. Works beside a running server.
    """
    from stacksona_gate.service.exports import Selection

    if sum((thread is not None, request is not None, (start, to) != (None, None))) > 1:
        raise typer.BadParameter("give one of --thread, --request and a time range")
    selection = Selection(moment("--from", start), moment("--to", to), thread, request)
    chosen = _form(form, out, selection, attachments=attachments)
    saved = None if since is None else _note(since)
    wanted = _Wanted(selection, chosen, saved, redacted, attachments)
    with whole_file(out, force=force) as file:
        header = on_tenant(database, tenant, lambda gate, tenant_id: wanted.write(gate, tenant_id, file.write))
    _told(out, header, chosen, as_json=as_json)


def _form(form: str | None, out: Path, selection: Selection, *, attachments: bool) -> str:
    chosen = form or FORMS.get(out.suffix.lower()) or "jsonl"
    if chosen not in FORMS.values():
        raise typer.BadParameter("--format is jsonl, csv, json or html")
    if chosen in ("json", "html") and selection.kind != "thread":
        raise typer.BadParameter(f"{chosen} is for a thread: give --thread, or export jsonl")
    if attachments and chosen not in ("json", "html"):
        raise typer.BadParameter("--attachments goes with --format json or html, of a thread")
    return chosen


def _note(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(NOTE_MOST + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: {getattr(error, 'strerror', None) or 'this is no UTF-8 text'}") from None


class _Wanted:
    """One export, as it was asked for."""

    def __init__(self, selection: Selection, form: str, saved: str | None, redacted: bool, attachments: bool) -> None:
        self._selection, self._form, self._saved = selection, form, saved
        self._redacted, self._attachments = redacted, attachments

    async def write(self, gate: Gate, tenant_id: str, put: Any) -> LogHeader:
        """Records the export, and hands its bytes to ``put``."""
        from stacksona_gate.service.exports import open_export, record_export, written

        selection = await gate.store.write(
            lambda tx: record_export(tx, gate.env, COMMAND_LINE, tenant_id, self._selection, self._form)
        )
        if self._form in ("json", "html"):
            return await self._write_document(gate, tenant_id, selection, put)
        taking = await open_export(gate, tenant_id, selection, self._saved)
        eyes = self._eyes(tenant_id) if self._redacted else None
        async for chunk in written(gate, taking, cast("Form", self._form), eyes):
            put(chunk)
        return taking.header

    async def _write_document(self, gate: Gate, tenant_id: str, selection: Selection, put: Any) -> LogHeader:
        from stacksona_gate.main import thread_document
        from stacksona_gate.service.exports import take_thread

        # Whoever has the database and the root secret may see everything.
        operator = User(tenant_id, COMMAND_LINE.id, "", "the command line", ADMIN, "", "active", 0)
        taken = await take_thread(
            gate,
            operator,
            selection.thread_id or "",
            redactor_of=self._eyes(tenant_id),
            saved=self._saved,
            with_files=self._attachments,
        )
        put(thread_document(taken, self._form))
        return taken.log

    def _eyes(self, tenant_id: str) -> RedactorOf:
        from stacksona_gate.service.redaction import Redactor, for_others

        return (lambda tx: for_others(tx, tenant_id)) if self._redacted else (lambda tx: Redactor(None))


def _told(out: Path, header: LogHeader, form: str, *, as_json: bool) -> None:
    value = {
        "file": str(out),
        "format": form,
        "kind": header.kind,
        "origin": header.origin,
        "size": header.size,
        "entries": header.entries,
    }
    check = "A table proves nothing by itself: export JSON Lines to verify."
    if form != "csv":
        check = f"Check it anywhere: stacksona-gate audit verify {out}"
    answer(value, [f"{out}: {header.entries:,} of {header.size:,} entries", check], as_json=as_json)
