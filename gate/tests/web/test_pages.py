"""What is on the pages, and in their headers."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing

import pytest
from gate.tests.factories import PATIENCE, thread_of
from gate.tests.web.browsing import Visit, visiting, words
from starlette.requests import Request

from stacksona_gate.domain.errors import Unavailable, Unknown
from stacksona_gate.domain.requests import Attachment
from stacksona_gate.service import tasks
from stacksona_gate.service.decisions import DrainFlag
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.sessions import cookie_name
from stacksona_gate.web.attachments import image_type, safe_name
from stacksona_gate.web.live import Live

PICTURES = {
    "image/png": b"\x89PNG\r\n\x1a\n....",
    "image/jpeg": b"\xff\xd8\xff\xe0....",
    "image/gif": b"GIF89a....",
    "image/webp": b"RIFF....WEBPVP8 ",
}


async def test_every_page_forbids_foreign_and_inline_code_frames_and_caches() -> None:
    async with visiting() as guest:
        path = f"/inbox/{thread_of(await guest.w.ask())}"
        rita = await guest.as_(guest.w.reviewer)
        for page in (
            await guest.get("/sign-in"),
            await rita.get("/inbox"),
            await rita.get(path),
            await rita.get("/inbox/x"),
        ):
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "frame-ancestors 'none'; base-uri 'none'" in policy
            assert "unsafe" not in policy
            assert (page.headers["cache-control"], page.headers["x-content-type-options"]) == ("no-store", "nosniff")
            assert not re.search(r"<style|<script(?! src)|\sstyle=|\son[a-z]+=", page.text)


async def test_style_and_script_are_kept_for_good_under_their_contents_name() -> None:
    async with visiting() as guest:
        page = await guest.get("/sign-in")
        for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text):
            file = await guest.get(address)
            assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert (await guest.get("/static/old/app.css")).status_code == 404
        assert (await guest.get("/static/x/..%2Froutes.py")).status_code == 404


async def test_one_line_says_who_what_how_much_why_and_until_when() -> None:
    async with visiting() as guest:
        await guest.w.ask(ask=Ask("issue_refund", "Refund order 8821", "high", payload={"amount": 500, "to": "Jane"}))
        guest.w.clock.advance(3600)
        listed = " ".join(words(await (await guest.as_(guest.w.reviewer)).get("/inbox")).split())
        for said in ("Refund order 8821", "amount 500", "to “Jane”", "amount 500 is over 250", "High risk"):
            assert said in listed
        assert "support-bot issue_refund 23 h left waits 1 h" in listed


async def test_folders_and_filters_narrow_the_list() -> None:
    async with visiting() as guest:
        first = thread_of(await guest.w.ask(ask=Ask("issue_refund", "one", "low", payload={"amount": 300})))
        second = thread_of(await guest.w.ask(ask=Ask("wire_transfer", "two", "high")))
        rita = await guest.as_(guest.w.reviewer)
        for query in ("q=two", "tool=wire_transfer", "risk=high", f"agent={guest.w.agent.id}&q=TWO"):
            page = (await rita.get(f"/inbox?{query}")).text
            assert (first in page, second in page) == (False, True)
        assert first not in (await rita.get("/inbox?folder=approved")).text
        assert "Nothing here matches" in words(await rita.get("/inbox?agent=agt_unknown"))


async def test_older_threads_are_one_link_away() -> None:
    async with visiting() as guest:
        threads = [thread_of(await guest.w.ask(task=f"task-{number}")) for number in range(51)]
        rita = await guest.as_(guest.w.reviewer)
        first = await rita.get("/inbox?q=refund")
        older = re.search(r'rel="next" href="([^"]+)"', first.text)
        assert older is not None
        second = await rita.get(older[1].replace("&amp;", "&"))
        assert (threads[0] in first.text, threads[0] in second.text, threads[50] in second.text) == (False, True, False)
        assert 'rel="next"' not in second.text


@pytest.mark.parametrize("query", ["cursor=x", "cursor=-1", "folder=none", "risk=<b>", "cursor=" + "9" * 40])
async def test_an_address_that_means_nothing_shows_the_new_ones(query: str) -> None:
    async with visiting() as guest:
        thread = thread_of(await guest.w.ask())
        assert thread in (await (await guest.as_(guest.w.reviewer)).get(f"/inbox?{query}")).text


@pytest.mark.parametrize(
    ("tool", "policy", "why"),
    [
        ("issue_refund", None, "A rule sent it here. Refunds over 250 (upper limit): amount 500 is over 250"),
        ("wire_transfer", None, "No rule matched, and this tool is reviewed by default."),
        ("unheard_of", None, "No policy covers this tool yet."),
    ],
)
async def test_a_thread_says_why_it_came_here_before_and_after_the_decision(
    tool: str, policy: str | None, why: str
) -> None:
    async with visiting() as guest:
        answer = await guest.w.ask(tool=tool)
        rita, path = await guest.as_(guest.w.reviewer), f"/inbox/{thread_of(answer)}"
        assert why in " ".join(words(await rita.get(path)).split())
        await guest.w.review(answer)
        assert why in " ".join(words(await rita.get(path)).split())


async def test_a_rule_that_could_not_be_evaluated_is_named() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask(payload={"sum": 1})
        page = await (await guest.as_(guest.w.reviewer)).get(f"/inbox/{thread_of(answer)}")
        assert "A rule could not be evaluated" in words(page)
        assert "amount is missing" in words(page)


async def test_each_revision_shows_what_it_changed() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        for amount in (400, 350):
            await guest.w.revise(answer, amount)
        rita, path = await guest.as_(guest.w.reviewer), f"/inbox/{thread_of(answer)}"
        newest, first = words(await rita.get(path)), words(await rita.get(f"{path}?revision=2"))
        assert "What revision 3 changed" in newest
        assert ("was500" in first, "is400" in first) == (True, True)


async def test_an_execution_without_approval_is_said_loudly() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        caller = await guest.w.caller()
        report = tasks.OutcomeReport("executed", thread_id=answer.thread_id, detail="done <b>")
        await guest.w.write(lambda tx: tasks.report_outcome(tx, guest.w.env, caller, "task-1", report, None))
        page = await (await guest.as_(guest.w.auditor)).get(f"/inbox/{thread_of(answer)}")
        assert '<div class="banner loud" role="alert">' in page.text
        assert "ran this action without an approval" in words(page)


async def attached(guest: Visit, file: File) -> tuple[Visit, str]:
    answer = await guest.w.ask(ask=Ask("wire_transfer", "with a file", attachments=(file,)))
    files = await guest.w.read(lambda tx: tx.conversation.list_attachments("default", answer.request.id))
    return await guest.as_(guest.w.reviewer), f"/inbox/{thread_of(answer)}/attachments/{files[0].id}"


@pytest.mark.parametrize(("kind", "data"), PICTURES.items())
async def test_a_picture_is_shown_whatever_the_agent_calls_it(kind: str, data: bytes) -> None:
    async with visiting() as guest:
        rita, path = await attached(guest, File("x.html", "text/html", data))
        file = await rita.get(path)
        assert (file.headers["content-type"], file.content) == (kind, data)
        assert file.headers["content-disposition"] == 'inline; filename="x.html"'
        assert "sandbox" in file.headers["content-security-policy"]
        assert file.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "data", [b"<svg onload=alert(1)>", b"<html>", b"%PDF-1.7", b"GIF87", b" \x89PNG\r\n\x1a\n", b""]
)
async def test_everything_else_is_only_handed_over(data: bytes) -> None:
    async with visiting() as guest:
        rita, path = await attached(guest, File("photo.png", "image/png", data))
        file = await rita.get(path)
        assert file.headers["content-type"] == "application/octet-stream"
        assert file.headers["content-disposition"].startswith("attachment; ")


async def test_a_file_of_another_thread_is_not_here() -> None:
    async with visiting() as guest:
        rita, path = await attached(guest, File("a", "b", b"c"))
        other = thread_of(await guest.w.ask(task="task-2"))
        attachment = path.rpartition("/")[2]
        assert (await rita.get(f"/inbox/{other}/attachments/{attachment}")).status_code == 404


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ('a"; filename="b.exe', "a_filename_b.exe"),
        ("../../etc/passwd", "etc_passwd"),
        ("x\r\nSet-Cookie: a=b", "x_Set-Cookie_a_b"),
        ("\u202egpj.exe", "gpj.exe"),
        ("…", "attachment"),
    ],
)
def test_a_file_name_holds_nothing_that_a_header_or_a_shell_reads(name: str, safe: str) -> None:
    assert safe_name(Attachment("att_1", "req_1", 1, 0, name, "", 0, "")) == safe


def test_text_is_no_picture() -> None:
    assert image_type(b"RIFF....WAVE") is None


def held(visit: Visit) -> Request:
    cookie = f"{cookie_name(visit.w.env.public_url)}={visit.cookie}".encode()
    return Request({"type": "http", "method": "GET", "path": "/inbox/stream", "headers": [(b"cookie", cookie)]})


async def test_the_stream_tells_of_changes_and_of_being_alive() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        live = Live(guest.w.gate, DrainFlag(), heartbeat=0.05)
        async with asyncio.timeout(PATIENCE), aclosing(live.events(held(rita), "default")) as events:
            assert "hello" in await anext(events)
            assert await anext(events) == ": alive\n\n"
            await guest.w.ask()
            while (event := await anext(events)) == ": alive\n\n":
                pass
            assert event == "event: changed\ndata: \n\n"


async def test_the_stream_ends_with_the_session() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        live = Live(guest.w.gate, DrainFlag(), heartbeat=0.05)
        async with asyncio.timeout(PATIENCE), aclosing(live.events(held(rita), "default")) as events:
            await anext(events)
            await rita.post("/sign-out")
            assert [event async for event in events][-1].startswith("event: over")
        assert guest.w.gate.wakeups.count == 0


async def test_the_stream_ends_when_the_process_does() -> None:
    async with visiting() as guest:
        rita, draining = await guest.as_(guest.w.reviewer), DrainFlag()
        events = Live(guest.w.gate, draining).events(held(rita), "default")
        await anext(events)
        draining.is_set = True
        guest.w.gate.wakeups.wake_all()
        async with asyncio.timeout(PATIENCE):
            assert [event async for event in events] == []


async def test_nobody_listens_without_a_session() -> None:
    async with visiting() as guest:
        assert (await guest.get("/inbox/stream")).status_code == 401


async def test_the_state_of_a_thread_changes_with_what_its_page_shows() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        rita, path = await guest.as_(guest.w.reviewer), f"/inbox/{thread_of(answer)}"
        first = (await rita.get(f"{path}/state")).json()
        assert first["version"] in (await rita.get(path)).text
        await rita.post(f"{path}/notes", {"note": "n"})
        second = (await rita.get(f"{path}/state")).json()
        assert (second["revision"], second["status"]) == (1, "pending_review")
        assert first["version"] != second["version"]


async def test_without_a_store_a_page_says_that_nothing_was_decided() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        guest.w.gate.store = Away()  # type: ignore[assignment]
        answer = await rita.get("/inbox")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "the store is away" in words(answer)
        assert "Nothing was decided." in words(answer)


async def test_a_page_does_not_say_that_nothing_was_decided_where_nobody_knows() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        guest.w.gate.store = Away(Unknown("this may or may not have been decided", retry_after=5))  # type: ignore[assignment]
        answer = await rita.get("/inbox")
        assert "this may or may not have been decided" in words(answer)
        assert "Look what became of it" in words(answer)
        assert "nothing was decided" not in words(answer).lower()


async def test_a_fault_of_a_page_does_not_say_what_was_decided() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        guest.w.gate.store = Away(ValueError("a row that cannot be read"))  # type: ignore[assignment]
        answer = await rita.get("/inbox")
        assert answer.status_code == 500
        assert "nothing was decided" not in words(answer).lower()


class Away:
    """A store that is not there."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or Unavailable("the store is away", retry_after=1)

    async def read(self, query: object) -> None:
        raise self.error


async def test_a_refusal_is_a_page_in_the_same_tone() -> None:
    async with visiting() as guest:
        answer = await (await guest.as_(guest.w.reviewer)).get("/inbox/THR-nothing")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "there is no such thread" in words(answer)
