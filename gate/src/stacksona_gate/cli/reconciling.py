"""``reconcile``: a tool's own log against what the gate approved."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final, Never

import typer

from stacksona_gate.cli.moments import moment
from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import on_tenant
from stacksona_gate.cli.shell import single
from stacksona_gate.cli.whole_files import whole_file
from stacksona_gate.domain.display import reveal
from stacksona_gate.domain.errors import GateError
from stacksona_gate.domain.spreadsheets import cell
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.reconciliation import KINDS, Scope, Tally, as_json, reconcile
from stacksona_gate.service.tool_logs import parse_mapping, read_log

reconcile_command = single("Compare a tool's log with the gate.")

SHOWN_MOST: Final = 50
"""Findings of one kind that are printed for people."""
FIELDS: Final = ("kind", "reason", "line", "request_id", "thread_id", "tool", "detail", "differences")
TITLES: Final = {
    "executed_without_approval": "executed without approval",
    "executed_twice": "executed twice",
    "executed_with_other_arguments": "executed with other arguments",
    "approved_and_never_executed": "approved and never executed",
    "outcome_says_otherwise": "the agent's outcome says otherwise",
}

LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="The tool's log: CSV with a header, or JSON Lines.")]
Format = Annotated[str | None, typer.Option("--format", metavar="csv|jsonl", help="Else by the file's name.")]
Mapped = Annotated[
    str,
    typer.Option(
        "--map",
        metavar="WHAT=COLUMN,…",
        help="request_id, thread_id, tool, payload, payload_digest, executed_at, or a place in the payload (amount).",
    ),
]
Tool = Annotated[str | None, typer.Option("--tool", metavar="NAME", help="Only this tool: the log is this tool's.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From this time on: 2026-11-24T00:00:00Z.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write all findings here: .csv, else JSON Lines.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file of --out.")]


@reconcile_command.command("reconcile")
def compare(
    file: LogFile,
    form: Format = None,
    mapped: Mapped = "",
    tool: Tool = None,
    since: Since = None,
    until: Until = None,
    out: Out = None,
    force: Force = False,
    as_json_: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Compare a tool's own log with the gate: what was executed without approval, twice, or otherwise.

    Reads only. Exit code 0 when nothing was found, 1 when something was, 2 when it could not be compared.
    """
    scope = Scope(tool, moment("--since", since), moment("--until", until))
    tally = Tally()
    with _usage_errors(file), tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        _gather(database, tenant, file, _form(file, form), mapped, scope, tally, spool)
        if out is not None:
            _write(out, spool, force=force)
        _print(tally, spool, out, as_json=as_json_)
    if tally.found.total():
        raise typer.Exit(1)


def _form(file: Path, form: str | None) -> str:
    known = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    form = form or known.get(file.suffix.lower())
    if form not in ("csv", "jsonl"):
        raise typer.BadParameter("say what the file is: --format csv or --format jsonl")
    return form


@contextmanager
def _usage_errors(file: Path) -> Iterator[None]:
    """Whatever kept the two from being compared is exit code 2: 1 means that something was found."""
    try:
        yield
    except GateError as error:
        _stop(f"{file}: {error.detail}")
    except OSError as error:
        _stop(f"{error.filename or file}: {error.strerror or error}")


def _stop(message: str) -> Never:
    typer.echo(plain(message), err=True)
    raise typer.Exit(2)


def plain(text: str) -> str:
    """Foreign text for a terminal: nothing in it moves the cursor or hides."""
    return "".join(piece.text for piece in reveal(text))


def _gather(
    database: str | None,
    tenant: str,
    file: Path,
    form: str,
    mapped: str,
    scope: Scope,
    tally: Tally,
    spool: IO[str],
) -> None:
    columns = parse_mapping(mapped)

    async def work(gate: Gate, tenant_id: str) -> None:
        with file.open("rb") as opened:
            async for finding in reconcile(gate, tenant_id, read_log(opened, form, columns), scope, tally):
                spool.write(json.dumps(as_json(finding)) + "\n")

    with file.open("rb"):
        pass  # a missing file is said before a database is opened
    on_tenant(database, tenant, work)


def _write(out: Path, spool: IO[str], *, force: bool) -> None:
    spool.seek(0)
    with whole_file(out, force=force) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        if out.suffix.lower() == ".csv":
            writer = csv.writer(text)
            writer.writerow(FIELDS)
            writer.writerows(_row(line) for line in spool)
        else:
            text.writelines(spool)
        text.flush()
        text.detach()


def _row(line: str) -> list[str]:
    finding = json.loads(line)
    finding["differences"] = "; ".join(
        f"{one['place']}: {one['approved'] or 'nothing'} became {one['executed'] or 'nothing'}"
        for one in finding["differences"]
    )
    return [cell("" if finding[name] is None else str(finding[name])) for name in FIELDS]


def _print(tally: Tally, spool: IO[str], out: Path | None, *, as_json: bool) -> None:
    if as_json:
        _print_json(tally, spool)
        return
    for kind in KINDS:
        if tally.found[kind]:
            typer.echo(f"{TITLES[kind]}: {tally.found[kind]}")
            _print_kind(kind, tally.found[kind], spool, out)
    for line in _summary(tally):
        typer.echo(line)


def _print_kind(kind: str, count: int, spool: IO[str], out: Path | None) -> None:
    shown = 0
    spool.seek(0)
    for line in spool:
        finding = json.loads(line)
        if finding["kind"] == kind and (shown := shown + 1) <= SHOWN_MOST:
            for told in _told(finding):
                typer.echo(f"  {plain(told)}")
    if count > SHOWN_MOST:
        where = str(out) if out else "--out FILE"
        typer.echo(f"  and {count - SHOWN_MOST} more: {where} has them all")


def _told(finding: dict[str, object]) -> Iterator[str]:
    place = f"line {finding['line']}: " if finding["line"] is not None else ""
    named = " ".join(str(finding[name]) for name in ("request_id", "thread_id") if finding[name])
    yield f"{place}{f'{named}: ' if named else ''}{finding['detail']}"
    differences = finding["differences"]
    for one in differences if isinstance(differences, list) else ():
        yield f"  {one['place']}: approved {one['approved'] or 'nothing'}, executed {one['executed'] or 'nothing'}"


def _summary(tally: Tally) -> Iterator[str]:
    judged = tally.records - tally.outside
    outside = f", {tally.outside:,} more of another tool or time" if tally.outside else ""
    yield f"{judged:,} executions{outside}; {tally.redeemed:,} redeemed approvals; {tally.found.total():,} findings"
    if tally.not_comparable:
        yield f"{tally.not_comparable:,} could not be compared: their content was erased"


def _print_json(tally: Tally, spool: IO[str]) -> None:
    counts = {kind: tally.found[kind] for kind in KINDS}
    numbers = {
        "executions": tally.records - tally.outside,
        "outside": tally.outside,
        "redeemed": tally.redeemed,
        "not_comparable": tally.not_comparable,
        "counts": counts,
    }
    typer.echo(json.dumps(numbers)[:-1] + ', "findings": [', nl=False)
    spool.seek(0)
    for i, line in enumerate(spool):
        typer.echo(("," if i else "") + line.rstrip("\n"), nl=False)
    typer.echo("]}")
