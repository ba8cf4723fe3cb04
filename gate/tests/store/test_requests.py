"""Requests and what is said about them: what is kept, found, listed and counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from gate.tests.factories import START, TENANT, World, thread_of
from gate.tests.store.inserting import each
from msgspec.structs import replace as with_changes

from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.requests import Attachment, Note, Outcome, Review, TaskEvent, ThreadFilter
from stacksona_gate.domain.times import DAY

# Requests


async def test_a_request_is_found_as_it_was_asked(w: World) -> None:
    answer = await w.ask(payload={"amount": 500, "note": 'ünï"\u0000'})
    stored = await w.stored(answer)
    assert with_changes(stored, seq=0) == answer.request


async def test_a_thread_is_found_and_locked_by_its_id(w: World) -> None:
    answer = await w.ask()
    thread_id = thread_of(answer)
    found = await w.write(
        lambda tx: (tx.requests.find_thread(TENANT, thread_id), tx.requests.lock_thread(TENANT, thread_id))
    )
    assert found == (await w.stored(answer),) * 2


@pytest.mark.parametrize(("was_status", "was_revision"), [("approved", 1), ("pending_review", 2)])
async def test_an_update_from_another_status_or_revision_changes_nothing(
    w: World, was_status: str, was_revision: int
) -> None:
    answer = await w.ask()
    stored = await w.stored(answer)
    changed = with_changes(stored, message="changed")
    done = await w.write(lambda tx: tx.requests.update(changed, was_status=was_status, was_revision=was_revision))
    assert (done, await w.stored(answer)) == (False, stored)


async def test_an_update_keeps_what_may_move_and_leaves_what_may_not(w: World) -> None:
    answer = await w.ask()
    stored = await w.stored(answer)
    changed = with_changes(stored, message="m", feedback="f", revision=2, claimed_by=w.admin.id, tool_name="another")
    done = await w.write(lambda tx: tx.requests.update(changed, was_status="pending_review", was_revision=1))
    assert (done, await w.stored(answer)) == (True, with_changes(changed, tool_name=stored.tool_name))


async def test_an_approved_request_without_an_approval_cannot_be_written(w: World) -> None:
    stored = await w.stored(await w.ask())
    approved = with_changes(stored, status="approved", decided_at=START, approved_by=0)
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.requests.update(approved, was_status="pending_review", was_revision=1))


async def listed(w: World, where: ThreadFilter) -> list[str]:
    return [request.subject for request in await w.read(lambda tx: tx.requests.list_threads(TENANT, where))]


async def some_threads(w: World) -> None:
    """Refunds of 501 to 504: new, being looked at, approved and redeemed, rejected. And two that are no threads."""
    await w.ask(501)
    claimed = await w.stored(await w.ask(502))
    await w.write(
        lambda tx: tx.requests.update(
            with_changes(claimed, claimed_by=w.reviewer.id, claimed_at=START),
            was_status="pending_review",
            was_revision=1,
        )
    )
    await w.redeem(await w.approved(503))
    await w.review(await w.ask(504), "reject")
    await w.ask(1)
    await w.ask(9000)


FILTERS: dict[str, tuple[ThreadFilter, list[str]]] = {
    "nothing": (ThreadFilter(), ["Refund 504", "Refund 503", "Refund 502", "Refund 501"]),
    "new": (ThreadFilter(folder="new"), ["Refund 501"]),
    "reviewing": (ThreadFilter(folder="reviewing"), ["Refund 502"]),
    "approved": (ThreadFilter(folder="approved"), ["Refund 503"]),
    "rejected": (ThreadFilter(folder="rejected"), ["Refund 504"]),
    "status": (ThreadFilter(status="pending_review"), ["Refund 502", "Refund 501"]),
    "redeemed": (ThreadFilter(redeemed=True), ["Refund 503"]),
    "unredeemed": (ThreadFilter(redeemed=False, folder="approved"), []),
    "text in the subject": (ThreadFilter(text="FUND 504"), ["Refund 504"]),
    "a percent sign is itself": (ThreadFilter(text="Refund%"), []),
    "an underscore is itself": (ThreadFilter(text="Refund_50"), []),
    "nobody's agents": (ThreadFilter(agent_ids=()), []),
    "another agent": (ThreadFilter(agent_ids=("agt_other",)), []),
    "another tool": (ThreadFilter(tool_name="wire_transfer"), []),
    "this tool": (ThreadFilter(tool_name="issue_refund", limit=1), ["Refund 504"]),
    "another risk": (ThreadFilter(risk_level="critical"), []),
    "this risk, oldest first": (
        ThreadFilter(risk_level="medium", oldest_first=True, limit=2),
        ["Refund 501", "Refund 502"],
    ),
    "later": (ThreadFilter(since=START + 1), []),
    "since then": (ThreadFilter(since=START, limit=1), ["Refund 504"]),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def with_threads(unchanged: World) -> World:
    """One for all that only read."""
    await some_threads(unchanged)
    return unchanged


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.asyncio(loop_scope="module")
async def test_threads_are_listed_by(with_threads: World, name: str) -> None:
    where, expected = FILTERS[name]
    assert await listed(with_threads, where) == expected


async def test_cursors_walk_through_all_threads_in_either_direction(w: World) -> None:
    await some_threads(w)
    middle = (await w.read(lambda tx: tx.requests.list_threads(TENANT, ThreadFilter(limit=2))))[-1].seq
    assert await listed(w, ThreadFilter(before=middle)) == ["Refund 502", "Refund 501"]
    assert await listed(w, ThreadFilter(after=middle, oldest_first=True)) == ["Refund 504"]


async def test_folders_are_counted_no_further_than_asked(w: World) -> None:
    await some_threads(w)
    await w.ask(505)
    counted = await w.read(lambda tx: tx.requests.count_folders(TENANT, None, most=1))
    assert counted == {"new": 1, "reviewing": 1, "approved": 1, "rejected": 1}


async def test_folders_of_nobodys_agents_are_empty(w: World) -> None:
    await some_threads(w)
    counted = await w.read(lambda tx: tx.requests.count_folders(TENANT, (), most=10))
    assert set(counted.values()) == {0}


async def test_folders_count_the_given_agents_only(w: World) -> None:
    await some_threads(w)
    counted = await w.read(lambda tx: tx.requests.count_folders(TENANT, (w.agent.id, "agt_other"), most=10))
    assert counted["new"] == 1


async def test_open_threads_of_an_agent_are_listed(w: World) -> None:
    await some_threads(w)
    found = await w.read(lambda tx: tx.requests.list_pending_of_agent(TENANT, w.agent.id))
    assert [request.subject for request in found] == ["Refund 501", "Refund 502"]


async def test_overdue_threads_are_listed_from_the_very_moment_on(w: World) -> None:
    await w.ask()
    due = START + DAY
    assert await w.read(lambda tx: tx.requests.list_overdue(due - 1, 10)) == []
    assert len(await w.read(lambda tx: tx.requests.list_overdue(due, 10))) == 1


async def test_an_archived_revision_is_listed_as_it_was(w: World) -> None:
    stored = await w.stored(await w.ask())
    await w.write(lambda tx: tx.requests.archive_revision(stored, START + 5))
    (kept,) = await w.read(lambda tx: tx.requests.list_revisions(TENANT, stored.id))
    assert (kept.revision, kept.payload, kept.payload_digest, kept.created_at) == (
        1,
        stored.payload,
        stored.payload_digest,
        START + 5,
    )


# Conversation


async def test_reviews_notes_and_outcomes_are_listed_in_the_order_they_came(w: World) -> None:
    reviews = [
        Review(f"rev_{n}", "req_1", n, "usr_1", "Rita", "request_changes", f"message {n}", START) for n in (1, 2)
    ]
    notes = [Note(f"not_{n}", "req_1", "usr_1", "Rita", f"text {n}", START) for n in (1, 2)]
    outcomes = [Outcome(f"out_{n}", "req_1", w.agent.id, "failed", f"detail {n}", None, None, START) for n in (1, 2)]

    def insert(tx: Any) -> None:
        for review, note, outcome in zip(reviews, notes, outcomes, strict=True):
            tx.conversation.insert_review(TENANT, review)
            tx.conversation.insert_note(TENANT, note)
            tx.conversation.insert_outcome(TENANT, outcome)

    await w.write(insert)
    assert await w.read(lambda tx: tx.conversation.list_reviews(TENANT, "req_1")) == reviews
    assert await w.read(lambda tx: tx.conversation.list_notes(TENANT, "req_1")) == notes
    assert await w.read(lambda tx: tx.conversation.list_outcomes(TENANT, "req_1")) == outcomes


async def test_a_person_gives_one_final_verdict_per_revision(w: World) -> None:
    review = Review("rev_1", "req_1", 1, "usr_1", "Rita", "approve", "", START)
    await w.write(lambda tx: tx.conversation.insert_review(TENANT, review))
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.conversation.insert_review(TENANT, replace(review, id="rev_2", verdict="reject")))


async def test_the_newest_events_of_a_task_are_listed_oldest_first(w: World) -> None:
    events = [TaskEvent(f"evt_{n}", w.agent.id, "task-1", None, "step", f"{n}", "{}", START) for n in range(5)]
    await w.write(lambda tx: each(tx.conversation.insert_event, events, TENANT))
    assert await w.read(lambda tx: tx.conversation.list_events(TENANT, w.agent.id, "task-1", 3)) == events[2:]


async def test_flagged_outcomes_are_listed_newest_first_and_others_not(w: World) -> None:
    flags = (None, "not_redeemed", "not_approved")
    outcomes = [
        Outcome(f"out_{n}", "req_1", "agt", "executed", None, None, flag, START) for n, flag in enumerate(flags)
    ]
    await w.write(lambda tx: each(tx.conversation.insert_outcome, outcomes, TENANT))
    (newest, older) = await w.read(lambda tx: tx.conversation.list_flagged_outcomes(TENANT, 10))
    assert [newest[1], older[1]] == [outcomes[2], outcomes[1]]
    assert await w.read(lambda tx: tx.conversation.list_flagged_outcomes(TENANT, 1)) == [newest]
    assert await w.read(lambda tx: tx.conversation.list_flagged_outcomes(TENANT, 9, before=newest[0])) == [older]


async def test_attachments_are_listed_without_their_data_and_found_with_it(w: World) -> None:
    data = bytes(range(256))
    files = [Attachment(f"att_{n}", "req_1", 1, n, f"{n}.png", "image/png", 256, "sha-256:0", data) for n in (1, 0)]
    await w.write(lambda tx: tx.conversation.insert_attachments(TENANT, files))
    shown = await w.read(lambda tx: tx.conversation.list_attachments(TENANT, "req_1"))
    assert shown == [replace(files[1], data=b""), replace(files[0], data=b"")]
    assert await w.read(lambda tx: tx.conversation.find_attachment(TENANT, "att_1")) == files[0]
