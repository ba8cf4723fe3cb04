"""What each noun keeps and finds, one method after the other: tenants, agents, keys, policies, audit, the hot two."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from gate.tests.factories import START, TENANT, World, unique
from gate.tests.store.inserting import each
from msgspec.structs import replace as with_changes

from stacksona_gate.domain.agents import Key, Verifier
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.times import DAY
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


@pytest.mark.parametrize("written", [World.ask, World.rotate], ids=["decision", "unit"])
async def test_the_load_counts_commits_and_writes(w: World, written: Callable[[World], Awaitable[object]]) -> None:
    before = w.store.load()
    await written(w)
    after = w.store.load()
    assert (after.commits - before.commits, after.writes - before.writes, after.unanswered) == (1, 1, 0)


async def test_a_scan_sees_what_was_committed(w: World) -> None:
    answer = await w.ask()
    assert await w.store.scan(lambda tx: tx.requests.find(TENANT, answer.request.id)) == await w.stored(answer)
