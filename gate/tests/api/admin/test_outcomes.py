"""Unknown and flagged outcomes, and the settings of time, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.people import House, path
from gate.tests.factories import thread_of

from stacksona_gate.service.requests import Answer
from stacksona_gate.service.sweeping import sweep
from stacksona_gate.service.tasks import OutcomeReport, report_outcome

OUTCOMES = "/api/admin/outcomes"
TIMING = "/api/admin/settings/timing"
STANDARD = {"reminders": [50, 90], "outcome_within": 3600}


async def redeemed(home: House, task: str = "task-1") -> Answer:
    """A thread whose approval was used."""
    answer = await home.world.approved(task=task)
    await home.world.redeem(answer)
    return answer


async def report(home: House, answer: Answer, status: str = "executed") -> None:
    w = home.world
    caller = await w.caller()
    made = OutcomeReport(status, request_id=answer.request.id)
    await w.write(lambda tx: report_outcome(tx, w.env, caller, answer.request.task_id, made, None))


async def test_a_used_approval_without_an_outcome_is_listed_with_who_what_and_when(home: House) -> None:
    answer = await redeemed(home)
    home.world.clock.advance(3600)
    assert (await home.ada.get(OUTCOMES)).json() == {
        "outcomes": [
            {
                "state": "unknown",
                "request_id": answer.request.id,
                "thread_id": thread_of(answer),
                "task_id": "task-1",
                "agent": {"id": home.world.agent.id, "name": "support-bot"},
                "tool_name": "issue_refund",
                "subject": "Refund 500",
                "redeemed_at": "2026-11-26T12:00:00Z",
                "redeemed_by": home.world.agent.id,
                "reported": None,
                "reported_at": None,
                "flag": None,
            }
        ],
        "next_cursor": None,
    }


async def test_a_flagged_outcome_is_listed_with_what_is_wrong(home: House) -> None:
    await report(home, await home.world.ask())
    (found,) = (await home.ada.get(OUTCOMES, params={"state": "flagged"})).json()["outcomes"]
    assert (found["state"], found["reported"], found["flag"], found["reported_at"]) == (
        "flagged",
        "executed",
        "not_approved",
        "2026-11-26T12:00:00Z",
    )


@pytest.mark.parametrize("state", ["unknown", "flagged"])
async def test_pages_follow_each_other(home: House, state: str) -> None:
    for number in range(3):
        if state == "unknown":
            await redeemed(home, f"task-{number}")
        else:
            await report(home, await home.world.ask(task=f"task-{number}"))
    home.world.clock.advance(3600)
    first = (await home.ada.get(OUTCOMES, params={"state": state, "limit": 2})).json()
    rest = (await home.ada.get(OUTCOMES, params={"state": state, "cursor": first["next_cursor"]})).json()
    assert [one["task_id"] for one in first["outcomes"] + rest["outcomes"]] == ["task-2", "task-1", "task-0"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"state": "lost"},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "1"},
        {"cursor": "1.2.3"},
        {"cursor": "1.x"},
        {"cursor": ""},
        {"state": "flagged", "cursor": "1.2"},
        {"cursor": f"{2**63}.1"},
    ],
)
async def test_a_query_that_says_nothing_sensible_is_refused(home: House, query: dict[str, str]) -> None:
    assert (await home.ada.get(OUTCOMES, params=query)).status_code == 422


@pytest.mark.parametrize("where", [OUTCOMES, TIMING])
async def test_admins_and_auditors_may_look_and_reviewers_may_not(home: House, where: str) -> None:
    answers = [await client.get(where) for client in (home.ada, home.olga, home.rita, home.nobody)]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 401]


@pytest.mark.parametrize(
    ("seconds", "reported", "state"),
    [(0, None, "awaiting"), (3600, None, "unknown"), (3600, "failed", "failed"), (0, "executed", "executed")],
)
async def test_a_thread_says_what_is_known_of_its_outcome(
    home: House, seconds: int, reported: str | None, state: str
) -> None:
    answer = await redeemed(home)
    if reported is not None:
        await report(home, answer, reported)
    home.world.clock.advance(seconds)
    assert (await home.rita.get(path(thread_of(answer)))).json()["outcome_state"] == state


async def test_a_thread_that_nobody_redeemed_has_no_outcome_to_wait_for(home: House) -> None:
    assert (await home.rita.get(path(await home.thread()))).json()["outcome_state"] == "none"


async def test_a_row_says_that_its_reviewers_were_reminded(home: House) -> None:
    await home.thread()
    said = []
    for seconds in (0, 43_200, 34_560):
        home.world.clock.advance(seconds)
        await sweep(home.world.gate)
        (row,) = (await home.rita.get("/api/review/threads")).json()["threads"]
        said.append(row["attention"])
    assert said == [None, "waiting_long", "expires_soon"]


# Settings


async def test_the_settings_of_time_are_read_and_changed(home: House) -> None:
    assert (await home.olga.get(TIMING)).json() == STANDARD
    wanted = {"reminders": [25, 75, 95], "outcome_within": 60}
    assert (await home.ada.put(TIMING, json=wanted)).json() == wanted
    assert (await home.olga.get(TIMING)).json() == wanted


async def test_a_change_of_time_is_recorded_with_who_made_it(home: House) -> None:
    await home.ada.put(TIMING, json={"reminders": [], "outcome_within": 60})
    (entry,) = await home.world.entries("settings.changed")
    assert (entry.actor_kind, entry.actor_id) == ("user", home.world.admin.id)


@pytest.mark.parametrize(
    "change",
    [
        {"reminders": [90, 50]},
        {"reminders": [50, 50]},
        {"reminders": [0]},
        {"reminders": [100]},
        {"reminders": [0.5]},
        {"reminders": list(range(1, 12))},
        {"reminders": None},
        {"outcome_within": 59},
        {"outcome_within": 2_592_001},
        {"more": 1},
    ],
)
async def test_settings_that_cannot_be_are_refused(home: House, change: dict[str, Any]) -> None:
    assert (await home.ada.put(TIMING, json=STANDARD | change)).status_code == 422
    assert (await home.ada.get(TIMING)).json() == STANDARD


@pytest.mark.parametrize("name", ["olga", "rita"])
async def test_only_admins_change_them(home: House, name: str) -> None:
    client = getattr(home, name)
    assert (await client.put(TIMING, json={"reminders": [], "outcome_within": 60})).status_code == 403
    assert (await home.ada.get(TIMING)).json() == STANDARD


async def test_settings_that_somebody_changed_meanwhile_stay(home: House) -> None:
    tag = (await home.ada.get(TIMING)).headers["etag"]
    await home.ada.put(TIMING, json=STANDARD | {"outcome_within": 60})
    answer = await home.ada.put(TIMING, json=STANDARD, headers={"if-match": tag})
    assert (answer.status_code, (await home.ada.get(TIMING)).json()["outcome_within"]) == (412, 60)


async def test_metrics_count_the_unknown(home: House) -> None:
    await redeemed(home)
    home.world.clock.advance(3600)
    assert "\nstacksona_gate_unknown_outcomes 1.0\n" in (await home.ada.get("/metrics")).text
