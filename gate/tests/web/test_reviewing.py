"""Deciding through forms: whose they may be, and what happens when the thread moved on."""

from __future__ import annotations

import pytest
from gate.tests.factories import thread_of
from gate.tests.web.browsing import Visit, visiting, words

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service import agents
from stacksona_gate.service.requests import Answer

FORMS = ("reviews", "notes", "claim", "release")


async def waiting(guest: Visit) -> tuple[Visit, Answer, str]:
    """A reviewer and the thread they look at."""
    answer = await guest.w.ask()
    return await guest.as_(guest.w.reviewer), answer, f"/inbox/{thread_of(answer)}"


def verdict(said: str, message: str = "", revision: str = "1", **more: str) -> dict[str, str]:
    return {"verdict": said, "message": message, "revision": revision, **more}


@pytest.mark.parametrize(("said", "status"), [("approve", "approved"), ("reject", "rejected")])
async def test_a_verdict_is_recorded_with_its_message(said: str, status: str) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        sent = await rita.post(f"{path}/reviews", verdict(said, "line one\r\nline two"))
        assert (sent.status_code, sent.headers["location"]) == (303, f"{path}?done={said}")
        stored = await guest.w.stored(answer)
        assert (stored.status, stored.message) == (status, "line one\nline two")
        assert status in words(await rita.get(sent.headers["location"])).lower()


async def test_every_form_on_the_page_carries_the_sessions_token() -> None:
    async with visiting() as guest:
        rita, _, path = await waiting(guest)
        forms = [form for form in (await rita.get(path)).text.split("<form")[1:] if 'method="post"' in form]
        assert len(forms) == 4
        for form in forms:
            assert f'name="csrf" value="{rita.session.csrf if rita.session else None}"' in form


async def test_asking_for_changes_needs_words() -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        refused = await rita.post(f"{path}/reviews", verdict("request_changes", "  "))
        assert (refused.status_code, "say which changes" in words(refused)) == (422, True)
        await rita.post(f"{path}/reviews", verdict("request_changes", "less, please"))
        assert (await guest.w.stored(answer)).feedback == "less, please"


async def test_after_a_decision_the_page_leads_to_the_next_one_that_waits() -> None:
    async with visiting() as guest:
        rita, _, path = await waiting(guest)
        other = thread_of(await guest.w.ask(600, task="task-2"))
        await rita.post(f"{path}/reviews", verdict("approve"))
        page = await rita.get(f"{path}?done=approve")
        assert "Approved. The agent may run it now." in words(page)
        assert f'href="/inbox/{other}">Next waiting</a>' in page.text


async def test_an_address_cannot_claim_a_decision_that_was_not_made() -> None:
    async with visiting() as guest:
        rita, _, path = await waiting(guest)
        assert "The agent may run it" not in words(await rita.get(f"{path}?done=approve"))


async def test_gone_back_to_after_the_decision_the_page_says_nothing_of_taking_it_on() -> None:
    async with visiting() as guest:
        rita, _, path = await waiting(guest)
        await rita.post(f"{path}/claim")
        assert "You are on it." in words(await rita.get(f"{path}?done=claim"))
        await rita.post(f"{path}/reviews", verdict("approve"))
        assert "You are on it." not in words(await rita.get(f"{path}?done=claim"))


async def test_a_newer_revision_refuses_the_verdict_and_keeps_the_message() -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        await guest.w.revise(answer)
        page = await rita.post(f"{path}/reviews", verdict("approve", "I typed this <b>"))
        assert page.status_code == 409
        assert "the agent has sent revision 2 since you opened 1" in words(page)
        assert f'href="{path}">Look at it as it is now' in page.text
        assert "I typed this &lt;b&gt;" in page.text
        assert 'value="approve"' not in page.text
        assert (await guest.w.stored(answer)).is_pending


async def test_a_second_decision_is_told_about_the_first() -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        await guest.w.review(answer, "reject")
        page = await rita.post(f"{path}/reviews", verdict("approve"))
        assert (page.status_code, "already decided: rejected" in words(page)) == (409, True)


