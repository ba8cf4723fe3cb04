"""Taking a thread out."""

from __future__ import annotations

import base64
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from gate.tests.api.people import House, path, thread_id
from gate.tests.verify.mutations import CHANGES, mutated
from gate.tests.verify.verifiers import independent, ours

from stacksona_gate.api.review import export
from stacksona_gate.domain.audit import holds
from stacksona_gate.service.exports import Export
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.tasks import OutcomeReport, report_outcome

HOSTILE = "</style></script><script id=evidence>alert(1)</script><!--\u202egpj.exe"
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def leaves(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(entry["leaf"]) for entry in body["entries"]]


def verdicts(folder: Path, document: bytes) -> tuple[int, int]:
    """Exit codes of the gate's verifier and of the independent one."""
    (folder / "export").write_bytes(document)
    return ours(str(folder / "export")).code, independent(str(folder / "export")).code


def without_evidence(page: str) -> str:
    """The page without what programs read: that runs nothing and shows nothing."""
    shown, count = re.subn(r'<script type="application/json" id="evidence">[ -~]*?</script>', "", page)
    assert count == 1
    return shown


async def test_an_export_has_the_thread_and_entries_whose_commitments_hold(home: House) -> None:
    thread = await home.thread()
    await home.rita.post(path(thread, "/reviews"), json={"verdict": "approve", "message": "ok", "revision": 1})
    body = (await home.rita.get(path(thread, "/export"))).json()
    assert (body["thread"]["thread_id"], body["exported_by"]["name"]) == (thread, "Rita")
    for entry, leaf in zip(body["entries"], leaves(body), strict=True):
        for name, kept in entry["private"].items():
            if "salt" in kept:
                assert holds(leaf["commitments"][name], kept["salt"], kept["value"])


async def test_an_export_is_itself_an_entry_and_the_last_one_in_it(home: House) -> None:
    thread = await home.thread()
    body = (await home.olga.get(path(thread, "/export"))).json()
    assert [leaf["event"] for leaf in leaves(body)] == ["thread.opened", "thread.exported"]
    assert leaves(body)[-1]["actor"] == {"id": home.world.auditor.id, "kind": "user"}
    assert body["thread"]["status"] == "pending_review"


