"""``db``, ``data-key`` and ``signing-key``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from stacksona_gate.cli.options import Database, Json
from stacksona_gate.cli.session import answer, database_named, on_gate
from stacksona_gate.cli.shell import group
from stacksona_gate.config import (
    Settings,
    check_database,
    is_postgresql,
    read_settings,
    shown_address,
    sqlite_path,
    variable,
)
from stacksona_gate.domain.errors import Conflict, Invalid, NotFound
from stacksona_gate.main import Copied, copy_database, open_file, open_store
from stacksona_gate.service.data_keys import rotate_data_key
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.installation import rotate_signing_key

db = group("The database.")
data_key = group("The keys that content rests encrypted with.")
signing_key = group("The key that signs approval tokens.")

Source = Annotated[str, typer.Argument(metavar="FROM", help="A database address. No gate runs on it.")]
Destination = Annotated[str, typer.Argument(metavar="TO", help="The address of an empty database.")]
Target = Annotated[Path, typer.Argument(metavar="TARGET", help="A file that does not exist yet.")]


@db.command("migrate")
def migrate(as_json: Json = False, database: Database = None) -> None:
    """Bring the tables up to this version; `serve` does it too when it starts."""
    settings = read_settings(database_url=database)
    with database_named(settings):
        applied = open_store(settings).migrate()
    answer({"applied": applied}, applied or ["the database is up to date"], as_json=as_json)


@db.command("backup")
def backup(target: Target, as_json: Json = False, database: Database = None) -> None:
    """Copy the database into a new file, also while a server runs on it."""
    settings = read_settings(database_url=database)
    if is_postgresql(settings.database_url):
        raise Invalid("this copies an SQLite file; for PostgreSQL use its own tools, as docs/how-to/backup.md shows")
    source = sqlite_path(settings.database_url)
    if not Path(source).exists():
        raise NotFound(f"there is no database at {source}")
    _refuse_to_overwrite(target)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        _make(partial, target)
        with database_named(settings):
            open_file(settings).backup(str(partial))
        _refuse_to_overwrite(target)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    lines = [
        f"{source} is copied to {target}",
        f"Keep {_secret_of(settings)} too, in another place: without it the copy is useless, with it anybody can sign.",
    ]
    answer({"backup": str(target)}, lines, as_json=as_json)


@db.command("partition")
def partition(as_json: Json = False, database: Database = None) -> None:
    """On PostgreSQL, partition the tables that grow, whatever their size; a running gate does it past a size.

    Works beside running gates. What could not be done now, since a table was in use, is done when it is called again.
    """
    settings = read_settings(database_url=database)
    if not is_postgresql(settings.database_url):
        raise Invalid("an SQLite file needs no partitions; they are for PostgreSQL: name one with --database")
    done = on_gate(database, lambda gate: gate.store.tend(gate.env.now(), whatever_size=True))
    answer({"done": done}, done or ["there is nothing to do"], as_json=as_json)


@db.command("copy")
def copy(source: Source, destination: Destination, as_json: Json = False) -> None:
    """Copy a database into an empty one, such as sqlite:///gate.db into postgresql://user@host/gate.

    Stop every gate on both before, and start none on the old one afterwards: an approval could be redeemed once in
    each. Everything is copied in one transaction, read back and compared. Passwords are best left to PGPASSWORD or
    ~/.pgpass, where no list of processes shows them.
    """
    for address in (source, destination):
        check_database(address)
    copied = copy_database(source, destination, lambda line: typer.echo(line, err=True))
    tables = {name: contents.rows for name, contents in copied.tables.items()}
    logs = [{"workspace": log.tenant_id, "entries": log.size, "root": log.root} for log in copied.logs]
    lines = [*_verified(copied), f"Start the gate on {shown_address(destination)} with {_secret_kept(source)}."]
    answer({"tables": tables, "rows": copied.rows, "logs": logs}, lines, as_json=as_json)


def _verified(copied: Copied) -> list[str]:
    empty = sum(not contents.rows for contents in copied.tables.values())
    lines = [
        f"verified: {len(copied.tables)} tables ({empty} of them empty), {copied.rows:,} rows; each table has the same"
        " number of rows and the same digest on both sides"
    ]
    lines += [
        f"verified: the sealed log of workspace {log.tenant_id}, computed anew from the {log.size:,} entries copied,"
        f" has the root of its newest checkpoint, {log.root}, and fits all {log.checkpoints:,} that are kept"
        for log in copied.logs
    ]
    return lines


def _secret_kept(source: str) -> str:
    if is_postgresql(source):
        return "the same root secret"
    return f"the same root secret: {_secret_of(read_settings(database_url=source))}"


@data_key.command("rotate")
def rotate_content(as_json: Json = False, database: Database = None) -> None:
    """Encrypt all content with new keys, one per workspace, also while a server runs on the database."""
    dropped = on_gate(database, _rotate_all)
    answer(
        {"workspaces": len(dropped), "keys_dropped": sum(dropped)},
        [f"all content is encrypted with new keys; workspaces: {len(dropped)}, old keys dropped: {sum(dropped)}"],
        as_json=as_json,
    )


async def _rotate_all(gate: Gate) -> list[int]:
    tenants = await gate.store.read(lambda tx: tx.tenants.list_all())
    return [await rotate_data_key(gate, tenant.id) for tenant in tenants]


@signing_key.command("rotate")
def rotate(as_json: Json = False, database: Database = None) -> None:
    """Sign with a new key from now on. Tokens in flight stay good until they expire."""
    key = on_gate(database, lambda gate: gate.store.write(lambda tx: rotate_signing_key(tx, gate.env, gate.root)))
    answer({"kid": key.kid}, [f"{key.kid} signs from now on; tokens in flight stay good"], as_json=as_json)


def _make(partial: Path, target: Path) -> None:
    """For its owner alone. Raises OSError with the name that was asked for."""
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


def _refuse_to_overwrite(target: Path) -> None:
    if target.exists():
        raise Conflict(f"{target} exists: a backup never overwrites, name a new file")


def _secret_of(settings: Settings) -> str:
    if settings.secret_key:
        return f"the root secret ({variable('secret_key')})"
    return f"the root secret in {settings.secret_key_file or sqlite_path(settings.database_url) + '.key'}"
