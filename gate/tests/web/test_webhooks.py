"""What pages tell of webhooks, and to whom; and what admins do there about it."""

from __future__ import annotations

from gate.tests.factories import TENANT, World, thread_of
from gate.tests.outbox import FAILED, REFUSED, claimed, deliveries, endpoint, give_address, notices, record
from gate.tests.web.browsing import visiting, words

from stacksona_gate.domain.webhooks import Result
from stacksona_gate.service.notices import add_notice


async def a_delivery(w: World, result: Result) -> str:
    """The thread of one that went as told."""
    await give_address(w)
    answer = await w.ask()
    await w.review(answer)
    for claim in await claimed(w):
        await record(w, claim, result)
    return thread_of(answer)


async def test_admins_see_what_needs_their_look_and_reviewers_do_not() -> None:
    async with visiting() as guest:
        await a_delivery(guest.w, REFUSED)
        page = words(await (await guest.as_(guest.w.admin)).get("/inbox"))
        assert "A webhook was switched off: it answered 410 Gone." in page
        assert "Agent: support-bot." in page
        assert "switched off" not in words(await (await guest.as_(guest.w.reviewer)).get("/inbox"))


async def test_a_notice_is_dismissed_from_its_page() -> None:
    async with visiting() as guest:
        w = guest.w
        await w.write(lambda tx: add_notice(tx, w.env, TENANT, "kind", "look here", {}))
        (notice,) = await notices(w)
        ada = await guest.as_(w.admin)
        assert (await ada.post(f"/notices/{notice.id}/dismissal")).headers["location"] == "/inbox"
        assert "look here" not in words(await ada.get("/inbox"))


async def test_a_webhook_is_switched_on_from_its_notice_which_goes_with_it() -> None:
    async with visiting() as guest:
        w = guest.w
        await a_delivery(w, REFUSED)
        ada = await guest.as_(w.admin)
        path = f"/webhooks/{w.agent.id}/switch-on"
        assert f'action="{path}"' in (await ada.get("/inbox")).text
        await ada.post(path)
        assert ((await endpoint(w)).switched_off_at, await notices(w)) == (None, [])


async def test_a_threads_page_shows_each_attempt_and_a_receivers_words_as_text() -> None:
    async with visiting() as guest:
        hostile = Result(0, 2_500_000, 503, "the answer was cut", "<script>alert(1)</script>\u202e")
        path = f"/inbox/{await a_delivery(guest.w, hostile)}"
        page = await (await guest.as_(guest.w.auditor)).get(path)
        assert "decision.approved waits" in " ".join(words(page).split())
        assert "1: 503, the answer was cut, 2,500 ms" in words(page)
        assert "&lt;script&gt;" in page.text
        assert "<script>alert" not in page.text
        assert "\u202e" not in page.text


async def test_reviewers_see_no_deliveries_and_auditors_cannot_send_them() -> None:
    async with visiting() as guest:
        path = f"/inbox/{await a_delivery(guest.w, FAILED)}"
        assert "what its agent was told" not in words(await (await guest.as_(guest.w.reviewer)).get(path))
        page = words(await (await guest.as_(guest.w.auditor)).get(path))
        assert "what its agent was told" in page
        assert "Send now" not in page


async def test_an_admin_sends_a_delivery_again_from_its_threads_page() -> None:
    async with visiting() as guest:
        w = guest.w
        path = f"/inbox/{await a_delivery(w, Result(0, 1, 200, None))}"
        (one,) = await deliveries(w)
        ada = await guest.as_(w.admin)
        assert "Send again" in words(await ada.get(path))
        assert (await ada.post(f"{path}/deliveries/{one.id}/replay")).status_code == 303
        assert [claim.delivery.id for claim in await claimed(w)] == [one.id]
        refused = await ada.post(f"{path}/deliveries/{one.id}/replay")
        assert (refused.status_code, "it is on its way" in words(refused)) == (409, True)


async def test_nobody_else_may_send_dismiss_or_switch() -> None:
    async with visiting() as guest:
        w = guest.w
        path = f"/inbox/{await a_delivery(w, REFUSED)}"
        (one,) = await deliveries(w)
        (notice,) = await notices(w)
        paths = [
            f"{path}/deliveries/{one.id}/replay",
            f"/notices/{notice.id}/dismissal",
            f"/webhooks/{w.agent.id}/switch-on",
        ]
        for user in (w.reviewer, w.auditor):
            visit = await guest.as_(user)
            assert [(await visit.post(one_path)).status_code for one_path in paths] == [403] * 3
        ada = await guest.as_(w.admin)
        assert [(await ada.post(one_path, {"csrf": "wrong"})).status_code for one_path in paths] == [403] * 3
        assert ((await endpoint(w)).switched_off_at is None, len(await notices(w))) == (False, 1)


async def test_reading_the_pages_changes_nothing() -> None:
    async with visiting() as guest:
        path = f"/inbox/{await a_delivery(guest.w, REFUSED)}"
        before = await guest.w.entries()
        ada = await guest.as_(guest.w.admin)
        (one,) = await deliveries(guest.w)
        for address in ("/inbox", path, f"{path}/deliveries/{one.id}/replay"):
            await ada.get(address)
        assert await guest.w.entries() == before