async def test_a_thread_whose_time_is_over_offers_no_buttons_and_takes_no_verdict() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        guest.w.clock.advance(25 * 3600)
        rita, path = await guest.as_(guest.w.reviewer), f"/inbox/{thread_of(answer)}"
        page = await rita.get(path)
        assert ("Time is over" in words(page), 'value="approve"' in page.text) == (True, False)
        assert (await guest.w.stored(answer)).is_pending  # reading decides nothing
        assert (await rita.post(f"{path}/reviews", verdict("approve"))).status_code == 409
        assert (await guest.w.stored(answer)).reason_code == "expired"


async def test_an_edited_payload_is_what_is_approved() -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        await rita.post(f"{path}/reviews", verdict("approve_edited", edited='{"amount": 300}'))
        stored = await guest.w.stored(answer)
        assert (stored.status, stored.edited, stored.payload) == ("approved", True, '{"amount":300}')
        page = await rita.get(path)
        assert "What revision 2 changed" in words(page)
        assert "amount 500 is over 250" in words(page)


@pytest.mark.parametrize("edited", ['{"amount": 300}', '{"amount": "500"}', '{"amount": 500', "{}"])
async def test_an_edit_is_not_approved_with_the_button_for_the_agents_payload(edited: str) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        page = await rita.post(f"{path}/reviews", verdict("approve", "typed", edited=edited))
        assert page.status_code == 422
        assert "you edited the payload" in words(page)
        assert edited in words(page)
        assert "typed" in words(page)
        assert (await guest.w.stored(answer)).is_pending


@pytest.mark.parametrize("edited", ['{"amount": 500}', '{\r\n  "amount": 500.0\r\n}', "", " \r\n"])
async def test_a_box_that_holds_the_agents_payload_or_nothing_is_no_edit(edited: str) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        await rita.post(f"{path}/reviews", verdict("approve", edited=edited))
        stored = await guest.w.stored(answer)
        assert (stored.status, stored.edited, stored.payload) == ("approved", False, '{"amount":500}')


@pytest.mark.parametrize("said", ["reject", "request_changes"])
async def test_what_approves_nothing_leaves_an_edit_alone(said: str) -> None:
    async with visiting() as guest:
        rita, _, path = await waiting(guest)
        sent = await rita.post(f"{path}/reviews", verdict(said, "no", edited='{"amount": 300}'))
        assert sent.status_code == 303


async def test_a_payload_that_is_long_when_indented_can_still_be_rejected() -> None:
    nested: object = [0] * 60_000
    for _ in range(28):
        nested = [nested]
    async with visiting() as guest:
        answer = await guest.w.ask(payload={"amount": 500, "list": nested})
        path, rita = f"/inbox/{thread_of(answer)}", await guest.as_(guest.w.reviewer)
        page = await rita.get(path)
        assert 'name="edited"' not in page.text
        assert "Too long to edit on this page" in words(page)
        assert (await rita.post(f"{path}/reviews", verdict("reject", "no"))).status_code == 303


@pytest.mark.parametrize(
    ("edited", "why"),
    [
        ('{"amount": 9000}', "policy refuses the edited payload: amount 9000 is over 5000"),
        ('{"amount": 1, "amount": 2}', "appears twice"),
        ("[1]", "has to be a JSON object"),
        ("", "the body is empty"),
    ],
)
async def test_an_edit_that_cannot_be_approved_is_kept_and_explained(edited: str, why: str) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        page = await rita.post(f"{path}/reviews", verdict("approve_edited", "typed", edited=edited))
        assert page.status_code == 422
        assert why in words(page)
        assert "\ntyped</textarea>" in page.text
        assert edited in words(page)
        assert (await guest.w.stored(answer)).is_pending


@pytest.mark.parametrize(
    "fields", [verdict("allow"), verdict("approve", revision="x"), verdict("approve", "m" * 10_001)]
)
async def test_what_no_form_of_ours_sends_decides_nothing(fields: dict[str, str]) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        assert (await rita.post(f"{path}/reviews", fields)).status_code == 422
        assert (await guest.w.stored(answer)).is_pending


