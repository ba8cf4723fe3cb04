"""Deciding, claiming, noting over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.people import House, path, thread_id


def said(verdict: str = "approve", **fields: Any) -> dict[str, Any]:
    return {"verdict": verdict, "message": "looked at it", "revision": 1, **fields}


@pytest.mark.parametrize(("verdict", "status"), [("approve", "approved"), ("reject", "rejected")])
async def test_a_verdict_decides(home: House, verdict: str, status: str) -> None:
    thread = await home.thread()
    body = (await home.rita.post(path(thread, "/reviews"), json=said(verdict))).json()
    assert (body["status"], body["reason_code"], body["message"]) == (status, "reviewer", "looked at it")
    assert [one["reviewer"]["name"] for one in body["reviews"]] == ["Rita"]


async def test_asking_for_changes_decides_nothing(home: House) -> None:
    thread = await home.thread()
    body = (await home.rita.post(path(thread, "/reviews"), json=said("request_changes"))).json()
    assert (body["status"], body["revision_requested"], body["feedback"]) == ("pending_review", True, "looked at it")


async def test_asking_for_changes_needs_words(home: House) -> None:
    thread = await home.thread()
    answer = await home.rita.post(path(thread, "/reviews"), json=said("request_changes", message=" "))
    assert answer.status_code == 422


async def test_an_admin_decides_too(home: House) -> None:
    thread = await home.thread()
    assert (await home.ada.post(path(thread, "/reviews"), json=said())).json()["status"] == "approved"


async def test_a_revision_that_moved_is_a_conflict_and_nothing_is_decided(home: House) -> None:
    answer = await home.world.ask(500)
    await home.world.revise(answer, 400)
    thread = thread_id(answer)
    refused = await home.rita.post(path(thread, "/reviews"), json=said())
    assert (refused.status_code, refused.json()["code"]) == (409, "revision_moved")
    assert (await home.rita.get(path(thread))).json()["status"] == "pending_review"
    assert (await home.rita.post(path(thread, "/reviews"), json=said(revision=2))).json()["status"] == "approved"


async def test_a_second_verdict_is_a_conflict(home: House) -> None:
    thread = await home.thread()
    await home.rita.post(path(thread, "/reviews"), json=said())
    answer = await home.rob.post(path(thread, "/reviews"), json=said("reject"))
    assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")


async def test_a_thread_whose_time_is_over_is_a_conflict_and_its_expiry_is_kept(home: House) -> None:
    thread = await home.thread()
    home.world.clock.advance(86_400)
    assert (await home.rita.post(path(thread, "/reviews"), json=said())).status_code == 409
    body = (await home.rita.get(path(thread))).json()
    assert (body["status"], body["reason_code"]) == ("rejected", "expired")
    assert "thread.expired" in await home.events()


async def test_an_edited_payload_is_what_is_approved(home: House) -> None:
    thread = await home.thread(500)
    body = (await home.rita.post(path(thread, "/reviews"), json=said(payload={"amount": 300}))).json()
    assert (body["status"], body["edited"], body["payload"], body["revision"]) == ("approved", True, {"amount": 300}, 2)
    assert body["revisions"][0]["payload"] == {"amount": 500}


async def test_a_rule_still_refuses_an_edited_payload(home: House) -> None:
    thread = await home.thread(500)
    answer = await home.rita.post(path(thread, "/reviews"), json=said(payload={"amount": 6000}))
    assert (answer.status_code, answer.json()["code"]) == (422, "refused_by_rule")
    body = (await home.rita.get(path(thread))).json()
    assert (body["status"], body["payload"], body["reviews"]) == ("pending_review", {"amount": 500}, [])


async def test_an_edited_payload_goes_with_approve_only(home: House) -> None:
    thread = await home.thread()
    assert (await home.rita.post(path(thread, "/reviews"), json=said("reject", payload={"a": 1}))).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"verdict": "approve", "message": "no revision"},
        said("allow"),
        said(revision=0),
        said(revision="1"),
        said(message="x" * 10_001),
        said(payload=[1]),
        said(paylod={"amount": 1}),
    ],
)
async def test_a_body_with_a_wrong_field_decides_nothing(home: House, body: dict[str, Any]) -> None:
    thread = await home.thread()
    assert (await home.rita.post(path(thread, "/reviews"), json=body)).status_code == 422
    assert (await home.rita.get(path(thread))).json()["status"] == "pending_review"


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b'{"verdict":"reject","verdict":"approve","revision":1}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b"verdict=approve&revision=1", "application/x-www-form-urlencoded", 415),
        (b'{"verdict":"approve","revision":1,"message":"' + b"x" * 300_000 + b'"}', "application/json", 413),
    ],
)
async def test_a_body_that_cannot_be_read_in_one_way_decides_nothing(
    home: House, raw: bytes, content_type: str, status: int
) -> None:
    thread = await home.thread()
    answer = await home.rita.post(path(thread, "/reviews"), content=raw, headers={"content-type": content_type})
    assert answer.status_code == status
    assert (await home.rita.get(path(thread))).json()["status"] == "pending_review"


async def test_a_claim_is_seen_kept_and_given_back(home: House) -> None:
    thread = await home.thread()
    assert (await home.rita.put(path(thread, "/claim"))).json()["claimed_by"]["name"] == "Rita"
    assert (await home.rita.put(path(thread, "/claim"))).status_code == 200
    assert (await home.rob.put(path(thread, "/claim"))).json()["code"] == "claimed"
    assert (await home.rob.delete(path(thread, "/claim"))).status_code == 403
    assert (await home.rita.delete(path(thread, "/claim"))).json()["claimed_by"] is None


async def test_a_claim_is_free_again_after_fifteen_minutes(home: House) -> None:
    thread = await home.thread()
    await home.rita.put(path(thread, "/claim"))
    home.world.clock.advance(15 * 60)
    assert (await home.rob.put(path(thread, "/claim"))).json()["claimed_by"]["name"] == "Rob"


async def test_an_admin_takes_anybodys_claim_back(home: House) -> None:
    thread = await home.thread()
    await home.rita.put(path(thread, "/claim"))
    assert (await home.ada.delete(path(thread, "/claim"))).json()["claimed_by"] is None


async def test_a_note_is_for_reviewers(home: House) -> None:
    thread = await home.thread()
    answer = await home.rita.post(path(thread, "/notes"), json={"text": "called them"})
    assert (answer.status_code, answer.json()["text"], answer.json()["author"]["name"]) == (201, "called them", "Rita")
    assert [note["text"] for note in (await home.rob.get(path(thread))).json()["notes"]] == ["called them"]


@pytest.mark.parametrize(("text", "status"), [("", 422), ("x" * 10_000, 201), ("x" * 10_001, 422)])
async def test_a_note_has_one_to_ten_thousand_characters(home: House, text: str, status: int) -> None:
    thread = await home.thread()
    assert (await home.rita.post(path(thread, "/notes"), json={"text": text})).status_code == status
