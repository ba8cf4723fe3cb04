"""``audit checkpoint``, ``audit key``, ``audit rotate-key`` and ``audit publishing``: what leaves the sealed log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacksona_gate.cli.audit import audit
from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, on_tenant, table, write_on_tenant
from stacksona_gate.cli.whole_files import whole_file
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Malformed

if TYPE_CHECKING:
    from stacksona_gate.domain.checkpoints import Checkpoint
    from stacksona_gate.service.gate import Gate
    from stacksona_gate.service.publishing import Publishing
    from stacksona_gate.service.transactions import Tx

Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The file to write; without it, standard output.")
]
Given = Annotated[
    Path | None, typer.Option("--set", metavar="FILE", help="What to set: JSON, as this command prints it.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]


@audit.command("checkpoint")
def checkpoint(
    out: Out = None,
    force: Force = False,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Seal everything so far and save the signed checkpoint.

    Keep it where nobody with access to the database can change it: the log is checked against it later.
    """
    made, key = on_tenant(database, tenant, _sealed)
    value = {"origin": made.origin, "size": made.size, "checkpoint": made.note, "public_key": key}
    _save(out, made.note, force=force)
    said = made.note.rstrip("\n") if out is None else f"the log of {made.size} entries is signed in {out}"
    answer(value, [said], as_json=as_json)


async def _sealed(gate: Gate, tenant_id: str) -> tuple[Checkpoint, str]:
    from stacksona_gate.service.log import seal_now
    from stacksona_gate.service.log_keys import signer_of

    made = await seal_now(gate, tenant_id)
    return made, str(await gate.store.read(lambda tx: signer_of(tx, tenant_id, made.note)))


@audit.command("key")
def key(
    out: Out = None,
    force: Force = False,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Save the public key that checkpoints are signed with, and those before it, one a line.

    Whoever verifies needs it from a source that they trust, once.
    """
    from stacksona_gate.service.log_keys import own_keys

    keys = on_tenant(
        database,
        tenant,
        lambda gate, tenant_id: gate.store.read(lambda tx: [str(one) for one in own_keys(tx, gate.root, tenant_id)]),
    )
    _save(out, "".join(f"{one}\n" for one in keys), force=force)
    answer({"public_keys": keys}, keys if out is None else [f"the log's public key is in {out}"], as_json=as_json)


@audit.command("rotate-key")
def rotate_key(as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None) -> None:
    """Sign all workspaces' checkpoints with a new key from now on. The old one still verifies what it signed.

    Its public key is shown as the workspace's verifiers take it.
    """
    rotated = write_on_tenant(database, tenant, _rotated)
    lines = [f"{rotated['kid']} signs the log from now on; hand on its public key:", rotated["public_key"]]
    answer(rotated, lines, as_json=as_json)


def _rotated(tx: Tx, gate: Gate, tenant_id: str) -> dict[str, str]:
    from stacksona_gate.service.log_keys import origin_of, rotate_log_key, verifier_key

    made = rotate_log_key(tx, gate.env, gate.root)
    return {"kid": made.kid, "public_key": str(verifier_key(origin_of(tx, tenant_id), made))}


@audit.command("publishing")
def publishing(
    given: Given = None, as_json: Json = False, tenant: Tenant = FIRST_TENANT, database: Database = None
) -> None:
    """Show where checkpoints are published and who cosigns them; with --set, change it.

    The file holds the JSON that the command prints with --json.
    """
    wanted = None if given is None else _wanted(given)
    now = write_on_tenant(database, tenant, lambda tx, gate, tenant_id: _published(tx, gate, tenant_id, wanted))
    answer(now, _told(now), as_json=as_json)


def _wanted(path: Path) -> Publishing:
    """Raises Malformed, OSError."""
    import msgspec

    from stacksona_gate.service.publishing import Publishing

    try:
        return msgspec.json.decode(path.read_bytes(), type=Publishing)
    except msgspec.MsgspecError as error:
        raise Malformed(f"{path}: {error}") from None


def _published(tx: Tx, gate: Gate, tenant_id: str, wanted: Publishing | None) -> dict[str, Any]:
    import msgspec

    from stacksona_gate.service.publishing import change_publishing, read_publishing

    if wanted is not None:
        change_publishing(tx, gate.env, COMMAND_LINE, tenant_id, wanted)
    built: dict[str, Any] = msgspec.to_builtins(read_publishing(tx, tenant_id))
    return built


def _told(now: dict[str, Any]) -> list[str]:
    places = [("file", now["file"]), ("url", now["url"]), ("mail", ", ".join(now["mail"]))]
    rows = [(name, str(place)) for name, place in places if place]
    rows += [(f"witness {one['name']}", one["url"]) for one in now["witnesses"]]
    often = (
        f"every {now['every_minutes']} minutes" if now["every_minutes"] else "never: checkpoints are there to be had"
    )
    return table([("published", often), *rows])


def _save(out: Path | None, text: str, *, force: bool) -> None:
    if out is not None:
        with whole_file(out, force=force) as file:
            file.write(text.encode())
