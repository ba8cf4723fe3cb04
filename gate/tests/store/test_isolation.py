"""Another tenant's ids find nothing and change nothing, method by method."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from gate.tests.factories import START, TENANT, World, second_tenant, thread_of

from stacksona_gate.domain.agents import Verifier
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.people import PersonalToken, Session
from stacksona_gate.domain.requests import Attachment, Note, Outcome, TaskEvent, ThreadFilter
from stacksona_gate.domain.sealed_log import KeptCheckpoint
from stacksona_gate.domain.times import DAY
from stacksona_gate.domain.webhooks import Attempt, Delivery, DeliveryFilter, Notice
from stacksona_gate.store import base
from stacksona_gate.store.base import Idempotency, Tx

NOUNS = {name: value.fget.__annotations__["return"] for name, value in vars(Tx).items() if isinstance(value, property)}
OTHER = "other"
THEIRS_UNSEALED = 4
"""Entries of the other tenant's log that wait to be sealed, at most: the first tenant has more."""


@dataclass(frozen=True, slots=True)
class Ids:
    """What the first tenant has, of everything one."""

    agent: str
    request: str
    over: str
    """Another request, of which nothing is waited for any more."""
    thread: str
    user: str
    key: str
    token: str = "tok_1"


Probe = Callable[[Tx, Ids], object]