async def test_a_page_to_print_is_whole_and_runs_nothing(home: House) -> None:
    ask = Ask("issue_refund", HOSTILE, payload={"amount": 500, "note": HOSTILE}, preview=HOSTILE)
    thread = thread_id(await home.world.ask(ask=ask))
    answer = await home.rita.get(path(thread, "/export"), params={"format": "html"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == f'attachment; filename="{thread}.html"'
    assert "\u202e" not in answer.text
    assert "⟦U+202E⟧" in answer.text
    shown = without_evidence(answer.text)
    assert "<script" not in shown
    assert "default-src 'none'" in shown
    assert not re.search(r"(src|href)\s*=", shown)


async def test_a_page_to_print_shows_all_that_happened(home: House) -> None:
    answer = await home.world.ask(500)
    await home.world.revise(answer, 400)
    thread = thread_id(answer)
    await home.rita.post(path(thread, "/notes"), json={"text": "called them"})
    await home.rita.post(path(thread, "/reviews"), json={"verdict": "reject", "message": "too much", "revision": 2})
    page = (await home.rita.get(path(thread, "/export?format=html"))).text
    for expected in ("called them", "too much", "Revision 1", "thread.revised", "thread.exported", "Refunds over 250"):
        assert expected in page


@pytest.mark.parametrize("form", ["json", "html"])
async def test_a_document_is_sound_to_both_verifiers(home: House, tmp_path: Path, form: str) -> None:
    ask = Ask("issue_refund", HOSTILE, payload={"amount": 500, "note": HOSTILE}, preview=HOSTILE)
    thread = thread_id(await home.world.ask(ask=ask))
    answer = await home.ada.get(path(thread, "/export"), params={"format": form})
    assert verdicts(tmp_path, answer.content) == (0, 0)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", ["json", "html"])
async def test_one_change_to_a_document_is_found_by_both(home: House, tmp_path: Path, form: str, change: str) -> None:
    thread = await home.thread()
    answer = await home.ada.get(path(thread, "/export"), params={"format": form})
    assert verdicts(tmp_path, mutated(answer.content, change)) == (1, 1)


async def test_a_page_tells_how_to_check_it(home: House) -> None:
    thread = await home.thread()
    page = (await home.rita.get(path(thread, "/export?format=html"))).text
    match = re.search(r'id="evidence">(.*?)</script>', page)
    assert match is not None
    log = json.loads(match[1])["log"]
    root = base64.b64decode(log["checkpoint"].split("\n")[2]).hex()
    assert f"stacksona-gate audit verify {thread}.html" in page
    assert " ".join(root[start : start + 8] for start in range(0, 64, 8)) in page
    assert f"of {log['size']} in the log" in page


async def test_both_forms_hold_the_same_facts(home: House) -> None:
    thread = await home.thread()
    page = (await home.ada.get(path(thread, "/export?format=html"))).text
    match = re.search(r'id="evidence">(.*?)</script>', page)
    assert match is not None
    body = (await home.ada.get(path(thread, "/export"))).json()
    told = json.loads(match[1])
    assert [one["leaf"] for one in told["entries"]] == [one["leaf"] for one in body["entries"][:-1]]
    assert told["thread"]["payload"] == body["thread"]["payload"]


async def test_what_is_masked_for_a_reader_is_in_neither_form(home: House, tmp_path: Path) -> None:
    payload: dict[str, object] = {"amount": 500, "card": "4111 1111 1111 1111"}
    thread = await home.thread(payload=payload)
    for form in ("json", "html"):
        body = (await home.rita.get(path(thread, f"/export?format={form}"))).content
        assert b"4111 1111 1111 1111" not in body
        assert verdicts(tmp_path, body) == (0, 0)
    assert b"4111 1111 1111 1111" in (await home.ada.get(path(thread, "/export"))).content


async def test_files_are_named_and_come_along_when_asked_for(home: House) -> None:
    ask = Ask("issue_refund", "Refund", payload={"amount": 500}, attachments=(File("a.png", "image/png", IMAGE),))
    thread = thread_id(await home.world.ask(ask=ask))
    named = (await home.rita.get(path(thread, "/export"))).json()
    whole = (await home.rita.get(path(thread, "/export?attachments=true"))).json()
    assert (named["files"], named["thread"]["attachments"][0]["name"]) == (None, "a.png")
    assert base64.b64decode(whole["files"][0]["data"]) == IMAGE
    page = (await home.rita.get(path(thread, "/export?format=html&attachments=true"))).text
    assert f'src="data:image/png;base64,{base64.b64encode(IMAGE).decode()}"' in page


async def test_what_became_of_the_action_is_told(home: House) -> None:
    w = home.world
    answer = await w.approved()
    thread = thread_id(answer)
    states = [(await home.rita.get(path(thread))).json()["outcome_state"]]
    await w.redeem(answer)
    states.append((await home.rita.get(path(thread))).json()["outcome_state"])
    w.clock.advance(3_601)
    states.append((await home.rita.get(path(thread))).json()["outcome_state"])
    caller, report = await w.caller(), OutcomeReport("executed", request_id=answer.request.id)
    await w.write(lambda tx: report_outcome(tx, w.env, caller, "task-1", report, None))
    states.append((await home.rita.get(path(thread, "/export"))).json()["thread"]["outcome_state"])
    assert states == ["none", "awaiting", "unknown", "executed"]


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


async def test_content_that_was_erased_is_gone_and_the_document_still_sound(home: House, tmp_path: Path) -> None:
    w = home.world
    answer = await w.ask(payload={"amount": 500, "note": "between us"})
    await w.review(answer, "reject")
    await w.write(lambda tx: tx.erasure.erase_request(w.tenant_id, answer.request.id, w.env.now()))
    for form in ("json", "html"):
        body = (await home.ada.get(path(thread_id(answer), f"/export?format={form}"))).content
        assert b"between us" not in body
        assert verdicts(tmp_path, body) == (0, 0)
    assert b"Its content was erased" in body
