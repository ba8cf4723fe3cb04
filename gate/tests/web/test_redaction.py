"""Pages for people who may not see everything: placeholders that a screen reader names, and safe edits."""

from __future__ import annotations

import html
import json
import re

import pytest
from gate.tests.factories import thread_of
from gate.tests.web.browsing import Visit, visiting, words
from gate.tests.web.test_reviewing import verdict

from stacksona_gate.service.requests import Answer, Ask
from stacksona_gate.service.threads import Change

CARD = "4242424242424242"
SECRETS = (CARD, "ana@example.com")
PAYLOAD = {"amount": 500, "card": int(CARD), "to": "ana@example.com", "note": f"by {CARD}"}
MARK = '••••4242<span class="unseen"> masked</span></span>'


def ask() -> Ask:
    return Ask(
        "issue_refund",
        f"Refund to {CARD}",
        preview=f"Dear ana@example.com, {CARD}",
        summary=(CARD,),
        payload=dict(PAYLOAD),
        metadata={"mail": "ana@example.com"},
    )


async def masked(guest: Visit) -> tuple[Visit, Answer, str]:
    answer = await guest.w.ask(ask=ask())
    return await guest.as_(guest.w.reviewer), answer, f"/inbox/{thread_of(answer)}"


def box(page: str) -> str:
    """The text box of the payload to edit."""
    found = re.search(r'<textarea id="edited"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


async def test_neither_list_nor_thread_shows_a_masked_value() -> None:
    async with visiting() as guest:
        rita, answer, path = await masked(guest)
        await guest.w.revise(answer, change=Change(payload={**PAYLOAD, "card": 5555555555554444}))
        for address in ("/inbox", path, f"{path}?revision=2"):
            page = await rita.get(address)
            assert [secret for secret in (*SECRETS, "5555555555554444") if secret in page.text] == [], address
            assert MARK in page.text or '<span class="unseen"> masked</span>' in page.text


async def test_a_change_of_a_masked_value_is_seen_as_one() -> None:
    async with visiting() as guest:
        rita, answer, path = await masked(guest)
        await guest.w.revise(answer, change=Change(payload={**PAYLOAD, "card": 4000004240004242}))
        page = await rita.get(path)
        assert "card changed" in " ".join(words(page).split())


async def test_admins_see_the_values_and_no_mark() -> None:
    async with visiting() as guest:
        _, _, path = await masked(guest)
        page = await (await guest.as_(guest.w.admin)).get(path)
        assert all(secret in page.text for secret in SECRETS)
        assert '<span class="mark masked"' not in page.text


async def test_a_placeholder_that_an_agent_wrote_is_no_mark_for_those_who_see_everything() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask(ask=Ask("issue_refund", "pay ⟦masked 1 ••••4242⟧", payload={"amount": 500}))
        page = await (await guest.as_(guest.w.admin)).get(f"/inbox/{thread_of(answer)}")
        assert "⟦masked 1 ••••4242⟧" in words(page)
        assert '<span class="mark masked"' not in page.text


async def test_the_page_says_that_values_are_masked_and_offers_no_copy_of_what_is_not_exact() -> None:
    async with visiting() as guest:
        rita, _, path = await masked(guest)
        page = await rita.get(path)
        assert "Some values are masked for you" in words(page)
        assert "data-copy" not in page.text
        assert "sha-256:" not in page.text


async def test_an_edit_in_the_box_keeps_the_masked_values() -> None:
    async with visiting() as guest:
        rita, answer, path = await masked(guest)
        edited = box((await rita.get(path)).text).replace("500", "400")
        sent = await rita.post(f"{path}/reviews", verdict("approve_edited", edited=edited))
        assert sent.status_code == 303
        assert json.loads((await guest.w.stored(answer)).payload) == {**PAYLOAD, "amount": 400}


async def test_an_untouched_box_is_approved_as_the_agents_own() -> None:
    async with visiting() as guest:
        rita, answer, path = await masked(guest)
        sent = await rita.post(f"{path}/reviews", verdict("approve", edited=box((await rita.get(path)).text)))
        stored = await guest.w.stored(answer)
        assert (sent.status_code, stored.status, stored.edited) == (303, "approved", False)


async def test_a_moved_placeholder_is_refused_and_the_edit_kept() -> None:
    async with visiting() as guest:
        rita, answer, path = await masked(guest)
        edited = box((await rita.get(path)).text).replace('"amount": 500', '"amount": "⟦masked 1 ••••4242⟧"')
        sent = await rita.post(f"{path}/reviews", verdict("approve_edited", edited=edited))
        assert (sent.status_code, box(sent.text)) == (422, edited)
        assert "a masked value is not where it was shown" in words(sent)
        assert (await guest.w.stored(answer)).status == "pending_review"


@pytest.mark.parametrize("guess", [CARD, "4000000000000002"])
async def test_a_guess_is_not_told_from_a_miss(guess: str) -> None:
    async with visiting() as guest:
        rita, _, path = await masked(guest)
        edited = json.dumps({**PAYLOAD, "card": int(guess), "note": f"by {guess}"})
        sent = await rita.post(f"{path}/reviews", verdict("approve", edited=edited))
        assert (sent.status_code, "you edited the payload" in words(sent)) == (422, True)


async def test_a_search_for_a_masked_value_finds_nothing() -> None:
    async with visiting() as guest:
        rita, _, _ = await masked(guest)
        ada = await guest.as_(guest.w.admin)
        assert "Nothing here matches" in words(await rita.get(f"/inbox?q={CARD}"))
        assert "Nothing here matches" not in words(await ada.get(f"/inbox?q={CARD}"))


async def test_an_erased_thread_says_so_and_shows_no_empty_payload() -> None:
    async with visiting() as guest:
        rita, answer, path = await masked(guest)
        await rita.post(f"{path}/reviews", verdict("reject"))
        await guest.w.write(
            lambda tx: tx.erasure.erase_request(guest.w.tenant_id, answer.request.id, guest.w.clock.now)
        )
        page = await rita.get(path)
        assert page.status_code == 200
        assert "What this thread said was erased" in words(page)
        assert "the tool gets no arguments" not in words(page)
