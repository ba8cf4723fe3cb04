"""What is taken out of the log: complete, proven, recorded, and no more than its reader may see."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from gate.tests.factories import TENANT, World, thread_of
from gate.tests.verify.mutations import CHANGES, mutated
from gate.tests.verify.verifiers import independent, ours

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.checkpoints import sign_checkpoint
from stacksona_gate.domain.errors import Conflict, Invalid, NotFound
from stacksona_gate.domain.people import User
from stacksona_gate.domain.signed_notes import parse_verifier_key
from stacksona_gate.service import exports
from stacksona_gate.service.exports import Form, RedactorOf, Selection, open_export, record_export, take_thread, written
from stacksona_gate.service.log import LogBroken, seal_now
from stacksona_gate.service.log_keys import log_signer
from stacksona_gate.service.redaction import Redactor, for_others
from stacksona_gate.store.base import Tx

EVERYTHING = Selection()


def unmasked(tx: Tx) -> Redactor:
    return Redactor(None)


async def exported(
    w: World,
    selection: Selection = EVERYTHING,
    form: Form = "jsonl",
    *,
    saved: str | None = None,
    redactor_of: RedactorOf | None = None,
) -> bytes:
    taken = await w.write(lambda tx: record_export(tx, w.env, COMMAND_LINE, TENANT, selection, form))
    taking = await open_export(w.gate, TENANT, taken, saved)
    return b"".join([chunk async for chunk in written(w.gate, taking, form, redactor_of)])


def parsed(export: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *entries = map(json.loads, export.splitlines())
    return header, entries


def verdicts(folder: Path, export: bytes, *, saved: str | None = None) -> tuple[int, int]:
    """Exit codes of the gate's verifier and of the independent one."""
    arguments = [str(folder / "export")]
    (folder / "export").write_bytes(export)
    if saved is not None:
        (folder / "saved").write_text(saved)
        arguments += ["--checkpoint", str(folder / "saved")]
    return ours(*arguments).code, independent(*arguments).code


async def a_thread(w: World) -> str:
    """Asked, approved, redeemed, between other requests."""
    await w.ask(100, task="before")
    answer = await w.ask()
    await w.review(answer)
    await w.redeem((await w.poll(answer)).answer)
    await w.ask(100, task="after")
    return thread_of(answer)


async def a_selection(w: World, kind: str) -> Selection:
    thread_id = await a_thread(w)
    at = w.clock.now
    allowed = (await w.ask(100, task="allowed")).request.id
    return {
        "tenant": Selection(),
        "range": Selection(since=at, until=at + 1),
        "thread": Selection(thread_id=thread_id),
        "request": Selection(request_id=allowed),
    }[kind]


KINDS = ["tenant", "range", "thread", "request"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_export_is_sound_to_both_verifiers(w: World, tmp_path: Path, kind: str) -> None:
    export = await exported(w, await a_selection(w, kind))
    assert verdicts(tmp_path, export) == (0, 0)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["tenant", "range", "thread"])
async def test_one_change_to_an_export_is_found_by_both(w: World, tmp_path: Path, kind: str, change: str) -> None:
    export = await exported(w, await a_selection(w, kind))
    assert verdicts(tmp_path, mutated(export, change)) == (1, 1)


async def test_the_whole_log_has_every_entry_and_is_covered_by_its_own_checkpoint(w: World) -> None:
    await a_thread(w)
    header, entries = parsed(await exported(w))
    told = [json.loads(entry["leaf"])["id"] for entry in entries]
    assert told == [entry.id for entry in await w.entries()]
    assert json.loads(entries[-1]["leaf"])["event"] == "audit.exported"
    assert (header["kind"], header["size"], header["entries"]) == ("tenant", len(entries), len(entries))
    assert parse_verifier_key(header["public_key"]).name == header["origin"]


async def test_a_thread_has_its_own_entries_with_proofs_and_its_export_is_the_last(w: World) -> None:
    thread_id = await a_thread(w)
    header, entries = parsed(await exported(w, Selection(thread_id=thread_id)))
    events = [json.loads(entry["leaf"])["event"] for entry in entries]
    assert events == ["thread.opened", "thread.approved", "approval.redeemed", "thread.exported"]
    assert (header["kind"], header["thread_id"]) == ("thread", thread_id)
    assert all(entry["proof"] for entry in entries)


