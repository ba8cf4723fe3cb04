"""Looking at threads."""

from __future__ import annotations

import base64

import pytest
from gate.tests.api.people import House, path, thread_id

from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.tasks import OutcomeReport, report_outcome

REVIEW = "/api/review/threads"


async def test_a_folder_lists_its_threads_newest_first(home: House) -> None:
    first, second = await home.thread(500), await home.thread(600)
    await home.rita.put(path(first, "/claim"))
    page = (await home.rita.get(REVIEW)).json()
    assert [row["thread_id"] for row in page["threads"]] == [second, first]
    assert page["next_cursor"] is None
    folders = {name: (await home.rita.get(REVIEW, params={"folder": name})).json() for name in ("new", "reviewing")}
    assert [row["thread_id"] for row in folders["new"]["threads"]] == [second]
    assert [row["thread_id"] for row in folders["reviewing"]["threads"]] == [first]


async def test_pages_follow_each_other_without_gap_or_repeat(home: House) -> None:
    threads = [await home.thread() for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str | int] | None = {"limit": 2}
    while query is not None:
        page = (await home.rita.get(REVIEW, params=query)).json()
        seen += [row["thread_id"] for row in page["threads"]]
        query = {"limit": 2, "cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert seen == threads[::-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "refund 500"}, 1),
        ({"q": "nothing like it"}, 0),
        ({"tool": "wire_transfer"}, 1),
        ({"risk": "medium"}, 2),
        ({"risk": "high"}, 0),
        ({"agent": "support-bot"}, 2),
        ({"agent": "someone-else"}, 0),
        ({"folder": "", "q": "", "agent": ""}, 2),
    ],
)
async def test_filters_narrow_the_list(home: House, query: dict[str, str], found: int) -> None:
    await home.thread(500)
    await home.thread(1, tool="wire_transfer")
    assert len((await home.rita.get(REVIEW, params=query)).json()["threads"]) == found


@pytest.mark.parametrize(
    "query", ["folder=all", "risk=huge", "limit=0", "limit=201", "limit=x", "cursor=-1", "cursor=9" + "9" * 30]
)
async def test_a_query_that_makes_no_sense_is_refused(home: House, query: str) -> None:
    assert (await home.rita.get(f"{REVIEW}?{query}")).status_code == 422


async def test_a_repeated_query_field_is_malformed(home: House) -> None:
    assert (await home.rita.get(f"{REVIEW}?folder=new&folder=approved")).status_code == 400


async def test_a_thread_shows_everything_that_was_asked(home: House) -> None:
    thread = await home.thread(500)
    body = (await home.rita.get(path(thread))).json()
    assert (body["status"], body["reason_code"], body["revision"]) == ("pending_review", "rule", 1)
    assert body["payload"] == {"amount": 500}
    assert body["rule"]["name"] == "Refunds over 250"
    assert body["agent"]["name"] == "support-bot"
    assert body["may_review"] is True
    assert [step["event"] for step in body["timeline"]] == ["thread.opened"]


async def test_a_thread_shows_its_revisions_with_their_payloads(home: House) -> None:
    answer = await home.world.ask(500)
    await home.world.revise(answer, 400)
    body = (await home.rita.get(path(thread_id(answer)))).json()
    assert (body["revision"], body["payload"]) == (2, {"amount": 400})
    assert [(one["revision"], one["payload"]) for one in body["revisions"]] == [(1, {"amount": 500})]


async def test_a_thread_shows_outcomes_with_their_flags(home: House) -> None:
    w = home.world
    answer, caller = await w.ask(500), await w.caller()
    report = OutcomeReport("executed", thread_id=answer.thread_id)
    await w.write(lambda tx: report_outcome(tx, w.env, caller, "task-1", report, None))
    body = (await home.olga.get(path(thread_id(answer)))).json()
    assert [one["flag"] for one in body["outcomes"]] == ["not_approved"]


async def test_an_overdue_thread_can_no_longer_be_reviewed_before_anybody_swept(home: House) -> None:
    thread = await home.thread()
    home.world.clock.advance(86_400)
    assert (await home.rita.get(path(thread))).json()["may_review"] is False


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_decides_nothing_and_records_nothing(home: House, method: str) -> None:
    thread = await home.thread()
    before = await home.events()
    for rest in ("", "/reviews", "/claim", "/notes", "/attachments/att_1"):
        await home.rita.request(method, path(thread, rest))
    await home.rita.request(method, REVIEW)
    assert await home.events() == before
    assert (await home.rita.get(path(thread))).json()["status"] == "pending_review"


async def test_an_attachment_is_only_ever_a_download(home: House) -> None:
    data = base64.b64decode("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==")
    ask = Ask("issue_refund", "hm", payload={"amount": 500}, attachments=(File('../a"b.html', "text/html", data),))
    thread = thread_id(await home.world.ask(ask=ask))
    listed = (await home.rita.get(path(thread))).json()["attachments"][0]
    answer = await home.rita.get(listed["path"])
    assert answer.content == data
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="a_b.html"'


async def test_an_attachment_of_another_thread_is_not_found(home: House) -> None:
    ask = Ask("issue_refund", "hm", payload={"amount": 500}, attachments=(File("a.txt", "text/plain", b"a"),))
    thread, other = thread_id(await home.world.ask(ask=ask)), await home.thread()
    listed = (await home.rita.get(path(thread))).json()["attachments"][0]
    assert (await home.rita.get(path(other, f"/attachments/{listed['id']}"))).status_code == 404


async def test_what_is_looked_for_is_short(home: House) -> None:
    assert (await home.rita.get("/api/review/threads", params={"q": "a" * 200})).status_code == 200
    answer = await home.rita.get("/api/review/threads", params={"q": "a" * 201})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_q")
