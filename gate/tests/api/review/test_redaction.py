"""What people without the right are shown over the API, and that their edits keep what they cannot see."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from gate.tests.api.people import House, path
from gate.tests.factories import TENANT

from stacksona_gate.service import reviews, tasks
from stacksona_gate.service.requests import Answer, Ask
from stacksona_gate.service.tasks import EventReport
from stacksona_gate.service.threads import Change

REVIEW = "/api/review/threads"
SETTING = "/api/admin/redaction"
CARD = "4242424242424242"
KEY = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
SECRETS = (CARD, KEY, "ana@example.com", "Rosebud")
PAYLOAD: dict[str, Any] = {
    "amount": 500,
    "card": int(CARD),
    "to": "ana@example.com",
    "notes": [f"key {KEY}", "plain"],
    "pin": "Rosebud",
}


def ask() -> Ask:
    return Ask(
        "issue_refund",
        f"Refund to {CARD}",
        workflow_name=KEY,
        task_label="ana@example.com",
        preview=f"{CARD} and Rosebud",
        summary=(KEY, "plain"),
        payload=PAYLOAD,
        metadata={"mail": "ana@example.com", "plain": "yes"},
    )


@pytest.fixture
async def asked(home: House) -> Answer:
    """A thread that is full of secrets, one of them named by a path."""
    await home.ada.put(SETTING, json={"paths": ["pin"]})
    w = home.world
    answer = await w.ask(ask=ask())
    thread, caller = str(answer.thread_id), await w.caller()
    await w.write(lambda tx: reviews.add_note(tx, w.env, w.reviewer, thread, f"call {CARD}"))
    event = EventReport("task.note", f"used {KEY}", {"card": int(CARD), "pin": "Rosebud"}, thread)
    await w.write(lambda tx: tasks.log_event(tx, w.env, caller, "task-1", event, None))
    return answer


def leaks(answer: httpx2.Response) -> list[str]:
    return [secret for secret in SECRETS if secret in answer.text]


async def approve(client: httpx2.AsyncClient, answer: Answer, payload: object) -> httpx2.Response:
    body = {"verdict": "approve", "revision": 1, "payload": payload}
    return await client.post(path(str(answer.thread_id), "/reviews"), json=body)


async def shown(client: httpx2.AsyncClient, answer: Answer) -> dict[str, Any]:
    thread: dict[str, Any] = (await client.get(path(str(answer.thread_id)))).json()
    return thread


async def test_reviewers_and_auditors_see_placeholders_everywhere(home: House, asked: Answer) -> None:
    for client in (home.rita, home.olga):
        for address in (REVIEW, path(str(asked.thread_id)), path(str(asked.thread_id), "/export?format=json")):
            answer = await client.get(address)
            assert (answer.status_code, leaks(answer)) == (200, []), address


async def test_admins_see_everything(home: House, asked: Answer) -> None:
    thread = await shown(home.ada, asked)
    assert (thread["payload"], thread["masked"]) == (PAYLOAD, [])
    assert thread["payload_digest"] == asked.request.payload_digest


async def test_a_placeholder_says_enough_to_decide(home: House, asked: Answer) -> None:
    thread = await shown(home.rita, asked)
    assert thread["payload"] == {
        "amount": 500,
        "card": "⟦masked 1 ••••4242⟧",
        "to": "⟦masked 4 ••••@example.com⟧",
        "notes": ["key ⟦masked 2 sk_••••⟧", "plain"],
        "pin": "⟦masked 3 ••••⟧",
    }
    assert set(thread["masked"]) == {"card", "to", "notes[0]", "pin"}


async def test_a_digest_by_which_masked_values_could_be_guessed_is_hidden(home: House, asked: Answer) -> None:
    assert (await shown(home.rita, asked))["payload_digest"] == "hidden"
    harmless = await home.world.ask(500, task="task-2")
    assert (await shown(home.rita, harmless))["payload_digest"] == harmless.request.payload_digest


async def test_the_audit_api_withholds_masked_values_and_their_salts(home: House, asked: Answer) -> None:
    page = await home.olga.get("/api/admin/audit")
    assert leaks(page) == []
    opened = next(one for one in page.json()["entries"] if one["leaf"]["event"] == "thread.opened")
    assert opened["private"]["payload"].keys() == {"redacted", "shown"}
    assert opened["private"]["summary"]["shown"][1] == "plain"
    assert opened["private"].keys() == opened["leaf"]["commitments"].keys()
    assert leaks(await home.ada.get("/api/admin/audit")) != []


@pytest.mark.parametrize("looked_for", [CARD, "Refund to 4242424242424242", "42424242"])
async def test_a_search_does_not_confirm_a_masked_value(home: House, asked: Answer, looked_for: str) -> None:
    await home.world.ask(500, task="task-2")
    query: dict[str, str | int] = {"q": looked_for, "limit": 1}
    found = (await home.rita.get(REVIEW, params=query)).json()
    assert found == {"threads": [], "next_cursor": None}
    assert len((await home.ada.get(REVIEW, params=query)).json()["threads"]) == 1


async def test_a_search_still_finds_what_is_shown_across_pages(home: House) -> None:
    for number in range(5):
        await home.thread(ask=Ask("issue_refund", f"banana {number}"))
        await home.thread(ask=Ask("issue_refund", f"mail {number} to ana@example.com"))
    found: list[str] = []
    query: dict[str, str | int] = {"q": "ana", "limit": 2}
    while query.get("cursor", "more"):
        page = (await home.rita.get(REVIEW, params=query)).json()
        found += [thread["subject"] for thread in page["threads"]]
        query["cursor"] = page["next_cursor"] or ""
    assert found == [f"banana {number}" for number in range(4, -1, -1)]


async def test_an_edit_keeps_what_its_reviewer_cannot_see(home: House, asked: Answer) -> None:
    payload = (await shown(home.rita, asked))["payload"]
    payload["amount"] = 400
    answer = await approve(home.rita, asked, payload)
    assert (answer.status_code, leaks(answer)) == (200, [])
    stored = await home.world.stored(asked)
    assert (stored.status, stored.edited) == ("approved", True)
    assert json.loads(stored.payload) == {**PAYLOAD, "amount": 400}


async def test_what_is_sent_back_untouched_is_no_edit(home: House, asked: Answer) -> None:
    await approve(home.rita, asked, (await shown(home.rita, asked))["payload"])
    stored = await home.world.stored(asked)
    assert (stored.edited, stored.revision, stored.payload_digest) == (False, 1, asked.request.payload_digest)


@pytest.mark.parametrize(
    "change",
    [
        {"card": "⟦masked 4 ••••@example.com⟧"},
        {"amount": "⟦masked 1 ••••4242⟧"},
        {"card": "••••4242"},
        {"card": "⟦masked 9 ••••4242⟧"},
        {"notes": ["plain", "key ⟦masked 2 sk_••••⟧"]},
        {"extra": {"⟦masked 1 ••••4242⟧": 1}},
    ],
)
async def test_a_placeholder_that_was_moved_or_forged_is_422(
    home: House, asked: Answer, change: dict[str, object]
) -> None:
    payload = (await shown(home.rita, asked))["payload"] | change
    answer = await approve(home.rita, asked, payload)
    assert (answer.status_code, answer.json()["code"], leaks(answer)) == (422, "masked_value", [])
    assert (await home.world.stored(asked)).status == "pending_review"


async def test_a_masked_value_may_be_replaced_whole(home: House, asked: Answer) -> None:
    payload = (await shown(home.rita, asked))["payload"] | {"to": "rob@example.org"}
    await approve(home.rita, asked, payload)
    assert json.loads((await home.world.stored(asked)).payload) == {**PAYLOAD, "to": "rob@example.org"}


async def test_the_rule_that_refuses_an_edit_names_no_masked_value(home: House, asked: Answer) -> None:
    await home.world.apply(
        "version: 1\ntools:\n  issue_refund:\n    rules:\n"
        "      - {name: R, type: upper_limit, parameter: card, limit: 5, action: reject}\n"
    )
    answer = await approve(home.rita, asked, (await shown(home.rita, asked))["payload"] | {"amount": 1})
    assert (answer.status_code, answer.json()["code"], leaks(answer)) == (422, "refused_by_rule", [])


async def test_edits_after_revisions_put_back_the_newest_values(home: House, asked: Answer) -> None:
    w = home.world
    newer = {**PAYLOAD, "card": 5555555555554444, "pin": "Xanadu"}
    await w.revise(asked, change=Change(payload=newer))
    thread = await shown(home.rita, asked)
    assert thread["payload"]["card"] != thread["revisions"][0]["payload"]["card"]
    body = {"verdict": "approve", "revision": 2, "payload": thread["payload"] | {"amount": 1}}
    assert (await home.rita.post(path(str(asked.thread_id), "/reviews"), json=body)).status_code == 200
    assert json.loads((await w.stored(asked)).payload) == {**newer, "amount": 1}


async def test_agents_read_what_they_sent(home: House, asked: Answer) -> None:
    assert json.loads((await home.world.poll(asked)).answer.body)["payload"] == PAYLOAD
    await approve(home.rita, asked, None)
    redeemed = await home.world.redeem(asked, token=await home.world.token(asked))
    assert json.loads(redeemed.request.payload) == PAYLOAD  # type: ignore[union-attr]


async def test_a_change_of_what_is_masked_holds_at_once(home: House, asked: Answer) -> None:
    assert "card" in (await shown(home.rita, asked))["masked"]
    await home.ada.put(SETTING, json={"patterns": []})
    assert (await shown(home.rita, asked))["payload"] == PAYLOAD
    await home.ada.put(SETTING, json={"reveal_to": []})
    assert leaks(await home.ada.get(path(str(asked.thread_id)))) == ["Rosebud"]


async def test_a_right_may_be_given_to_one_person(home: House, asked: Answer) -> None:
    await home.ada.put(SETTING, json={"reveal_to": ["admin", home.world.reviewer.id]})
    assert (await shown(home.rita, asked))["payload"] == PAYLOAD
    assert (await shown(home.rob, asked))["payload"] != PAYLOAD


async def test_a_choice_that_was_damaged_hides_everything_from_everybody(home: House, asked: Answer) -> None:
    w = home.world
    await w.write(lambda tx: tx.tenants.set_setting(TENANT, "redaction", "{broken"))
    for client in (home.rita, home.ada):
        answer = await client.get(path(str(asked.thread_id)))
        assert (answer.status_code, leaks(answer)) == (200, [])
        assert answer.json()["payload"] == {"⟦masked ••••⟧": "⟦masked ••••⟧"}
    assert (await approve(home.rita, asked, {"amount": 1})).json()["code"] == "masked_value"
