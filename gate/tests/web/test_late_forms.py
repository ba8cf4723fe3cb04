"""Forms that are still on their way when the session ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from gate.tests.factories import TENANT, thread_of
from gate.tests.web.browsing import visiting

FORMS = ("reviews", "notes", "claim", "release")


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_whose_session_ends_while_it_is_on_its_way_does_nothing(form: str) -> None:
    async with visiting() as guest:
        answer, rita = await guest.w.ask(), await guest.as_(guest.w.reviewer)
        path = f"/inbox/{thread_of(answer)}"
        if form == "release":
            await rita.post(f"{path}/claim")
        before = await guest.w.entries()
        csrf = rita.session.csrf if rita.session else ""
        fields = urlencode({"csrf": csrf, "note": "hello", "verdict": "approve", "revision": "1"})

        async def slowly() -> AsyncIterator[bytes]:
            yield fields[:5].encode()
            await guest.w.write(lambda tx: tx.people.delete_sessions_of(TENANT, guest.w.reviewer.id))
            yield fields[5:].encode()

        headers = {"content-type": "application/x-www-form-urlencoded", "cookie": f"stacksona_session={rita.cookie}"}
        sent = await rita.client.post(f"{path}/{form}", content=slowly(), headers=headers)
        assert (sent.status_code, await guest.w.entries()) == (401, before)
        assert (await guest.w.stored(answer)).status == "pending_review"