async def test_a_request_that_was_decided_at_once_has_entries_too(w: World) -> None:
    answer = await w.ask(100)
    header, entries = parsed(await exported(w, Selection(request_id=answer.request.id)))
    assert [json.loads(entry["leaf"])["event"] for entry in entries] == ["request.decided", "audit.exported"]
    assert (header["kind"], header["request_id"]) == ("range", answer.request.id)


async def test_a_request_with_a_thread_is_its_thread(w: World) -> None:
    answer = await w.ask()
    header, _ = parsed(await exported(w, Selection(request_id=answer.request.id)))
    assert (header["kind"], header["thread_id"]) == ("thread", thread_of(answer))


async def test_a_time_range_has_what_is_in_it_and_says_its_ends(w: World) -> None:
    await w.ask(100, task="before")
    w.clock.advance(10)
    inside = w.clock.now
    await w.ask(100, task="inside")
    w.clock.advance(10)
    header, entries = parsed(await exported(w, Selection(since=inside, until=inside + 1)))
    assert [json.loads(entry["leaf"])["objects"]["task"] for entry in entries] == ["inside"]
    assert (header["from"], header["to"], header["entries"]) == (
        "2026-11-26T12:00:10Z",
        "2026-11-26T12:00:10.000001Z",
        1,
    )


async def test_a_time_range_in_which_nothing_happened_is_empty_and_sound(w: World, tmp_path: Path) -> None:
    export = await exported(w, Selection(since=1, until=2))
    assert parsed(export)[1] == []
    assert verdicts(tmp_path, export) == (0, 0)


async def test_many_pages_are_one_export(w: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 3)
    thread_id = await a_thread(w)
    for selection in (EVERYTHING, Selection(since=0), Selection(thread_id=thread_id)):
        assert verdicts(tmp_path, await exported(w, selection)) == (0, 0)


async def test_what_happens_meanwhile_is_not_in_it(w: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 3)
    taking = await open_export(w.gate, TENANT, EVERYTHING)
    chunks = []
    async for chunk in written(w.gate, taking, "jsonl"):
        chunks.append(chunk)
        await w.ask(100, task=f"t-{len(chunks)}")
        await seal_now(w.gate, TENANT)
    assert verdicts(tmp_path, b"".join(chunks)) == (0, 0)


async def test_decisions_go_on_while_a_page_is_made(w: World) -> None:
    taking = await open_export(w.gate, TENANT, EVERYTHING)
    pages = written(w.gate, taking, "jsonl")
    await anext(pages)
    page = asyncio.ensure_future(anext(pages))
    assert (await w.ask(100)).status == "allow"
    await page
    await pages.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_earlier_checkpoint_is_shown_to_be_extended(w: World, tmp_path: Path, kind: str) -> None:
    saved = (await seal_now(w.gate, TENANT)).note
    export = await exported(w, await a_selection(w, kind), saved=saved)
    assert parsed(export)[0]["consistency"]["from"] > 0
    assert verdicts(tmp_path, export, saved=saved) == (0, 0)


async def test_a_checkpoint_of_another_log_is_refused(w: World) -> None:
    with pytest.raises(Invalid, match="none of this log"):
        await exported(w, saved="stacksona-gate/other/default\n1\nAAAA\n\n— x AAAA\n")


async def test_a_checkpoint_that_was_signed_over_is_refused(w: World) -> None:
    note = (await seal_now(w.gate, TENANT)).note
    origin, size, *rest = note.split("\n")
    with pytest.raises(Invalid, match="none of this log"):
        await exported(w, saved="\n".join([origin, str(int(size) + 1), *rest]))


async def test_a_history_that_is_another_than_the_saved_one_is_said(w: World) -> None:
    """The gate's own key signed both: this database is not the one that the saved checkpoint is of."""
    size = (await seal_now(w.gate, TENANT)).size
    signer = await w.read(lambda tx: log_signer(tx, w.gate.root, TENANT))
    forked = sign_checkpoint(size, b"f" * 32, signer.key, signer.sign).note
    with pytest.raises(Conflict, match="changed or forked"):
        await exported(w, saved=forked)


