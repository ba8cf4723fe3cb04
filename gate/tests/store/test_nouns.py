"""What each noun of a transaction keeps and finds, one method after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from gate.tests.factories import START, TENANT, World, thread_of, unique
from msgspec.structs import replace as with_changes

from stacksona_gate.domain.agents import Key, Verifier
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.people import PersonalToken, Session
from stacksona_gate.domain.requests import Attachment, Note, Outcome, Review, TaskEvent, ThreadFilter
from stacksona_gate.domain.times import DAY, MINUTE
from stacksona_gate.store.base import (
    Idempotency,
    Installation,
    Mismatch,
    PolicyVersion,
    Replayed,
    SigningKey,
    Stale,
    Stored,
    Submission,
    Tenant,
)


def each(insert: Callable[..., None], values: Iterable[object], *before: object) -> None:
    """Inserts one after the other."""
    for value in values:
        insert(*before, value)


# Tenants


async def test_a_tenant_is_found_as_it_was_inserted(w: World) -> None:
    tenant = Tenant("acme", "Acme", 4, 2, START)
    await w.write(lambda tx: tx.tenants.insert(tenant))
    assert await w.read(lambda tx: tx.tenants.find("acme")) == tenant


async def test_tenants_are_listed_by_id(w: World) -> None:
    await w.write(lambda tx: tx.tenants.insert(Tenant("acme", "Acme", 1, 0, START)))
    assert [tenant.id for tenant in await w.read(lambda tx: tx.tenants.list_all())] == ["acme", TENANT]


async def test_bumping_the_configuration_gives_the_next_version(w: World) -> None:
    before = await w.read(lambda tx: tx.tenants.find(TENANT))
    bumped = await w.write(lambda tx: tx.tenants.bump_config(TENANT))
    after = await w.read(lambda tx: tx.tenants.find(TENANT))
    assert before is not None
    assert after == replace(before, config_version=before.config_version + 1)
    assert bumped == before.config_version + 1


async def test_a_setting_is_replaced_when_set_again(w: World) -> None:
    for value in ("one", "two"):
        await w.write(lambda tx, value=value: tx.tenants.set_setting(TENANT, "mode", value))  # type: ignore[misc]
    assert await w.read(lambda tx: tx.tenants.get_setting(TENANT, "mode")) == "two"


async def test_a_setting_that_was_never_set_is_none(w: World) -> None:
    assert await w.read(lambda tx: tx.tenants.get_setting(TENANT, "mode")) is None


# Agents, verifiers, keys


async def test_an_agent_is_found_by_id_and_by_name(w: World) -> None:
    found = await w.read(lambda tx: (tx.agents.find(TENANT, w.agent.id), tx.agents.find_by_name(TENANT, w.agent.name)))
    assert found == (w.agent, w.agent)


async def test_an_agent_keeps_every_field_of_its_update_reviewers_included(w: World) -> None:
    changed = replace(
        w.agent,
        name="renamed",
        state="paused",
        api_access=False,
        signed_approvals=False,
        transport="webhook",
        webhook_url="https://example.com/hook",
        expires_in=60,
        requests_per_second=7,
        generation=9,
        reviewers=tuple(sorted((w.reviewer.id, w.other_reviewer.id))),
    )
    await w.write(lambda tx: tx.agents.update(changed))
    assert await w.read(lambda tx: tx.agents.list_all(TENANT)) == [changed]


async def test_an_agent_keeps_the_reviewers_it_was_inserted_with(w: World) -> None:
    agent = replace(w.agent, id="agt_2", name="second", reviewers=(w.reviewer.id,))
    await w.write(lambda tx: tx.agents.insert(agent, None))
    assert await w.read(lambda tx: tx.agents.find(TENANT, "agt_2")) == agent


async def test_two_agents_cannot_have_one_name(w: World) -> None:
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.agents.insert(replace(w.agent, id="agt_2"), None))


async def test_a_webhook_secret_survives_an_update_of_its_agent(w: World) -> None:
    await w.write(lambda tx: tx.agents.set_webhook_secret(TENANT, w.agent.id, "wrapped"))
    await w.write(lambda tx: tx.agents.update(replace(w.agent, name="renamed")))
    assert await w.read(lambda tx: tx.agents.get_webhook_secret(TENANT, w.agent.id)) == "wrapped"


async def test_an_agent_inserted_with_a_webhook_secret_has_it(w: World) -> None:
    await w.write(lambda tx: tx.agents.insert(replace(w.agent, id="agt_2", name="second"), "wrapped"))
    assert await w.read(lambda tx: tx.agents.get_webhook_secret(TENANT, "agt_2")) == "wrapped"


VERIFIER = Verifier(TENANT, "ver_1", "payments", ("issue_refund", "wire_transfer"), START, None)


async def test_a_verifier_is_found_by_id_and_name_and_in_the_list(w: World) -> None:
    await w.write(lambda tx: tx.verifiers.insert(VERIFIER))
    found = await w.read(lambda tx: [tx.verifiers.find(TENANT, "ver_1"), tx.verifiers.find_by_name(TENANT, "payments")])
    assert found == [VERIFIER] * 2
    assert await w.read(lambda tx: tx.verifiers.list_all(TENANT)) == [VERIFIER]


async def test_a_verifier_keeps_its_update(w: World) -> None:
    changed = replace(VERIFIER, name="refunds", tools=("issue_refund",), disabled_at=START + 1)
    await w.write(lambda tx: tx.verifiers.insert(VERIFIER))
    await w.write(lambda tx: tx.verifiers.update(changed))
    assert await w.read(lambda tx: tx.verifiers.find(TENANT, "ver_1")) == changed


def a_key(number: int = 1, **changes: Any) -> Key:
    key = Key(TENANT, f"key_{number}", "agent", "agt_9", f"hash-{number}", "sg_ab…", START + number, None, None)
    return replace(key, **changes)


async def test_a_key_is_found_by_its_hash(w: World) -> None:
    await w.write(lambda tx: tx.keys.insert(a_key()))
    assert await w.read(lambda tx: tx.keys.find_by_hash("hash-1")) == a_key()


async def test_keys_of_an_owner_are_listed_oldest_first(w: World) -> None:
    await w.write(lambda tx: each(tx.keys.insert, (a_key(2), a_key(1), a_key(3, owner_id="agt_8"))))
    assert await w.read(lambda tx: tx.keys.list_for(TENANT, "agt_9")) == [a_key(1), a_key(2)]


async def test_an_ended_key_says_when(w: World) -> None:
    await w.write(lambda tx: tx.keys.insert(a_key()))
    await w.write(lambda tx: tx.keys.end(TENANT, "key_1", expires_at=7, revoked_at=5))
    assert await w.read(lambda tx: tx.keys.find_by_hash("hash-1")) == a_key(expires_at=7, revoked_at=5)


async def test_a_hash_belongs_to_one_key(w: World) -> None:
    await w.write(lambda tx: tx.keys.insert(a_key()))
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.keys.insert(a_key(id="key_2")))


# Policies


async def test_a_new_policy_version_is_the_tenants_and_is_found(w: World) -> None:
    version = PolicyVersion(TENANT, 2, "version: 1\n", "why", "user", w.admin.id, START)
    await w.write(lambda tx: tx.policies.insert(version))
    assert await w.read(lambda tx: tx.policies.find(TENANT, 2)) == version
    tenant = await w.read(lambda tx: tx.tenants.find(TENANT))
    assert tenant is not None
    assert tenant.policy_version == 2


async def test_policy_versions_are_listed_newest_first(w: World) -> None:
    await w.write(lambda tx: tx.policies.insert(PolicyVersion(TENANT, 2, "d", "", "user", "u", START)))
    assert [version.version for version in await w.read(lambda tx: tx.policies.list_all(TENANT))] == [2, 1]


async def test_an_unknown_tool_is_listed_once_with_who_asked_first(w: World) -> None:
    for _ in range(2):
        await w.ask(tool="unheard_of")
        w.clock.advance(1)
    assert await w.read(lambda tx: tx.policies.list_discovered(TENANT)) == [("unheard_of", START, w.agent.id)]


async def test_a_tenant_keeps_no_more_unknown_tools_than_it_is_told_to(w: World) -> None:
    caller = await w.caller()
    for number in range(4):
        request = with_changes((await w.ask()).request, id=unique("req"), thread_id=unique("THR"))
        submission = Submission(caller.config_version, request, (), discovered=f"tool-{number}", discovered_most=2)
        assert await w.store.submit(submission) == Stored()
    assert len(await w.read(lambda tx: tx.policies.list_discovered(TENANT))) == 2


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


async def test_the_newest_request_of_a_task_wins_whatever_its_status(w: World) -> None:
    await w.approved()
    newest = await w.ask(9000)
    found = await w.read(lambda tx: tx.requests.newest_of_task(TENANT, w.agent.id, "task-1"))
    assert found == await w.stored(newest)


async def test_the_newest_request_is_the_last_one_written_even_when_the_clock_went_back(w: World) -> None:
    await w.ask()
    w.clock.advance(-3600)
    newest = await w.ask()
    found = await w.read(lambda tx: tx.requests.newest_of_task(TENANT, w.agent.id, "task-1"))
    assert found == await w.stored(newest)


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


@pytest.mark.parametrize("name", FILTERS)
async def test_threads_are_listed_by(w: World, name: str) -> None:
    await some_threads(w)
    where, expected = FILTERS[name]
    assert await listed(w, where) == expected


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


# People


async def test_a_user_is_found_by_id_and_mail_address_and_in_the_list(w: World) -> None:
    found = await w.read(
        lambda tx: [tx.people.find_user(TENANT, w.admin.id), tx.people.find_user_by_email(TENANT, w.admin.email)]
    )
    assert found == [w.admin] * 2
    assert w.admin in await w.read(lambda tx: tx.people.list_users(TENANT))


async def test_a_user_keeps_the_update(w: World) -> None:
    changed = replace(w.reviewer, email="r@example.com", name="R", role="auditor", password_hash="h", state="disabled")
    await w.write(lambda tx: tx.people.update_user(changed))
    assert await w.read(lambda tx: tx.people.find_user(TENANT, w.reviewer.id)) == changed


async def test_two_users_cannot_have_one_mail_address(w: World) -> None:
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.people.insert_user(replace(w.admin, id="usr_2")))


async def test_only_active_admins_are_counted(w: World) -> None:
    await w.write(lambda tx: tx.people.insert_user(replace(w.admin, id="usr_2", email="b@c", state="disabled")))
    assert await w.read(lambda tx: tx.people.count_admins(TENANT)) == 1


def a_session(w: World, number: int = 1, *, user: str = "") -> Session:
    return Session(TENANT, f"hash-{number}", user or w.admin.id, "csrf", START, START + number * MINUTE)


async def test_a_session_is_found_until_it_is_deleted(w: World) -> None:
    await w.write(lambda tx: tx.people.insert_session(a_session(w)))
    assert await w.read(lambda tx: tx.people.find_session("hash-1")) == a_session(w)
    await w.write(lambda tx: tx.people.delete_session("hash-1"))
    assert await w.read(lambda tx: tx.people.find_session("hash-1")) is None


async def sessions_left(w: World) -> list[int]:
    found = await w.read(lambda tx: [tx.people.find_session(f"hash-{n}") for n in (1, 2, 3)])
    return [number for number, session in enumerate(found, 1) if session is not None]


async def three_sessions(w: World) -> None:
    made = [a_session(w, 1), a_session(w, 2), a_session(w, 3, user=w.auditor.id)]
    await w.write(lambda tx: each(tx.people.insert_session, made))


async def test_sessions_of_one_person_end_together(w: World) -> None:
    await three_sessions(w)
    await w.write(lambda tx: tx.people.delete_sessions_of(TENANT, w.admin.id))
    assert await sessions_left(w) == [3]


async def test_sessions_that_are_over_are_cleared_out(w: World) -> None:
    await three_sessions(w)
    await w.write(lambda tx: tx.people.delete_sessions_before(START + 2 * MINUTE))
    assert await sessions_left(w) == [3]


async def test_a_session_needs_its_user(w: World) -> None:
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.people.insert_session(a_session(w, user="usr_nobody")))


async def test_a_personal_token_is_found_by_its_hash_and_listed(w: World) -> None:
    token = PersonalToken(TENANT, "tok_1", w.admin.id, "laptop", "hash", START, None)
    await w.write(lambda tx: tx.people.insert_token(token))
    assert await w.read(lambda tx: tx.people.find_token_by_hash("hash")) == token
    assert await w.read(lambda tx: tx.people.list_tokens(TENANT, w.admin.id)) == [token]


async def test_a_personal_token_is_revoked_once(w: World) -> None:
    token = PersonalToken(TENANT, "tok_1", w.admin.id, "laptop", "hash", START, None)
    await w.write(lambda tx: tx.people.insert_token(token))
    revoked = [await w.write(lambda tx, at=at: tx.people.revoke_token(TENANT, "tok_1", at)) for at in (7, 8)]  # type: ignore[misc]
    assert revoked == [True, False]
    assert await w.read(lambda tx: tx.people.find_token_by_hash("hash")) == replace(token, revoked_at=7)


async def test_a_setup_code_works_once(w: World) -> None:
    await w.write(lambda tx: tx.people.insert_setup_code(TENANT, "hash", START + 1))
    used = [await w.write(lambda tx: tx.people.use_setup_code(TENANT, "hash", START)) for _ in range(2)]
    assert used == [True, False]


async def test_a_setup_code_is_over_at_its_end(w: World) -> None:
    await w.write(lambda tx: tx.people.insert_setup_code(TENANT, "hash", START + 1))
    assert await w.write(lambda tx: tx.people.use_setup_code(TENANT, "hash", START + 1)) is False


async def test_a_new_setup_code_replaces_the_one_before(w: World) -> None:
    for code in ("first", "second"):
        await w.write(lambda tx, code=code: tx.people.insert_setup_code(TENANT, code, START + 1))  # type: ignore[misc]
    assert await w.write(lambda tx: tx.people.use_setup_code(TENANT, "first", START)) is False


async def failures(w: World, subject: str = "account:a", since: int = 0) -> int:
    return await w.read(lambda tx: tx.people.count_failures(TENANT, subject, since))


async def three_failures(w: World) -> None:
    made = (("account:a", START), ("account:a", START + 5), ("account:b", START))
    await w.write(lambda tx: each(lambda one: tx.people.insert_failure(TENANT, *one), made))


async def test_failures_are_counted_per_subject_and_after_a_moment(w: World) -> None:
    await three_failures(w)
    assert (await failures(w), await failures(w, since=START)) == (2, 1)


async def test_failures_of_a_subject_are_forgotten_together(w: World) -> None:
    await three_failures(w)
    await w.write(lambda tx: tx.people.delete_failures(TENANT, "account:a"))
    assert (await failures(w), await failures(w, "account:b")) == (0, 1)


async def test_one_failure_is_forgotten_by_its_moment(w: World) -> None:
    await three_failures(w)
    await w.write(lambda tx: tx.people.delete_failures(TENANT, "account:a", at=START))
    assert await failures(w, since=START) == await failures(w) == 1


async def test_old_failures_are_cleared_out(w: World) -> None:
    await three_failures(w)
    await w.write(lambda tx: tx.people.delete_failures_before(START + 5))
    assert (await failures(w), await failures(w, "account:b")) == (1, 0)


# Audit, idempotency keys, the installation


async def test_audit_entries_are_listed_newest_first_in_pages(w: World) -> None:
    for number in range(3):
        await w.ask(task=f"task-{number}")
    page = await w.read(lambda tx: tx.audit.list_entries(TENANT, limit=2))
    rest = await w.read(lambda tx: tx.audit.list_entries(TENANT, before=page[-1][0], limit=1))
    assert [entry for _, entry in [*page, *rest]] == (await w.entries())[:-4:-1]


async def test_a_threads_audit_entries_are_listed_by_its_request(w: World) -> None:
    answer = await w.approved()
    await w.ask(task="another")
    found = await w.read(lambda tx: tx.audit.list_entries(TENANT, request_id=answer.request.id))
    assert [entry.event for _, entry in found] == ["thread.approved", "thread.opened"]


async def test_an_idempotency_key_is_found_on_its_day_and_the_day_after(w: World) -> None:
    kept = Idempotency("scope", "fingerprint", "{}")
    await w.write(lambda tx: tx.replays.insert(TENANT, kept, START))
    found = await w.read(lambda tx: [tx.replays.find(TENANT, "scope", START + days * DAY) for days in (-1, 0, 1, 2)])
    assert found == [kept, kept, kept, None]


async def test_idempotency_keys_of_earlier_days_are_cleared_out(w: World) -> None:
    await w.write(lambda tx: tx.replays.insert(TENANT, Idempotency("scope", "f", "{}"), START))
    assert await w.write(lambda tx: tx.replays.delete_before(TENANT, START // DAY, 9)) == 0
    assert await w.read(lambda tx: tx.replays.find(TENANT, "scope", START)) is not None
    assert await w.write(lambda tx: tx.replays.delete_before(TENANT, START // DAY + 1, 9)) == 1
    assert await w.read(lambda tx: tx.replays.find(TENANT, "scope", START)) is None


async def test_the_installation_is_there_once_the_gate_is_built(w: World) -> None:
    found = await w.read(lambda tx: tx.installations.find())
    assert isinstance(found, Installation)
    assert found.id.startswith("gate_")


async def test_signing_keys_are_listed_oldest_first_and_all_but_one_retire(w: World) -> None:
    (first,) = await w.read(lambda tx: tx.installations.list_signing_keys())
    second = SigningKey("key_z", "public", "private", START + 1, None)
    await w.write(lambda tx: tx.installations.insert_signing_key(second))
    await w.write(lambda tx: tx.installations.retire_signing_keys(START + 2, except_kid="key_z"))
    listed = await w.read(lambda tx: tx.installations.list_signing_keys())
    assert listed == [replace(first, retired_at=START + 2), second]


# The hot two


async def submission(w: World, *, config_version: int | None = None, replay: Idempotency | None = None) -> Submission:
    caller = await w.caller()
    request = with_changes((await w.ask()).request, id=unique("req"), thread_id=unique("THR"))
    return Submission(config_version or caller.config_version, request, (), idempotency=replay)


async def test_a_submission_is_stored(w: World) -> None:
    made = await submission(w)
    assert await w.store.submit(made) == Stored()
    assert await w.read(lambda tx: tx.requests.find(TENANT, made.request.id)) is not None


async def test_a_submission_under_another_configuration_is_stale(w: World) -> None:
    made = await submission(w, config_version=1_000)
    assert await w.store.submit(made) == Stale()
    assert await w.read(lambda tx: tx.requests.find(TENANT, made.request.id)) is None


async def test_a_submission_of_an_unknown_tenant_is_stale(w: World) -> None:
    made = await submission(w)
    foreign = Submission(made.config_version, with_changes(made.request, tenant_id="nobody"), ())
    assert await w.store.submit(foreign) == Stale()


async def test_the_same_key_again_gives_the_first_answer_and_its_request(w: World) -> None:
    first = await w.ask(idempotency="once")
    key = w.retry_key("once")
    made = await submission(w, replay=Idempotency(key.scope, key.fingerprint, "{}"))
    assert await w.store.submit(made) == Replayed(first.body.decode(), await w.stored(first))


async def test_the_same_key_with_another_body_is_a_mismatch_and_writes_nothing(w: World) -> None:
    await w.ask(idempotency="once")
    made = await submission(w, replay=Idempotency(w.retry_key("once").scope, "another", "{}"))
    assert await w.store.submit(made) == Mismatch()
    assert await w.read(lambda tx: tx.requests.find(TENANT, made.request.id)) is None


async def test_the_load_counts_commits_and_writes(w: World) -> None:
    before = w.store.load()
    await w.ask()
    after = w.store.load()
    assert (after.commits - before.commits, after.writes - before.writes, after.waiting) == (1, 1, 0)


async def test_a_scan_sees_what_was_committed(w: World) -> None:
    answer = await w.ask()
    assert await w.store.scan(lambda tx: tx.requests.find(TENANT, answer.request.id)) == await w.stored(answer)
