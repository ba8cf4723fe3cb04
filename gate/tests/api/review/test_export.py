"""Taking a thread out."""

from __future__ import annotations

import re
import threading

import pytest
from gate.tests.api.people import House, path, thread_id

from stacksona_gate.api.review import export
from stacksona_gate.domain.audit import holds
from stacksona_gate.service.exports import Export
from stacksona_gate.service.requests import Ask

HOSTILE = "</style><script>alert(1)</script>\u202egpj.exe"


async def test_an_export_has_the_thread_and_entries_whose_commitments_hold(home: House) -> None:
    thread = await home.thread()
    await home.rita.post(path(thread, "/reviews"), json={"verdict": "approve", "message": "ok", "revision": 1})
    body = (await home.rita.get(path(thread, "/export"))).json()
    assert (body["thread"]["thread_id"], body["exported_by"]["name"]) == (thread, "Rita")
    for entry in body["entries"]:
        for name, kept in entry["private"].items():
            assert holds(entry["leaf"]["commitments"][name], kept["salt"], kept["value"])


async def test_an_export_is_itself_an_entry_and_the_last_one_in_it(home: House) -> None:
    thread = await home.thread()
    body = (await home.olga.get(path(thread, "/export"))).json()
    assert [entry["leaf"]["event"] for entry in body["entries"]] == ["thread.opened", "thread.exported"]
    assert body["entries"][-1]["leaf"]["actor"] == {"id": home.world.auditor.id, "kind": "user"}
    assert body["thread"]["status"] == "pending_review"


async def test_a_page_to_print_is_whole_and_runs_nothing(home: House) -> None:
    ask = Ask("issue_refund", HOSTILE, payload={"amount": 500, "note": HOSTILE}, preview=HOSTILE)
    thread = thread_id(await home.world.ask(ask=ask))
    answer = await home.rita.get(path(thread, "/export"), params={"format": "html"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == f'attachment; filename="{thread}.html"'
    assert "<script" not in answer.text
    assert "\u202e" not in answer.text
    assert "⟦U+202E⟧" in answer.text
    assert not re.search(r"(src|href)\s*=", answer.text)


async def test_a_page_to_print_shows_all_that_happened(home: House) -> None:
    answer = await home.world.ask(500)
    await home.world.revise(answer, 400)
    thread = thread_id(answer)
    await home.rita.post(path(thread, "/notes"), json={"text": "called them"})
    await home.rita.post(path(thread, "/reviews"), json={"verdict": "reject", "message": "too much", "revision": 2})
    page = (await home.rita.get(path(thread, "/export?format=html"))).text
    for expected in ("called them", "too much", "Revision 1", "thread.revised", "thread.exported", "Refunds over 250"):
        assert expected in page


async def test_another_form_is_refused(home: House) -> None:
    thread = await home.thread()
    assert (await home.rita.get(path(thread, "/export?format=pdf"))).status_code == 422
    assert "thread.exported" not in await home.events()


@pytest.mark.parametrize("form", ["json", "html"])
async def test_a_document_that_takes_long_holds_nobody_else_up(
    home: House, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    thread, written, threads = await home.thread(), export.document_of, []

    def watched(taken: Export) -> export.ThreadExport:
        threads.append(threading.current_thread())
        return written(taken)

    monkeypatch.setattr(export, "document_of", watched)
    assert (await home.rita.get(path(thread, "/export"), params={"format": form})).status_code == 200
    assert threads
    assert threading.main_thread() not in threads