FINDS: dict[str, Probe] = {
    "tenants.get_setting": lambda tx, ids: tx.tenants.get_setting(OTHER, "mode"),
    "agents.find": lambda tx, ids: tx.agents.find(OTHER, ids.agent),
    "agents.find_by_name": lambda tx, ids: tx.agents.find_by_name(OTHER, "support-bot"),
    "agents.list_all": lambda tx, ids: [a for a in tx.agents.list_all(OTHER) if a.id == ids.agent],
    "agents.get_webhook_secret": lambda tx, ids: tx.agents.get_webhook_secret(OTHER, ids.agent),
    "verifiers.find": lambda tx, ids: tx.verifiers.find(OTHER, "ver_1"),
    "verifiers.find_by_name": lambda tx, ids: tx.verifiers.find_by_name(OTHER, "payments"),
    "verifiers.list_all": lambda tx, ids: tx.verifiers.list_all(OTHER),
    "keys.list_for": lambda tx, ids: tx.keys.list_for(OTHER, ids.agent),
    "policies.find": lambda tx, ids: tx.policies.find(OTHER, 1),
    "policies.list_all": lambda tx, ids: tx.policies.list_all(OTHER),
    "policies.list_discovered": lambda tx, ids: tx.policies.list_discovered(OTHER),
    "requests.find": lambda tx, ids: tx.requests.find(OTHER, ids.request),
    "requests.find_thread": lambda tx, ids: tx.requests.find_thread(OTHER, ids.thread),
    "requests.lock_thread": lambda tx, ids: tx.requests.lock_thread(OTHER, ids.thread),
    "requests.list_threads": lambda tx, ids: tx.requests.list_threads(OTHER, ThreadFilter(agent_ids=(ids.agent,))),
    "requests.count_folders": lambda tx, ids: sum(tx.requests.count_folders(OTHER, None, most=9).values()),
    "requests.count_pending": lambda tx, ids: tx.requests.count_pending(OTHER, most=9),
    "requests.measure": lambda tx, ids: tx.requests.measure(OTHER, after="", until="~", limit=9).requests,
    "conversation.measure_attachments": lambda tx, ids: (
        tx.conversation.measure_attachments(OTHER, after="", until="~", limit=9).bytes
    ),
    "readings.find": lambda tx, ids: [
        found
        for named in ({"request_id": ids.request}, {"thread_id": ids.thread}, {"task_id": "task-1"})
        if (found := tx.readings.find(OTHER, ids.agent, **named)) is not None
    ],
    "requests.list_pending_of_agent": lambda tx, ids: tx.requests.list_pending_of_agent(OTHER, ids.agent),
    "requests.list_without_outcome": lambda tx, ids: tx.requests.list_without_outcome(
        OTHER, START, before=None, limit=9
    ),
    "requests.count_without_outcome": lambda tx, ids: tx.requests.count_without_outcome(OTHER, START, most=9),
    "requests.list_redeemed": lambda tx, ids: tx.requests.list_redeemed(OTHER, limit=9),
    "requests.list_revisions": lambda tx, ids: tx.requests.list_revisions(OTHER, ids.request),
    "conversation.list_reviews": lambda tx, ids: tx.conversation.list_reviews(OTHER, ids.request),
    "conversation.list_notes": lambda tx, ids: tx.conversation.list_notes(OTHER, ids.request),
    "conversation.list_events": lambda tx, ids: tx.conversation.list_events(OTHER, ids.agent, "task-1", 9),
    "conversation.list_outcomes": lambda tx, ids: tx.conversation.list_outcomes(OTHER, ids.request),
    "conversation.list_flagged_outcomes": lambda tx, ids: tx.conversation.list_flagged_outcomes(OTHER, 9),
    "conversation.list_attachments": lambda tx, ids: tx.conversation.list_attachments(OTHER, ids.request),
    "conversation.find_attachment": lambda tx, ids: tx.conversation.find_attachment(OTHER, "att_1"),
    "people.find_user": lambda tx, ids: tx.people.find_user(OTHER, ids.user),
    "people.find_user_by_email": lambda tx, ids: tx.people.find_user_by_email(OTHER, "ada@example.com"),
    "people.list_users": lambda tx, ids: [u for u in tx.people.list_users(OTHER) if u.id == ids.user],
    "people.count_admins": lambda tx, ids: tx.people.count_admins(OTHER) - 1,
    "people.list_tokens": lambda tx, ids: tx.people.list_tokens(OTHER, ids.user),
    "people.revoke_token": lambda tx, ids: tx.people.revoke_token(OTHER, ids.token, START),
    "people.use_setup_code": lambda tx, ids: tx.people.use_setup_code(OTHER, "code", START),
    "people.count_failures": lambda tx, ids: tx.people.count_failures(OTHER, "account:a", 0),
    "audit.list_entries": lambda tx, ids: tx.audit.list_entries(OTHER, request_id=ids.request),
    "replays.find": lambda tx, ids: tx.replays.find(OTHER, "scope", START),
    "erasure.list_states": lambda tx, ids: tx.erasure.list_states(OTHER, after=0, limit=9),
    "erasure.find_state": lambda tx, ids: tx.erasure.find_state(OTHER, ids.request),
    "erasure.list_requests": lambda tx, ids: tx.erasure.list_requests(OTHER, after=0, limit=9),
    "erasure.list_loose_events": lambda tx, ids: tx.erasure.list_loose_events(OTHER, after=0, limit=9),
    "erasure.erase_request": lambda tx, ids: tx.erasure.erase_request(OTHER, ids.over, START),
    "erasure.erase_event": lambda tx, ids: tx.erasure.erase_event(OTHER, "evt_1", START),
    "erasure.erase_loose_events": lambda tx, ids: tx.erasure.erase_loose_events(OTHER, 2**60, 9),
    "erasure.list_replays": lambda tx, ids: tx.erasure.list_replays(OTHER, after=(0, ""), limit=9),
    "erasure.list_entries_of_user": lambda tx, ids: tx.erasure.list_entries_of_user(OTHER, ids.user, after=0, limit=9),
    "erasure.erase_entries": lambda tx, ids: tx.erasure.erase_entries(OTHER, _waiting(tx, ids)),
    "webhooks.find_endpoint": lambda tx, ids: tx.webhooks.find_endpoint(OTHER, ids.agent),
    "webhooks.lock_endpoint": lambda tx, ids: tx.webhooks.lock_endpoint(OTHER, ids.agent),
    "webhooks.find": lambda tx, ids: tx.webhooks.find(OTHER, "msg_1"),
    "webhooks.list_deliveries": lambda tx, ids: tx.webhooks.list_deliveries(OTHER, DeliveryFilter()),
    "webhooks.list_of_request": lambda tx, ids: tx.webhooks.list_of_request(OTHER, ids.request),
    "webhooks.claim": lambda tx, ids: tx.webhooks.claim(OTHER, ids.agent, START, START + 9, 9),
    "webhooks.reopen": lambda tx, ids: tx.webhooks.reopen(OTHER, "msg_2"),
    "webhooks.hurry": lambda tx, ids: tx.webhooks.hurry(OTHER, "msg_1"),
    "webhooks.give_up": lambda tx, ids: tx.webhooks.give_up(OTHER, ids.agent, START),
    "webhooks.list_attempts": lambda tx, ids: tx.webhooks.list_attempts(OTHER, "msg_1"),
    "notices.find": lambda tx, ids: tx.notices.find(OTHER, "ntc_1"),
    "notices.find_open": lambda tx, ids: tx.notices.find_open(OTHER, "webhook.dead", "{}"),
    "notices.list_open": lambda tx, ids: tx.notices.list_open(OTHER, 9),
    "notices.dismiss": lambda tx, ids: tx.notices.dismiss(OTHER, "ntc_1", START, ids.user),
    "log.list_unsealed": lambda tx, ids: [leaf for _, leaf in tx.log.list_unsealed(OTHER, 999) if ids.agent in leaf],
    "log.last_unsealed": lambda tx, ids: tx.log.last_unsealed(OTHER) in _waiting(tx, ids),
    "log.is_sealed_to": lambda tx, ids: not tx.log.is_sealed_to(OTHER, _waiting(tx, ids)[0]),
    "log.measure_backlog": lambda tx, ids: (
        tx.log.measure_backlog(OTHER, 999).entries - min(len(tx.log.list_unsealed(OTHER, 999)), THEIRS_UNSEALED)
    ),
    "log.find_tile": lambda tx, ids: tx.log.find_tile(OTHER, 0, 0),
    "log.newest": lambda tx, ids: tx.log.newest(OTHER),
    "log.find_checkpoint": lambda tx, ids: tx.log.find_checkpoint(OTHER, 1),
    "log.list_sealed": lambda tx, ids: tx.log.list_sealed(OTHER, 0, 9, below=9),
    "log.span_between": lambda tx, ids: tx.log.span_between(OTHER, 0, 2**60, below=9),
    "log.count_sealed_between": lambda tx, ids: tx.log.count_sealed_between(OTHER, 0, 2**60, below=9),
    "log.list_sealed_between": lambda tx, ids: tx.log.list_sealed_between(OTHER, 0, 2**60, start=0, below=9, limit=9),
    "log.list_sealed_of_request": lambda tx, ids: tx.log.list_sealed_of_request(
        OTHER, ids.request, 0, start=0, below=9, limit=9
    ),
}