async def test_taking_on_shows_who_and_letting_go_frees_it() -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        await rita.post(f"{path}/claim")
        assert "Rita is on it" in words(await (await guest.as_(guest.w.admin)).get("/inbox?folder=reviewing"))
        rob = await guest.as_(guest.w.other_reviewer)
        refused = await rob.post(f"{path}/claim")
        assert (refused.status_code, "Rita is on it" in words(refused)) == (409, True)
        assert (await rob.post(f"{path}/release")).status_code == 403
        await rita.post(f"{path}/release")
        assert (await guest.w.stored(answer)).claimed_by is None


async def test_an_empty_note_is_refused() -> None:
    async with visiting() as guest:
        rita, _, path = await waiting(guest)
        assert (await rita.post(f"{path}/notes", {"note": " "})).status_code == 422


@pytest.mark.parametrize("form", [*FORMS, "sign-out"])
@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"csrf": "guess"}, {}),
        ({"csrf": ""}, {}),
        ({}, {"Origin": "https://evil.example"}),
        ({}, {"Sec_Fetch_Site": "cross-site"}),
    ],
)
async def test_a_form_of_another_sites_page_changes_nothing(
    form: str, fields: dict[str, str], headers: dict[str, str]
) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        before, stored = await guest.w.entries(), await guest.w.stored(answer)
        target = "/sign-out" if form == "sign-out" else f"{path}/{form}"
        sent = await rita.post(target, verdict("approve", note="n") | fields, **headers)
        assert sent.status_code == 403
        assert (await guest.w.entries(), await guest.w.stored(answer)) == (before, stored)


@pytest.mark.parametrize("form", FORMS)
async def test_without_a_session_a_form_leads_to_signing_in_and_back_to_the_thread(form: str) -> None:
    async with visiting() as guest:
        _, answer, path = await waiting(guest)
        sent = await guest.post(f"{path}/{form}", verdict("approve", note="n"))
        assert sent.headers["location"] == f"/sign-in?next={path}"
        assert (await guest.w.stored(answer)).is_pending


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_only_posting_a_form_changes_anything(method: str) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        before = await guest.w.entries()
        for form in FORMS:
            address = (
                f"{path}/{form}?verdict=approve&revision=1&note=n&csrf={rita.session.csrf if rita.session else ''}"
            )
            sent = await rita.client.request(method, address, headers={"Cookie": f"stacksona_session={rita.cookie}"})
            assert sent.status_code == 405
        assert await guest.w.entries() == before
        assert (await guest.w.stored(answer)).is_pending


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_any_page_changes_nothing(method: str) -> None:
    async with visiting() as guest:
        rita, answer, path = await waiting(guest)
        guest.w.clock.advance(10)
        before, stored = await guest.w.entries(), await guest.w.stored(answer)
        for page in ("/", "/sign-in", "/setup", "/inbox", path, f"{path}/state", f"{path}?done=approve"):
            headers = {"Cookie": f"stacksona_session={rita.cookie}"}
            assert (await rita.client.request(method, page, headers=headers)).status_code in (200, 303)
        assert (await guest.w.entries(), await guest.w.stored(answer)) == (before, stored)


async def test_an_auditor_sees_everything_and_no_form_to_act_with() -> None:
    async with visiting() as guest:
        _, answer, path = await waiting(guest)
        olga = await guest.as_(guest.w.auditor)
        page = await olga.get(path)
        assert page.status_code == 200
        assert [form for form in page.text.split("<form")[1:] if "sign-out" not in form and "dialog" not in form] == []
        for form in FORMS:
            assert (await olga.post(f"{path}/{form}", verdict("approve", note="n"))).status_code == 403
        assert (await guest.w.stored(answer)).is_pending


async def test_a_reviewer_of_other_agents_finds_nothing_here() -> None:
    async with visiting() as guest:
        _, answer, path = await waiting(guest)
        w = guest.w
        change = agents.AgentChange(reviewers=(w.reviewer.id,))
        await w.write(
            lambda tx: agents.change_agent(tx, w.env, w.gate.root, COMMAND_LINE, "default", w.agent.id, change)
        )
        rob = await guest.as_(w.other_reviewer)
        unknown = await rob.get("/inbox/THR-0000000000")
        for sent in (await rob.get(path), await rob.get(f"{path}/state"), await rob.post(f"{path}/claim")):
            assert (sent.status_code, words(sent)) == (404, words(unknown))
        assert thread_of(answer) not in (await rob.get("/inbox")).text
