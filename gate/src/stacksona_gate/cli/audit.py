"""``audit``: what the sealed log proves, checked and witnessed without a gate and its database."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, Never

import typer

from stacksona_gate.cli.options import Json, Port
from stacksona_gate.cli.session import answer, table
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.errors import Malformed
from stacksona_gate.domain.signed_notes import ED25519, MAX_NOTE, VerifierKey, parse_verifier_key
from stacksona_gate.domain.times import rfc3339_or_none
from stacksona_gate.verify.exports import Finding, Report, verify_export
from stacksona_gate.verify.private import Counted
from stacksona_gate.verify.witness import Memory, Witness
from stacksona_gate.verify.witness_keys import make_key, read_key
from stacksona_gate.verify.witness_server import WitnessServer

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


State = Annotated[
    Path | None, typer.Option("--state", metavar="FILE", help="What the witness remembers. Keep it: it is the point.")
]
WitnessKey = Annotated[Path, typer.Option("--key", metavar="FILE", help="The witness's own key.")]
Logs = Annotated[
    list[Path] | None,
    typer.Option("--log", metavar="FILE", help="The public key of a log to witness. May be repeated."),
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
InitKey = Annotated[bool, typer.Option("--init-key", help="Make the key's file, print the public key, and end.")]
Name = Annotated[
    str | None, typer.Option("--name", help="With --init-key: the witness's name, best an address without https://.")
]


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
    if any(key.algorithm != ED25519 for key in keys):
        _usage(f"{path}: this is a witness's key, not a log's")
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


@audit.command("witness")
def witness(
    key: WitnessKey,
    state: State = None,
    log: Logs = None,
    host: Host = "127.0.0.1",
    port: Port = 8431,
    init_key: InitKey = False,
    name: Name = None,
    database: Unused = None,
) -> None:
    """Witness logs: cosign checkpoints that extend the last one seen, refuse a fork. Needs no database.

    Speaks C2SP tlog-witness: logs POST to /add-checkpoint.
    """
    if init_key:
        typer.echo(str(make_key(key, name)))
        return
    if state is None:
        _usage("--state FILE is missing: where the witness remembers what it saw")
    if name is not None:
        _usage("--name goes with --init-key")
    own, sign = read_key(key)
    logs = [known for path in log or () for known in read_keys(path)]
    with closing(Memory(state)) as memory:
        told = Witness(own, sign, logs, memory, lambda: int(time.time()), _tell)
        asyncio.run(_serve(told, own, host, port, is_new=memory.is_new))


async def _serve(witness: Witness, own: VerifierKey, host: str, port: int, *, is_new: bool) -> None:
    server = await WitnessServer(witness.add_checkpoint).start(host, port)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if is_new:
        _tell("nothing is remembered yet: what comes first is believed")
    _tell(f"Witness {own} on {host} port {port}")
    await stopped.wait()
    server.close()


def _tell(line: str) -> None:
    typer.echo(line)