async def test_a_log_that_is_shorter_than_a_saved_checkpoint_is_said(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    early = await seal_now(w.gate, TENANT)
    await w.ask(100)
    late = (await seal_now(w.gate, TENANT)).note
    taken = Selection()
    with pytest.raises(Conflict, match="tail was cut"):
        await w.read(lambda tx: exports._opened(tx, w.env.now(), TENANT, taken, early, late))


async def test_entries_that_are_missing_make_no_export(w: World) -> None:
    await a_thread(w)
    taking = await open_export(w.gate, TENANT, EVERYTHING)
    lost = exports.Taking(taking.header, TENANT, EVERYTHING, None, taking.first, taking.last - 1)
    with pytest.raises(LogBroken):
        [chunk async for chunk in written(w.gate, lost, "jsonl")]


@pytest.mark.parametrize("selection", [Selection(thread_id="THR-x"), Selection(request_id="req_x")])
async def test_what_is_not_there_is_not_exported(w: World, selection: Selection) -> None:
    with pytest.raises(NotFound):
        await exported(w, selection)


async def test_another_workspaces_thread_is_not_there(w: World) -> None:
    thread_id = await a_thread(w)
    with pytest.raises(NotFound):
        await w.write(
            lambda tx: record_export(tx, w.env, COMMAND_LINE, "other", Selection(thread_id=thread_id), "jsonl")
        )


# CSV


async def test_a_table_has_a_row_for_each_entry_and_its_leafs_hash(w: World) -> None:
    await a_thread(w)
    first, header, *rows = csv.reader((await exported(w, form="csv")).decode().splitlines())
    assert first[0].startswith("# stacksona-audit-1 stacksona-gate/")
    assert f"size {len(rows)} " in first[0]
    assert header == exports.CSV_COLUMNS
    (decided, *_) = [row for row in rows if row[header.index("event")] == "request.decided"]
    assert decided[header.index("task")] == "before"
    assert len(decided[1]) == 64


async def test_a_table_has_no_private_value(w: World) -> None:
    await w.ask(payload={"amount": 77777.5, "note": "between us"})
    assert b"between us" not in await exported(w, form="csv")


async def test_a_table_runs_nothing(w: World) -> None:
    await w.ask(100, task="-1+cmd.exe")
    assert b",'-1+cmd.exe," in await exported(w, form="csv")


# Who may see what


async def test_what_is_masked_for_others_is_withheld_and_the_export_still_sound(w: World, tmp_path: Path) -> None:
    await w.ask(payload={"amount": 500, "card": "4111 1111 1111 1111"})
    export = await exported(w, redactor_of=lambda tx: for_others(tx, TENANT))
    assert b"4111 1111 1111 1111" not in export
    assert b'"redacted":true' in export
    assert verdicts(tmp_path, export) == (0, 0)


async def test_whoever_runs_the_gate_gets_every_value(w: World) -> None:
    await w.ask(payload={"amount": 500, "card": "4111 1111 1111 1111"})
    export = await exported(w)
    assert b"4111 1111 1111 1111" in export
    assert b'"redacted"' not in export


async def test_masking_that_fails_hides(w: World, tmp_path: Path) -> None:
    await w.ask(payload={"amount": 500, "note": "between us"})
    await w.write(lambda tx: tx.tenants.set_setting(TENANT, "redaction", "no JSON"))
    export = await exported(w, redactor_of=lambda tx: for_others(tx, TENANT))
    assert b"between us" not in export
    assert verdicts(tmp_path, export) == (0, 0)


# A thread's document


async def taken(w: World, thread_id: str, reader: User | None = None, **wanted: Any) -> exports.Export:
    return await take_thread(w.gate, reader or w.admin, thread_id, redactor_of=unmasked, **wanted)


async def test_a_thread_and_its_entries_are_one_state(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes a note between sealing and reading: the note is read, so it has to be proven."""
    answer, opened, notes = await w.ask(), exports.open_export, iter([True, True])

    async def raced(*arguments: Any) -> exports.Taking:
        taking = await opened(*arguments)
        if next(notes, False):
            await w.review(answer, "request_changes")
        return taking

    monkeypatch.setattr(exports, "open_export", raced)
    document = await taken(w, thread_of(answer))
    assert len(document.view.reviews) == 2
    assert [entry.leaf for entry in document.entries] == [entry.leaf for entry in document.view.entries]


async def test_files_come_along_only_when_they_are_asked_for(w: World) -> None:
    thread_id = await a_thread(w)
    assert (await taken(w, thread_id)).files is None
    assert (await taken(w, thread_id, with_files=True)).files == ()


async def test_a_reader_without_the_right_to_a_thread_does_not_find_it(w: World) -> None:
    answer = await w.ask()
    nobody = User(TENANT, "usr_x", "x@example.com", "X", "reviewer", "", "disabled", 0)
    with pytest.raises(NotFound):
        await taken(w, thread_of(answer), nobody)
