"""The log as a download."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gate.tests.api.people import House
from gate.tests.factories import PATIENCE
from gate.tests.verify.mutations import CHANGES, mutated
from gate.tests.verify.verifiers import independent, ours

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Unauthenticated
from stacksona_gate.service import exports
from stacksona_gate.service.log import LogBroken
from stacksona_gate.service.people import change_user

EXPORT = "/api/admin/audit/export"


def verdicts(folder: Path, document: bytes) -> tuple[int, int]:
    """Exit codes of the gate's verifier and of the independent one."""
    (folder / "export").write_bytes(document)
    return ours(str(folder / "export")).code, independent(str(folder / "export")).code


async def test_the_whole_log_is_sound_and_its_export_the_last_entry(home: House, tmp_path: Path) -> None:
    await home.thread()
    answer = await home.ada.get(EXPORT)
    header, *entries = map(json.loads, answer.content.splitlines())
    last = json.loads(entries[-1]["leaf"])
    assert verdicts(tmp_path, answer.content) == (0, 0)
    assert (header["kind"], last["event"]) == ("tenant", "audit.exported")
    assert last["actor"] == {"id": home.world.admin.id, "kind": "user"}
    assert answer.headers["content-disposition"] == f'attachment; filename="audit-{header["size"]}.jsonl"'
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("change", CHANGES)
async def test_one_change_is_found_by_both(home: House, tmp_path: Path, change: str) -> None:
    await home.thread()
    export = (await home.ada.get(EXPORT, params={"from": "2026-01-01T00:00:00Z"})).content
    assert verdicts(tmp_path, mutated(export, change)) == (1, 1)


async def test_a_time_range_is_sound(home: House, tmp_path: Path) -> None:
    home.world.clock.advance(60)
    await home.thread()
    answer = await home.olga.get(EXPORT, params={"from": "2026-11-26T12:01:00Z", "to": "2026-11-26T12:02:00+00:00"})
    header, *entries = map(json.loads, answer.content.splitlines())
    assert [json.loads(entry["leaf"])["event"] for entry in entries] == ["thread.opened", "audit.exported"]
    assert header["kind"] == "range"
    assert verdicts(tmp_path, answer.content) == (0, 0)


async def test_a_table_is_csv(home: House) -> None:
    answer = await home.olga.get(EXPORT, params={"format": "csv"})
    rows = list(csv.reader(answer.text.splitlines()))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert rows[1] == exports.CSV_COLUMNS


@pytest.mark.parametrize("who", ["rita", "nobody"])
async def test_only_admins_and_auditors_take_the_log_out(home: House, who: str) -> None:
    answer = await getattr(home, who).get(EXPORT)
    assert answer.status_code == {"rita": 403, "nobody": 401}[who]
    assert "audit.exported" not in await home.events()


@pytest.mark.parametrize(
    "query", ["format=xml", "from=yesterday", "to=2026-11-26T12:00:00", "from=999999-01-01T00:00:00Z"]
)
async def test_what_cannot_be_meant_is_refused_and_not_recorded(home: House, query: str) -> None:
    assert (await home.ada.get(f"{EXPORT}?{query}")).status_code == 422
    assert "audit.exported" not in await home.events()


async def test_asking_for_the_head_takes_nothing_out(home: House) -> None:
    assert (await home.ada.head(EXPORT)).status_code == 200
    assert "audit.exported" not in await home.events()


async def test_an_auditor_gets_masked_values_withheld(home: House, tmp_path: Path) -> None:
    payload: dict[str, object] = {"amount": 500, "card": "4111 1111 1111 1111"}
    await home.thread(payload=payload)
    export = (await home.olga.get(EXPORT)).content
    assert b"4111 1111 1111 1111" not in export
    assert verdicts(tmp_path, export) == (0, 0)
    assert b"4111 1111 1111 1111" in (await home.ada.get(EXPORT)).content


async def test_somebody_who_lost_the_right_gets_no_further_page(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 1)
    w = home.world
    written = exports.written

    async def watched(*arguments: Any) -> AsyncIterator[bytes]:
        async for chunk in written(*arguments):
            yield chunk
            await w.write(lambda tx: change_user(tx, w.env, COMMAND_LINE, w.tenant_id, w.auditor.id, active=False))

    monkeypatch.setattr("stacksona_gate.api.admin.exports.written", watched)
    with pytest.raises(Unauthenticated):
        await home.olga.get(EXPORT)


async def test_a_log_that_breaks_off_ends_the_connection(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*arguments: Any) -> AsyncIterator[bytes]:
        yield b"a header"
        raise LogBroken("entries are missing")

    monkeypatch.setattr("stacksona_gate.api.admin.exports.written", broken)
    with pytest.raises(LogBroken):
        await home.ada.get(EXPORT)


async def test_a_caller_that_hangs_up_stops_the_reading(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoken to as a server does it: the caller goes after the first page."""
    pages, ended = [], asyncio.Event()

    async def endless(*arguments: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                pages.append(1)
                yield b"page"
                await asyncio.sleep(0)
        finally:
            ended.set()

    monkeypatch.setattr("stacksona_gate.api.admin.exports.written", endless)
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if len(pages) == 3:
            gone.set()

    token = await home.token(home.world.admin)
    scope = {
        "type": "http",
        "method": "GET",
        "path": EXPORT,
        "raw_path": EXPORT.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    await asyncio.wait_for(home.app(scope, receive, send), PATIENCE)  # type: ignore[arg-type]
    assert ended.is_set()
