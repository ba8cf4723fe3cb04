"""``audit``: what the sealed log proves, checked and witnessed without a gate and its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Never

import typer

from stacksona_gate.cli.options import Json
from stacksona_gate.cli.session import answer, table
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.errors import Malformed
from stacksona_gate.domain.signed_notes import MAX_NOTE, VerifierKey, parse_verifier_key
from stacksona_gate.domain.times import rfc3339_or_none
from stacksona_gate.verify.exports import Finding, Report, verify_export
from stacksona_gate.verify.private import Counted

audit = group("The sealed log: export it, check it, witness it.")

MAX_KEY_FILE: Final = 65_536
KEY_TOLD: Final = {
    "given": "the key that was given",
    "checkpoint": "the file's own key, which signed the saved checkpoint too",
    "file": "the file's own key: this shows only that the file is consistent with itself",
}

ExportFile = Annotated[Path, typer.Argument(metavar="FILE", help="An export: JSON Lines, or a thread's JSON or page.")]
SavedCheckpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="A checkpoint saved earlier, which the log must extend."),
]
LogKey = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The log's public key, from elsewhere than the export.")
]
Unused = Annotated[str | None, typer.Option("--database", metavar="URL", help="Taken as everywhere, and not used.")]


@audit.command("verify")
def verify(
    file: ExportFile,
    checkpoint: SavedCheckpoint = None,
    key: LogKey = None,
    as_json: Json = False,
    database: Unused = None,
) -> None:
    """Check an export. Needs no server and no database.

    Exit code 0 when it is sound, 1 when it is broken, and where.
    """
    keys = () if key is None else read_keys(key)
    saved = None if checkpoint is None else _text(checkpoint, MAX_NOTE)
    try:
        with file.open("rb") as opened:
            report = verify_export(opened, keys, saved)
    except OSError as error:
        _usage(f"{file}: {error.strerror}")
    except Malformed as error:
        _usage(f"{checkpoint}: {error.detail}")
    answer(_value(report), _lines(report), as_json=as_json)
    if not report.sound:
        raise typer.Exit(1)


def read_keys(path: Path) -> tuple[VerifierKey, ...]:
    """The verifier keys in a file, one a line. A usage error when there is none, or something else."""
    try:
        keys = tuple(parse_verifier_key(line) for line in _text(path, MAX_KEY_FILE).splitlines() if line.strip())
    except Malformed as error:
        _usage(f"{path}: {error.detail}")
    return keys or _usage(f"{path}: there is no key in the file")


def _text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(most + 1).decode()
    except OSError as error:
        _usage(f"{path}: {error.strerror}")
    except UnicodeDecodeError:
        _usage(f"{path}: this is no UTF-8 text")


def _usage(message: str) -> Never:
    """Exit code 2: the check was not made."""
    raise typer.BadParameter(message)


def _value(report: Report) -> dict[str, Any]:
    header, saved = report.header, report.saved
    return {
        "sound": report.sound,
        "kind": header and header.kind,
        "origin": header and header.origin,
        "tenant": header and header.tenant,
        "size": header and header.size,
        "entries": report.entries,
        "left_out": report.left_out,
        "disclosed": report.private.disclosed,
        "redacted": report.private.redacted,
        "erased": report.private.erased,
        "first_at": rfc3339_or_none(report.first_at),
        "last_at": rfc3339_or_none(report.last_at),
        "key": report.key,
        "checkpoint": saved and {"size": saved.size, "extended": report.extends_saved},
        "findings": [{"line": one.line, "index": one.index, "what": one.what} for one in report.findings],
        "more_findings": report.more,
    }


def _lines(report: Report) -> Iterator[str]:
    yield "sound" if report.sound else "BROKEN"
    yield from (f"  {_told(one)}" for one in report.findings)
    if report.more:
        yield f"  and {report.more} more"
    yield from table([("key", KEY_TOLD[report.key]), *_facts(report)])
    if report.sound:
        yield from _limits(report)


def _told(finding: Finding) -> str:
    place = [f"{name} {at}" for name, at in (("line", finding.line), ("index", finding.index)) if at is not None]
    return f"{', '.join(place)}: {finding.what}" if place else finding.what


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    header, saved, private = report.header, report.saved, report.private
    if header is not None:
        yield "log", f"{header.origin}, size {header.size}"
        yield "export", {"tenant": "the whole log", "range": "a time range"}.get(header.kind, f"a {header.kind}")
    yield "entries", str(report.entries)
    yield "values", _values(private)
    if report.first_at is not None:
        yield "time", f"{rfc3339_or_none(report.first_at)} to {rfc3339_or_none(report.last_at)}"
    if saved is not None and report.extends_saved:
        yield "checkpoint", f"the log extends the saved one of size {saved.size}"


def _values(private: Counted) -> str:
    return f"{private.disclosed} disclosed, {private.redacted} redacted, {private.erased} erased"


def _limits(report: Report) -> Iterator[str]:
    """What a sound answer does not say."""
    if report.saved is None:
        yield "No saved checkpoint was given: a cut tail, an old backup or a forked history would not be seen."
    if report.header is not None and report.header.kind != "tenant":
        yield f"Only these entries are proven; {report.left_out} between the first and the last are not in the file."
    if report.form in ("json", "html"):
        yield "What the export says around its entries is not proven."
    if report.private.redacted:
        yield "What is shown in the place of a redacted value is not proven."
