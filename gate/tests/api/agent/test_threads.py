"""The list of an agent's own threads."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.api.agent.calls import Api, problem

THREADS = "/api/agent/threads"


async def listed(api: Api, **query: Any) -> list[str]:
    answer = await api.get(THREADS, **query)
    assert answer.status_code == 200, answer.text
    return [thread["thread_id"] for thread in answer.json()["threads"]]


async def four(api: Api) -> list[Any]:
    """One approved, one rejected, one pending, one pending of another tool; a minute apart."""
    decisions = []
    for tool in ("issue_refund", "issue_refund", "issue_refund", "wire_transfer"):
        decisions.append(await api.ask(tool_name=tool))
        api.world.clock.advance(60)
    await api.review(decisions[0])
    await api.review(decisions[1], "reject")
    return decisions


async def test_threads_come_oldest_first_and_requests_without_one_do_not(api: Api) -> None:
    made = await four(api)
    await api.ask(100)
    assert await listed(api) == [decision["thread_id"] for decision in made]


async def test_each_thread_is_the_decision_object_of_a_poll(api: Api) -> None:
    decision = await api.approved()
    answer = (await api.get(THREADS)).json()
    assert answer == {"threads": [await api.poll(decision)], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"status": "pending_review"}, [2, 3]),
        ({"status": "approved"}, [0]),
        ({"status": "rejected"}, [1]),
        ({"status": "allow"}, []),
        ({"tool": "wire_transfer"}, [3]),
        ({"tool": "nothing"}, []),
        ({"redeemed": "true"}, []),
        ({"since": "2026-11-26T12:02:00Z"}, [2, 3]),
        ({"since": "2026-11-26T14:02:00+02:00"}, [2, 3]),
        ({"since": "2026-11-26T12:01:00.000001Z"}, [2, 3]),
        ({"status": "pending_review", "tool": "issue_refund"}, [2]),
        ({"limit": "2"}, [0, 1]),
    ],
)
async def test_a_filter_leaves_what_it_says(api: Api, query: dict[str, Any], places: list[int]) -> None:
    made = await four(api)
    assert await listed(api, **query) == [made[place]["thread_id"] for place in places]


async def test_redeemed_tells_used_approvals_from_open_ones(api: Api) -> None:
    used, still_open = await api.approved(), await api.approved()
    await api.redeem(used)
    assert await listed(api, redeemed="true") == [used["thread_id"]]
    assert await listed(api, redeemed="false", status="approved") == [still_open["thread_id"]]


async def test_cursors_walk_through_everything_once(api: Api) -> None:
    made = [(await api.ask())["thread_id"] for _ in range(7)]
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    for _ in range(4):
        page = (await api.get(THREADS, limit=2, **cursor)).json()
        seen += [thread["thread_id"] for thread in page["threads"]]
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made
    assert cursor == {"cursor": None}


async def test_a_full_last_page_has_no_next_one(api: Api) -> None:
    await api.ask()
    await api.ask()
    assert (await api.get(THREADS, limit=2)).json()["next_cursor"] is None


async def test_another_agents_threads_are_not_listed(api: Api) -> None:
    other = await api.world.new_agent("other")
    await api.ask(key=other.key)
    assert await listed(api) == []


async def test_an_overdue_thread_is_listed_as_rejected(api: Api) -> None:
    await api.ask(expires_in=30)
    api.world.clock.advance(31)
    threads = (await api.get(THREADS)).json()["threads"]
    assert [(thread["status"], thread["reason_code"]) for thread in threads] == [("rejected", "expired")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "open"),
        ("redeemed", "yes"),
        ("since", "yesterday"),
        ("since", "2026-11-26T12:00:00"),
        ("since", "99999-01-01T00:00:00Z"),
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "x"),
        ("cursor", "-1"),
        ("cursor", "x"),
        ("cursor", "9" * 30),
    ],
)
async def test_a_filter_that_means_nothing_is_422(api: Api, name: str, value: str) -> None:
    problem(await api.http.get(THREADS, params={name: value}), 422)


async def test_a_list_carries_no_decision_header(api: Api) -> None:
    await api.approved()
    answer = await api.get(THREADS)
    assert not [name for name in answer.headers if name.startswith("x-gate")]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_page_of_one_says_its_decision_and_the_next_page_in_its_headers(api: Api) -> None:
    made = await four(api)
    first = await api.get(THREADS, limit=1)
    second = await api.get(THREADS, limit=1, cursor=first.headers["x-gate-next-cursor"])
    assert first.headers["x-gate-thread-id"] == made[0]["thread_id"]
    assert first.headers["x-gate-approval-token"] == first.json()["threads"][0]["approval_token"]
    assert second.headers["x-gate-thread-id"] == made[1]["thread_id"]
    assert second.headers["x-gate-decision"] == "rejected"


async def test_an_empty_page_and_a_longer_one_say_no_decision(api: Api) -> None:
    empty = await api.get(THREADS, limit=1)
    await four(api)
    longer = await api.get(THREADS, limit=4)
    for answer in (empty, longer):
        assert "x-gate-decision" not in answer.headers
        assert "x-gate-next-cursor" not in answer.headers


async def test_an_approval_that_is_used_or_over_is_not_redeemable(api: Api) -> None:
    used, left = await api.approved(), await api.approved()
    await api.redeem(used)
    assert await listed(api, redeemable="true") == [left["thread_id"]]
    api.world.clock.advance(24 * 3600)
    assert await listed(api, redeemable="true") == []
    problem(await api.get(THREADS, redeemable="false"), 422, "invalid_redeemable")
