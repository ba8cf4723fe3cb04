"""``erase``: one person's data, out of everything that the gate keeps."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from stacksona_gate.cli.options import FIRST_TENANT, Database, Json, Tenant
from stacksona_gate.cli.session import answer, on_tenant_of, table
from stacksona_gate.cli.shell import refuse, single
from stacksona_gate.config import Settings, read_settings
from stacksona_gate.main import open_store
from stacksona_gate.service import erasure
from stacksona_gate.service.erasure import Erased, Found

HELP: Final = "Erase one person's data: what requests said about them, or a disabled user. Proofs stay."
OUT_OF_REACH: Final = (
    "Out of reach: backups, exports, what webhooks delivered, what agents and mail kept, copies of the file.",
)
erase = single(HELP)

SubjectText = Annotated[
    str | None, typer.Option("--subject", help="What names the person: whole words anywhere, or a field's exact value.")
]
FieldPath = Annotated[
    str | None, typer.Option("--field", help="Only where this field is the subject: payload.customer_id; * is any key.")
]
UserEmail = Annotated[
    str | None, typer.Option("--user", metavar="EMAIL", help="A disabled user of the gate: name and mail address.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Erase. Without it only ids are listed.")]
CancelPending = Annotated[
    bool, typer.Option("--cancel-pending", help="Cancel threads that wait, and end approvals that nobody redeemed.")
]
Compact = Annotated[
    bool, typer.Option("--compact", help="Write the database file anew afterwards: needs its size in free space.")
]


@erase.command("erase")
def erase_command(
    subject: SubjectText = None,
    field: FieldPath = None,
    user: UserEmail = None,
    yes: Yes = False,
    cancel_pending: CancelPending = False,
    compact: Compact = False,
    as_json: Json = False,
    tenant: Tenant = FIRST_TENANT,
    database: Database = None,
) -> None:
    """Erase one person's data: what requests said about them, or a disabled user. Proofs stay.

    Lists ids and erases nothing without --yes. Requests, statuses and the log stay; content is gone for good.
    """
    if (subject is None) == (user is None) or (user is not None and field is not None):
        raise typer.BadParameter("pass --subject, also with --field, or --user")
    settings = read_settings(database_url=database)
    if user is not None:
        _erase_user(settings, tenant, user, yes=yes, compact=compact, as_json=as_json)
        return
    wanted = erasure.subject_of(subject or "", field)
    found = on_tenant_of(settings, tenant, lambda gate, tenant_id: erasure.find_subject(gate, tenant_id, wanted))
    if not yes or found.is_empty:
        _list(found, as_json=as_json)
        return
    if found.waiting and not cancel_pending:
        refuse(_waiting(found))
    erased = on_tenant_of(
        settings,
        tenant,
        lambda gate, tenant_id: erasure.erase_subject(gate, tenant_id, found, cancel_pending=cancel_pending),
    )
    _told(settings, erased, compact=compact, as_json=as_json)


def _erase_user(settings: Settings, tenant: str, email: str, *, yes: bool, compact: bool, as_json: bool) -> None:
    if not yes:
        user_id = on_tenant_of(settings, tenant, lambda gate, tenant_id: erasure.find_user(gate, tenant_id, email))
        answer({"user": user_id, "erased": False}, [user_id, "Nothing was erased: pass --yes"], as_json=as_json)
        return
    user_id = on_tenant_of(settings, tenant, lambda gate, tenant_id: erasure.erase_user(gate, tenant_id, email))
    emptied = _scrubbed(settings, compact=compact)
    value = {"user": user_id, "erased": True, "write_ahead_log_emptied": emptied}
    answer(value, [f"{user_id} has no name and no mail address any more", *_left(emptied=emptied)], as_json=as_json)


def _list(found: Found, *, as_json: bool) -> None:
    states = (*found.requests, *found.waiting)
    waiting = {state.id for state in found.waiting}
    value: dict[str, Any] = {
        "erased": False,
        "requests": [state.id for state in found.requests],
        "waiting": [state.id for state in found.waiting],
        "events": [event_id for event_id, _ in found.events],
    }
    rows = [(one.id, one.thread_id or "", one.status + (", waiting" if one.id in waiting else "")) for one in states]
    lines = [*table(rows), *(event_id for event_id, _ in found.events)]
    end = "Nothing was found." if found.is_empty else "Nothing was erased: look at the ids, then pass --yes"
    answer(value, [*lines, end], as_json=as_json)


def _waiting(found: Found) -> str:
    ids = ", ".join(state.thread_id or state.id for state in found.waiting[:10])
    return (
        f"{len(found.waiting)} of these wait for people or for their agent ({ids}): nothing was erased."
        " Decide or redeem them first, or pass --cancel-pending"
    )


def _told(settings: Settings, erased: Erased, *, compact: bool, as_json: bool) -> None:
    emptied = _scrubbed(settings, compact=compact)
    value = {
        "erased": True,
        "requests": list(erased.requests),
        "counts": erased.counts,
        "write_ahead_log_emptied": emptied,
    }
    counts = ", ".join(f"{count} {name}" for name, count in erased.counts.items() if count)
    lines = [*erased.requests, f"Erased: {len(erased.requests)} requests; {counts or 'nothing beside them'}"]
    answer(value, [*lines, *_left(emptied=emptied)], as_json=as_json)


def _scrubbed(settings: Settings, *, compact: bool) -> bool:
    store = open_store(settings)
    try:
        if compact:
            store.compact()
        return store.scrub()
    finally:
        store.close()


def _left(*, emptied: bool) -> tuple[str, ...]:
    if emptied:
        return OUT_OF_REACH
    return (
        "A reader holds the write-ahead log: the server empties it within an hour, or once the reader has gone.",
        *OUT_OF_REACH,
    )
