"""Pages that say what nobody reported, and which threads wait long."""

from __future__ import annotations

import pytest
from gate.tests.factories import World, an_ask, thread_of
from gate.tests.web.browsing import Visit, visiting, words

from stacksona_gate.service.requests import Answer
from stacksona_gate.service.sweeping import sweep
from stacksona_gate.service.tasks import OutcomeReport, report_outcome

H12, H21_36 = 43_200, 77_760


async def redeemed(w: World, subject: str = "Refund 500", amount: int = 500) -> Answer:
    answer = await w.ask(ask=an_ask(amount, subject=subject))
    if amount > 250:
        await w.review(answer)
    await w.redeem(answer)
    return answer


async def report(w: World, answer: Answer, status: str) -> None:
    caller = await w.caller()
    made = OutcomeReport(status, request_id=answer.request.id)
    await w.write(lambda tx: report_outcome(tx, w.env, caller, answer.request.task_id, made, None))


async def unknown(guest: Visit, **asked: object) -> Answer:
    answer = await redeemed(guest.w, **asked)  # type: ignore[arg-type]
    guest.w.clock.advance(3600)
    return answer


async def test_a_thread_says_that_nobody_knows_whether_it_ran() -> None:
    async with visiting() as guest:
        answer = await unknown(guest)
        page = await (await guest.as_(guest.w.reviewer)).get(f"/inbox/{thread_of(answer)}")
        said = " ".join(words(page).split())
        assert "redeemed at 2026-11-26 12:00:00 UTC, no outcome reported: unknown whether it ran" in said


@pytest.mark.parametrize(
    ("reported", "said"),
    [("", "no outcome reported yet"), ("executed", "reported as executed"), ("failed", "reported as failed")],
)
async def test_a_thread_says_what_was_reported(reported: str, said: str) -> None:
    async with visiting() as guest:
        answer = await redeemed(guest.w)
        if reported:
            await report(guest.w, answer, reported)
        page = await (await guest.as_(guest.w.reviewer)).get(f"/inbox/{thread_of(answer)}")
        assert said in words(page)


async def test_a_thread_that_was_not_approved_says_nothing_of_outcomes() -> None:
    async with visiting() as guest:
        page = await (await guest.as_(guest.w.reviewer)).get(f"/inbox/{thread_of(await guest.w.ask())}")
        assert "<dt>Outcome</dt>" not in page.text


@pytest.mark.parametrize(("who", "told"), [("admin", True), ("auditor", True), ("reviewer", False)])
async def test_the_inbox_tells_admins_and_auditors_that_outcomes_are_missing(who: str, told: bool) -> None:
    async with visiting() as guest:
        await unknown(guest)
        page = await (await guest.as_(getattr(guest.w, who))).get("/inbox")
        assert ("One approval was used, and nobody said what became of the action." in words(page)) is told
        assert ('href="/outcomes"' in page.text) is told


async def test_with_nothing_missing_the_inbox_says_nothing() -> None:
    async with visiting() as guest:
        await redeemed(guest.w)
        page = await (await guest.as_(guest.w.admin)).get("/inbox")
        assert "nobody said" not in words(page)


async def test_reviewers_are_turned_away_and_strangers_sent_to_sign_in() -> None:
    async with visiting() as guest:
        assert (await (await guest.as_(guest.w.reviewer)).get("/outcomes")).status_code == 403
        assert (await guest.get("/outcomes")).status_code == 303


async def test_the_list_names_each_and_links_what_has_a_thread() -> None:
    async with visiting() as guest:
        await redeemed(guest.w, "Refund by policy", 100)
        answer = await unknown(guest)
        page = await (await guest.as_(guest.w.auditor)).get("/outcomes")
        assert f'href="/inbox/{thread_of(answer)}"' in page.text
        assert page.text.count("unknown whether it ran") == 2
        assert "allowed by policy" in words(page)


async def test_what_agents_wrote_is_shown_as_text() -> None:
    async with visiting() as guest:
        await unknown(guest, subject="<script>alert(1)</script>")
        page = await (await guest.as_(guest.w.admin)).get("/outcomes")
        assert "<script>alert" not in page.text
        assert "<script>alert(1)</script>" in words(page)


async def test_flagged_outcomes_say_what_is_wrong() -> None:
    async with visiting() as guest:
        await report(guest.w, await guest.w.ask(), "executed")
        page = await (await guest.as_(guest.w.admin)).get("/outcomes?state=flagged")
        assert "The agent says that it ran this action without an approval." in words(page)


async def test_fifty_fill_a_page_and_the_rest_is_a_link_away() -> None:
    async with visiting() as guest:
        for number in range(51):
            await redeemed(guest.w, f"Refund no {number}.", 100)
        guest.w.clock.advance(3600)
        admin = await guest.as_(guest.w.admin)
        first = await admin.get("/outcomes")
        (older,) = [part.split('"')[0] for part in first.text.split('rel="next" href="')[1:]]
        rest = await admin.get(older.replace("&amp;", "&"))
        assert ("Refund no 0." in words(first), "Refund no 0." in words(rest)) == (False, True)


@pytest.mark.parametrize(
    "query", ["?cursor=x", "?cursor=1", "?cursor=1.2.3", "?cursor=%00", "?state=flagged&cursor=1.2"]
)
async def test_an_address_that_says_nothing_sensible_shows_the_first_page(query: str) -> None:
    async with visiting() as guest:
        page = await (await guest.as_(guest.w.admin)).get(f"/outcomes{query}")
        assert (page.status_code, "Newest" in words(page)) == (200, False)


@pytest.mark.parametrize(("seconds", "said"), [(0, ""), (H12, "Waiting long"), (H21_36, "Expires soon")])
async def test_a_reminded_thread_is_marked_in_words(seconds: int, said: str) -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        guest.w.clock.advance(seconds)
        await sweep(guest.w.gate)
        rita = await guest.as_(guest.w.reviewer)
        for page in (await rita.get("/inbox"), await rita.get(f"/inbox/{thread_of(answer)}")):
            found = [mark for mark in ("Waiting long", "Expires soon") if mark in words(page)]
            assert found == ([said] if said else [])


async def test_the_timeline_says_that_reviewers_were_reminded() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        for seconds in (H12, H21_36 - H12):
            guest.w.clock.advance(seconds)
            await sweep(guest.w.gate)
        page = await (await guest.as_(guest.w.reviewer)).get(f"/inbox/{thread_of(answer)}")
        said = " ".join(words(page).split())
        assert "The gate reminded the reviewers" in said
        assert "The gate escalated it" in said