CHANGES: dict[str, Probe] = {
    "erasure.replace_replay": lambda tx, ids: tx.erasure.replace_replay(OTHER, START // DAY, "scope", "theirs"),
    "erasure.rename_author": lambda tx, ids: tx.erasure.rename_author(OTHER, ids.user, "theirs"),
    "requests.set_outcome": lambda tx, ids: tx.requests.set_outcome(OTHER, ids.request, "executed"),
    "replays.delete_before": lambda tx, ids: tx.replays.delete_before(OTHER, START // DAY + 9, 99),
    "tenants.bump_config": lambda tx, ids: tx.tenants.bump_config(OTHER),
    "tenants.set_setting": lambda tx, ids: tx.tenants.set_setting(OTHER, "mode", "theirs"),
    "agents.set_webhook_secret": lambda tx, ids: tx.agents.set_webhook_secret(OTHER, ids.agent, "theirs"),
    "keys.end": lambda tx, ids: tx.keys.end(OTHER, ids.key, expires_at=1, revoked_at=1),
    "people.delete_sessions_of": lambda tx, ids: tx.people.delete_sessions_of(OTHER, ids.user),
    "people.insert_setup_code": lambda tx, ids: tx.people.insert_setup_code(OTHER, "theirs", START + 9),
    "people.insert_failure": lambda tx, ids: tx.people.insert_failure(OTHER, "account:a", START),
    "people.delete_failures": lambda tx, ids: tx.people.delete_failures(OTHER, "account:a"),
    "webhooks.delete": lambda tx, ids: tx.webhooks.delete(OTHER, "msg_2"),
    "contents.new_key": lambda tx, ids: tx.contents.new_key(OTHER, START),
    "contents.rewrite": lambda tx, ids: tx.contents.rewrite(OTHER, 0, None, 99),
    "contents.drop_retired": lambda tx, ids: (
        tx.contents.new_key(TENANT, START),
        tx.contents.drop_retired(OTHER, tx.contents.new_key(OTHER, START).id),
    ),
    "log.number": lambda tx, ids: _refused(lambda: tx.log.number(OTHER, 7, _waiting(tx, ids))),
    "log.put_tiles": lambda tx, ids: tx.log.put_tiles(OTHER, {(0, 0): b"theirs"}),
    "log.drop_checkpoint": lambda tx, ids: tx.log.drop_checkpoint(OTHER, 1),
}


def _waiting(tx: Tx, ids: Ids) -> list[int]:
    """The first tenant's entries that wait to be sealed."""
    return [seq for seq, leaf in tx.log.list_unsealed(TENANT, 999) if ids.agent in leaf]


class _Undone(Exception):
    """Carries what a probe found, out of a transaction that is taken back."""


def _undone(found: object) -> None:
    raise _Undone(found)


def _refused(change: Callable[[], object]) -> None:
    with pytest.raises(Conflict):
        change()


async def full(w: World) -> Ids:
    """A first tenant with one of everything, and a second one."""
    await w.new_user("admin", "Grace")
    await second_tenant(w, OTHER)
    answer = await w.ask()
    await w.ask(tool="unheard_of")
    await w.revise(answer)
    await w.review(answer, "request_changes", revision=2)
    redeemed = await w.ask(100)
    await w.redeem(redeemed)
    (key,) = await w.read(lambda tx: tx.keys.list_for(w.tenant_id, w.agent.id))
    ids = Ids(w.agent.id, answer.request.id, redeemed.request.id, thread_of(answer), w.admin.id, key.id)
    await w.write(lambda tx: _rest(tx, w.tenant_id, ids))
    return ids


def _rest(tx: Tx, tenant: str, ids: Ids) -> None:
    talk = tx.conversation
    talk.insert_note(tenant, Note("not_1", ids.request, ids.user, "Ada", "text", START))
    talk.insert_event(tenant, TaskEvent("evt_1", ids.agent, "task-1", None, "step", "", "{}", START))
    talk.insert_outcome(tenant, Outcome("out_1", ids.request, ids.agent, "failed", None, None, "flag", START))
    talk.insert_attachments(tenant, [Attachment("att_1", ids.request, 1, 0, "a", "b", 1, "c", b"d")])
    tx.tenants.set_setting(tenant, "mode", "ours")
    tx.agents.set_webhook_secret(tenant, ids.agent, "wrapped")
    tx.verifiers.insert(Verifier(tenant, "ver_1", "payments", ("issue_refund",), START, None))
    tx.people.insert_token(PersonalToken(tenant, ids.token, ids.user, "laptop", "hash", START, None))
    tx.people.insert_session(Session(tenant, "session", ids.user, "csrf", START, START + 9))
    tx.people.insert_setup_code(tenant, "code", START + 9)
    tx.people.insert_failure(tenant, "account:a", START)
    tx.replays.insert(tenant, Idempotency("scope", "fingerprint", "{}"), START)
    tx.log.number(tenant, 0, [next(seq for seq, leaf in tx.log.list_unsealed(tenant, 999) if ids.request in leaf)])
    tx.log.put_tiles(tenant, {(0, 0): b"ours"})
    tx.log.insert_checkpoint(KeptCheckpoint(tenant, 1, "root", "note", START, None))
    for name, state, due, end in (("msg_1", "pending", 0, None), ("msg_2", "dead", None, START)):
        event = Delivery(0, tenant, name, ids.agent, ids.request, ids.thread, "test", state, 1, 0, 1, due, None, 0, end)
        tx.webhooks.insert(event)
        tx.webhooks.insert_attempt(Attempt(tenant, name, 1, START, 1, 500, None, "no"))
    tx.notices.insert(Notice(0, tenant, "ntc_1", "webhook.dead", "text", "{}", START))


def everything(tx: Tx, tenant: str, ids: Ids) -> list[object]:
    """What the first tenant has, as it looks from inside."""
    return [
        [tx.tenants.find(tenant), tx.tenants.get_setting(tenant, "mode"), tx.agents.list_all(tenant)],
        [tx.agents.get_webhook_secret(tenant, ids.agent), tx.keys.list_for(tenant, ids.agent)],
        [tx.requests.find(tenant, ids.request), tx.replays.find(tenant, "scope", START)],
        [tx.conversation.list_notes(tenant, ids.request), tx.people.list_tokens(tenant, ids.user)],
        [tx.people.find_session("session"), tx.people.count_failures(tenant, "account:a", 0)],
        [tx.log.newest(tenant), tx.log.find_tile(tenant, 0, 0), tx.log.list_sealed(tenant, 0, 99, below=99)],
        [tx.webhooks.list_deliveries(tenant, DeliveryFilter()), tx.webhooks.list_attempts(tenant, "msg_2")],
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(unchanged: World) -> AsyncIterator[tuple[World, Ids]]:
    """One for all: who finds nothing changes nothing, which is looked at in the end."""
    w, ids = unchanged, await full(unchanged)
    before = await w.read(lambda tx: everything(tx, w.tenant_id, ids))
    yield w, ids
    assert await w.read(lambda tx: everything(tx, w.tenant_id, ids)) == before


@pytest.mark.parametrize("method", FINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_another_tenant_finds_nothing_with_these_ids(filled: tuple[World, Ids], method: str) -> None:
    w, ids = filled
    assert not await w.write(lambda tx: FINDS[method](tx, ids))


@pytest.mark.parametrize("method", FINDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_its_own_tenant_finds_something_with_these_ids(
    filled: tuple[World, Ids], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would be shown by another one's finding nothing."""
    w, ids = filled
    monkeypatch.setitem(globals(), "OTHER", w.tenant_id)
    with pytest.raises(_Undone) as found:
        await w.write(lambda tx: _undone(FINDS[method](tx, ids)))
    assert found.value.args[0]


@pytest.mark.parametrize("method", CHANGES)
async def test_another_tenant_changes_nothing_with_these_ids(w: World, method: str) -> None:
    ids = await full(w)
    before = await w.read(lambda tx: everything(tx, w.tenant_id, ids))
    await w.write(lambda tx: CHANGES[method](tx, ids))
    assert await w.read(lambda tx: everything(tx, w.tenant_id, ids)) == before
    assert await w.write(lambda tx: tx.people.use_setup_code(w.tenant_id, "code", START))


def test_every_method_that_names_a_tenant_is_probed_here() -> None:
    of_tenant = {
        f"{noun}.{name}"
        for noun, protocol in NOUNS.items()
        for name, method in vars(getattr(base, protocol)).items()
        if inspect.isfunction(method) and "tenant_id" in inspect.signature(method).parameters
    }
    own_rows_only = {name for name in of_tenant if name.partition(".")[2].startswith("insert_")}
    exempt = own_rows_only | {"tenants.find", "replays.insert"}
    assert of_tenant - exempt <= FINDS.keys() | CHANGES.keys()
