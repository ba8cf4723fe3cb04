"""``user`` and ``token``."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, read_on_tenant, table, write_on_tenant
from stacksona_gate.cli.shell import group
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.service import people
from stacksona_gate.service.secrets import hash_password

user = group("People who review, administer and audit.")
token = group("Personal tokens: people's keys for programs of their own.")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The mail address they sign in with.")]
Role = Annotated[
    Literal["admin", "reviewer", "auditor"],
    typer.Option(help="admin: everything; reviewer: decides; auditor: reads and exports."),
]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
PersonName = Annotated[str, typer.Option("--name", help="Shown beside their decisions; else the mail address.")]
TokenName = Annotated[str, typer.Option("--name", help="What it is for, to tell tokens apart.")]


@user.command("create")
def create_user(
    email: Email,
    role: Role,
    password_stdin: FromStdin = False,
    name: PersonName = "",
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Make a user. The password (12 characters or more) comes from standard input or is asked for."""
    hashed = hash_password(_password(from_stdin=password_stdin))
    made = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: people.create_user(
            tx, gate.env, COMMAND_LINE, tenant_id, email, role, hashed, name=name
        ),
    )
    value = {"id": made.id, "email": made.email, "name": made.name, "role": made.role}
    answer(value, [f"{made.role} {made.email} ({made.id}) can sign in now"], as_json=as_json)


@user.command("list")
def list_users(as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Show the users."""
    listed = read_on_tenant(database, tenant, lambda tx, tenant_id: tx.people.list_users(tenant_id))
    values = [
        {"id": user.id, "email": user.email, "name": user.name, "role": user.role, "state": user.state}
        for user in listed
    ]
    rows = [(user.email, user.role, user.state, user.name, user.id) for user in listed]
    answer(values, table(rows) or ["no users yet: make one with `stacksona-gate user create EMAIL …`"], as_json=as_json)


@token.command("create")
def create_token(
    email: Email,
    name: TokenName = "command line",
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Make a personal token, which is shown once. It may do what its owner may."""
    secret = write_on_tenant(
        database,
        tenant,
        lambda tx, gate, tenant_id: people.create_token(
            tx, gate.env, COMMAND_LINE, people.get_user(tx, tenant_id, email), name
        )[1],
    )
    rows = table([("token", secret)])
    answer({"token": secret}, [*rows, "Keep it now: it cannot be shown again."], as_json=as_json)


def _password(*, from_stdin: bool) -> str:
    """The password, without the one newline that ends it. Raises Invalid."""
    if not from_stdin:
        if not sys.stdin.isatty():
            raise typer.BadParameter("standard input is no terminal: pass --password-stdin")
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    password = sys.stdin.readline() if sys.stdin.isatty() else sys.stdin.read()
    password = password.removesuffix("\n").removesuffix("\r")
    if not password:
        raise Invalid("there is no password on standard input: pipe it in, or leave --password-stdin out to be asked")
    return password
