"""People: users, sessions, personal tokens, setup codes and failed attempts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate.tests.factories import START, TENANT, World
from gate.tests.store.inserting import each

from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.people import PersonalToken, Session
from stacksona_gate.domain.times import MINUTE


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
