"""The commands, each loaded when it is asked for: help and ``policy test`` do not wait for the server's imports."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.main import get_command

from stacksona_gate.cli.options import TopDatabase
from stacksona_gate.cli.shell import Shell, group


def _serve() -> typer.Typer:
    from stacksona_gate.cli.serving import serve

    return serve


def _demo() -> typer.Typer:
    from stacksona_gate.cli.demonstration import demo

    return demo


def _agent() -> typer.Typer:
    from stacksona_gate.cli.agents import agent

    return agent


def _verifier() -> typer.Typer:
    from stacksona_gate.cli.agents import verifier

    return verifier


def _user() -> typer.Typer:
    from stacksona_gate.cli.people import user

    return user


def _token() -> typer.Typer:
    from stacksona_gate.cli.people import token

    return token


def _tenant() -> typer.Typer:
    from stacksona_gate.cli.tenants import tenant

    return tenant


def _operator() -> typer.Typer:
    from stacksona_gate.cli.tenants import operator

    return operator


def _policy() -> typer.Typer:
    from stacksona_gate.cli.policies import policy

    return policy


def _audit() -> typer.Typer:
    import stacksona_gate.cli.audit_log
    import stacksona_gate.cli.exports  # noqa: F401 - adds its command to the group
    from stacksona_gate.cli.audit import audit

    return audit


def _reconcile() -> typer.Typer:
    from stacksona_gate.cli.reconciling import reconcile_command

    return reconcile_command


def _outcomes() -> typer.Typer:
    from stacksona_gate.cli.outcomes import outcomes

    return outcomes


def _db() -> typer.Typer:
    from stacksona_gate.cli.databases import db

    return db


def _data_key() -> typer.Typer:
    from stacksona_gate.cli.databases import data_key

    return data_key


def _erase() -> typer.Typer:
    from stacksona_gate.cli.erasing import erase

    return erase


def _retention() -> typer.Typer:
    from stacksona_gate.cli.retention import retention

    return retention


def _signing_key() -> typer.Typer:
    from stacksona_gate.cli.databases import signing_key

    return signing_key


def _webhooks() -> typer.Typer:
    from stacksona_gate.cli.deliveries import webhooks

    return webhooks


COMMANDS: Final[dict[str, tuple[Callable[[], typer.Typer], str]]] = {
    "serve": (_serve, "Serve the gate."),
    "demo": (_demo, "Serve a prepared gate with an agent that asks about refunds."),
    "agent": (_agent, "The programs that ask: create, rotate, pause, resume, list."),
    "verifier": (_verifier, "The tools' side, which redeems approvals: create."),
    "user": (_user, "People who review, administer and audit: create, list."),
    "token": (_token, "Personal tokens: create."),
    "tenant": (_tenant, "Workspaces: create, list, show, rename, limits, suspend, resume."),
    "operator": (_operator, "Keys that make workspaces over the API: create, list, revoke."),
    "policy": (_policy, "What is allowed, reviewed, rejected: apply, show, diff, test, versions, revert."),
    "audit": (_audit, "The sealed log: checkpoint, key, export, verify, witness, publishing."),
    "reconcile": (_reconcile, "Compare a tool's own log with what was approved."),
    "outcomes": (_outcomes, "What became of actions whose approvals were used: unknown."),
    "retention": (_retention, "How long content is kept: show, set, run."),
    "erase": (_erase, "Erase one person's data; proofs stay."),
    "webhooks": (_webhooks, "Webhooks: list, show, replay, test, rotate-secret, switch-on, listen."),
    "db": (_db, "The database: migrate, backup, copy, partition."),
    "data-key": (_data_key, "The keys that content rests encrypted with: rotate."),
    "signing-key": (_signing_key, "The key that signs approvals: rotate."),
}


class Commands(Shell):
    """The table above as a group."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return get_command(COMMANDS[cmd_name][0]()) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


HELP: Final = """\
The gate that AI agents ask before they act.

Every command works whether or not a server runs on the database: what it changes holds in the server at once.
Exit code 0: done, 1: refused or different, 2: the command line itself is wrong.
"""

app = group(HELP, cls=Commands)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("stacksona-gate"))
        raise typer.Exit


@app.callback()
def main(
    database: TopDatabase = None,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version.")
    ] = False,
) -> None:
    """Runs before every command."""
