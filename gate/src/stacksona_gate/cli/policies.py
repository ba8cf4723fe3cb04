"""``policy``: rules from files, tested before they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

import typer

from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, read_on_tenant, table, write_on_tenant
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import FieldError, Invalid
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.policy.cases import CaseResult, read_cases, run_cases
from stacksona_gate.policy.compare import Change, compare
from stacksona_gate.policy.model import EMPTY_POLICY, Policy
from stacksona_gate.policy.parse import dump_policy, parse_policy, policy_document
from stacksona_gate.service.policies import apply_policy, current_policy, get_version, revert_policy

policy = group("The policy: which action is allowed, reviewed or rejected.")

PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A policy, in YAML or JSON.")]
CaseFiles = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files of cases: questions and answers.")]
Tested = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="The policy to ask, instead of the one in each file.")
]
Note = Annotated[str, typer.Option("--note", help="Why, for those who read the versions later.")]
Version = Annotated[int | None, typer.Option("--version", min=0, help="An earlier version; else the one in force.")]
VersionNumber = Annotated[int, typer.Argument(metavar="N", min=0, help="The version; 0 is the empty policy.")]

_PLACE: Final = re.compile(r"line (\d+), column (\d+): (.*)", re.DOTALL)


@policy.command("apply")
def apply_file(
    file: PolicyFile, note: Note = "", as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Put a policy in force, as a new version. The same policy again makes none."""
    wanted = read_policy(file)
    version, changes = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: apply_policy(tx, gate.env, COMMAND_LINE, tenant_id, wanted, note=note),
    )
    _show_change(version, changes, as_json=as_json)


@policy.command("show")
def show(
    version: Version = None, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Print the policy in force, as a file that `policy apply` takes."""
    number, text = _document(database, tenant, version)
    value = {"version": number, "policy": policy_document(parse_policy(text))}
    answer(value, [text.rstrip("\n")], as_json=as_json)


@policy.command("diff")
def diff(file: PolicyFile, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Show what `policy apply FILE` would change."""
    wanted = read_policy(file)
    current = read_on_tenant(database, tenant, current_policy)
    changes = compare(current.policy, wanted)
    value = {"version": current.version, "changes": [str(change) for change in changes]}
    answer(value, _lines(changes) or [f"no differences from version {current.version}"], as_json=as_json)


@policy.command("test")
def run_tests(files: CaseFiles, policy_file: Tested = None, database: Database = None) -> None:
    """Ask the questions of case files and hold the answers against what is expected. Needs no database.

    Exit code 0 when all are as expected, 1 when any differs.
    """
    asked = None if policy_file is None else read_policy(policy_file)
    results = {file: run_cases(_read(file, read_cases), asked) for file in files}
    for file, found in results.items():
        for line in _result_lines(file, found):
            typer.echo(line)
    failed = sum(not result.passed for found in results.values() for result in found)
    total = sum(map(len, results.values()))
    typer.echo(f"{total - failed} of {total} cases as expected, in {len(results)} file{'s'[: len(results) != 1]}")
    if failed:
        raise typer.Exit(1)


@policy.command("versions")
def versions(as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """List the versions, newest first."""
    current, kept = read_on_tenant(
        database, tenant, lambda tx, tenant_id: (current_policy(tx, tenant_id).version, tx.policies.list_all(tenant_id))
    )
    kept = sorted(kept, key=lambda one: -one.version)
    values = [
        {
            "version": one.version,
            "in_force": one.version == current,
            "created_at": rfc3339(one.created_at),
            "by": {"kind": one.actor_kind, "id": one.actor_id},
            "note": one.note,
        }
        for one in kept
    ]
    rows = [
        (
            f"{one.version}{'*' * (one.version == current)}",
            rfc3339(one.created_at),
            f"{one.actor_kind} {one.actor_id}",
            one.note,
        )
        for one in kept
    ]
    empty = ["no versions yet: the empty policy is in force, everything is reviewed"]
    answer(values, [*table(rows), "* in force"] if rows else empty, as_json=as_json)


@policy.command("revert")
def revert(
    version: VersionNumber, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Put an earlier version in force again, as a new version."""
    now, changes = write_on_tenant(
        database, tenant, lambda tx, gate, tenant_id: revert_policy(tx, gate.env, COMMAND_LINE, tenant_id, version)
    )
    _show_change(now, changes, as_json=as_json)


def read_policy(file: Path) -> Policy:
    """Raises Invalid with a line ``file:line:column path message`` for everything that is wrong."""
    return _read(file, parse_policy)


def _read[T](file: Path, read: Callable[[str], T]) -> T:
    try:
        return read(file.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: not UTF-8 from byte {error.start} on") from None
    except Invalid as error:
        raise Invalid("\n".join(_placed(file, one) for one in error.errors) or f"{file}: {error.detail}") from None


def _placed(file: Path, error: FieldError) -> str:
    match = _PLACE.fullmatch(error.message)
    place, message = (f"{file}:{match[1]}:{match[2]}", match[3]) if match else (str(file), error.message)
    return " ".join(filter(None, (place, error.field, message)))


def _document(database: str | None, tenant: str, version: int | None) -> tuple[int, str]:
    if version is None:
        current = read_on_tenant(database, tenant, current_policy)
        return current.version, current.document
    if version == 0:
        return 0, dump_policy(EMPTY_POLICY)
    kept = read_on_tenant(database, tenant, lambda tx, tenant_id: get_version(tx, tenant_id, version))
    return kept.version, kept.document


def _show_change(version: int, changes: Iterable[Change], *, as_json: bool) -> None:
    lines = _lines(changes)
    value = {"version": version, "changes": lines}
    answer(value, [*(lines or ["nothing changes"]), f"version {version} is in force"], as_json=as_json)


def _lines(changes: Iterable[Change]) -> list[str]:
    return [str(change) for change in changes]


def _result_lines(file: Path, results: list[CaseResult]) -> list[str]:
    failed = [result for result in results if not result.passed]
    lines = [f"{file}: {len(results) - len(failed)} of {len(results)} as expected"]
    for result in failed:
        lines.append(f"{file}:{result.line} {result.name}")
        lines += [f"    {difference}" for difference in result.differences]
    return lines
