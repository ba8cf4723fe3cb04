"""Signing in, sessions, personal tokens, the first admin, roles."""

from __future__ import annotations

import asyncio
from collections import Counter
from unittest.mock import Mock

import pytest
from gate.tests.factories import PASSWORD, TENANT, World, password_hash

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Conflict, Forbidden, GateError, Invalid, NotFound, TooMany, Unauthenticated
from stacksona_gate.domain.people import User
from stacksona_gate.domain.times import HOUR
from stacksona_gate.service import people
from stacksona_gate.service.people import SignedIn
from stacksona_gate.service.tenants import resume_tenant, suspend_tenant
from stacksona_gate.store.base import Tenant


async def person(w: World, role: str = "reviewer", name: str = "Pia") -> User:
    return await w.new_user(role, name, hashed=password_hash())


async def sign_in(
    w: World, password: str = PASSWORD, *, email: str = "pia@example.com", address: str = "::1"
) -> SignedIn:
    return await people.sign_in(w.gate, TENANT, email, password, address)


async def change(w: World, user: User, **changes: object) -> User:
    return await w.write(lambda tx: people.change_user(tx, w.env, COMMAND_LINE, TENANT, user.id, **changes))  # type: ignore[arg-type]


async def test_the_right_password_starts_a_session(w: World) -> None:
    user = await person(w)
    signed_in = await sign_in(w)
    found = await people.person_of_session(w.gate, signed_in.cookie)
    assert found is not None
    assert found.user == user


@pytest.mark.parametrize(("email", "password"), [("pia@example.com", "wrong"), ("nobody@example.com", PASSWORD)])
async def test_a_wrong_password_and_an_unknown_address_are_told_apart_by_nobody(
    w: World, email: str, password: str
) -> None:
    await person(w)
    with pytest.raises(Unauthenticated) as refused:
        await sign_in(w, password, email=email)
    assert str(refused.value) == "mail address or password is wrong"


async def test_the_sixth_guess_at_an_account_is_not_even_looked_at(w: World) -> None:
    await person(w)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await sign_in(w, "wrong")
    with pytest.raises(TooMany):
        await sign_in(w)


async def test_after_a_quarter_of_an_hour_the_account_opens_again(w: World) -> None:
    await person(w)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await sign_in(w, "wrong")
    w.clock.advance(15 * 60)
    assert (await sign_in(w)).user.name == "Pia"


async def test_guesses_in_parallel_count_like_guesses_in_a_row(w: World) -> None:
    await person(w)
    results = await asyncio.gather(*(sign_in(w, f"guess {n}") for n in range(20)), return_exceptions=True)
    assert Counter(type(result) for result in results) == {Unauthenticated: 5, TooMany: 15}


async def test_an_address_that_guesses_at_many_accounts_is_throttled(w: World) -> None:
    guesses = (sign_in(w, "wrong", email=f"user-{n}@example.com") for n in range(40))
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert Counter(type(result) for result in results) == {Unauthenticated: 30, TooMany: 10}


async def test_a_right_password_clears_the_accounts_failures(w: World) -> None:
    await person(w)
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            await sign_in(w, "wrong")
    await sign_in(w)
    assert await w.read(lambda tx: tx.people.count_failures(TENANT, "account:pia@example.com", 0)) == 0


async def test_refused_sign_ins_are_recorded_once_a_minute(w: World) -> None:
    await person(w)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await sign_in(w, "wrong")
    assert len(await w.entries("session.refused")) == 1


async def test_a_session_ends_after_twelve_hours(w: World) -> None:
    await person(w)
    signed_in = await sign_in(w)
    w.clock.now += 12 * HOUR
    assert await people.person_of_session(w.gate, signed_in.cookie) is None


async def test_a_session_ends_when_its_owner_signs_out(w: World) -> None:
    await person(w)
    signed_in = await sign_in(w)
    found = await people.person_of_session(w.gate, signed_in.cookie)
    assert found is not None
    await w.write(lambda tx: people.sign_out(tx, w.env, found))
    assert await people.person_of_session(w.gate, signed_in.cookie) is None


@pytest.mark.parametrize("changes", [{"role": "auditor"}, {"active": False}, {"password_hash": "another"}], ids=str)
async def test_a_session_ends_with_its_owners_role_account_or_password(w: World, changes: dict[str, object]) -> None:
    user = await person(w)
    signed_in = await sign_in(w)
    await change(w, user, **changes)
    assert await people.person_of_session(w.gate, signed_in.cookie) is None


async def test_a_disabled_person_does_not_sign_in(w: World) -> None:
    await change(w, await person(w), active=False)
    with pytest.raises(Unauthenticated):
        await sign_in(w)


async def test_a_personal_token_is_its_owner_until_it_is_revoked(w: World) -> None:
    token, secret = await w.write(lambda tx: people.create_token(tx, w.env, COMMAND_LINE, w.admin, "laptop"))
    assert (await people.person_of_token(w.gate, secret)).user == w.admin
    await w.write(lambda tx: people.revoke_token(tx, w.env, COMMAND_LINE, w.admin, token.id))
    with pytest.raises(Unauthenticated):
        await people.person_of_token(w.gate, secret)


async def test_a_disabled_persons_token_is_nobody(w: World) -> None:
    _, secret = await w.write(lambda tx: people.create_token(tx, w.env, COMMAND_LINE, w.reviewer, "laptop"))
    await change(w, w.reviewer, active=False)
    with pytest.raises(Unauthenticated):
        await people.person_of_token(w.gate, secret)


async def test_somebody_elses_token_is_not_revoked(w: World) -> None:
    token, _ = await w.write(lambda tx: people.create_token(tx, w.env, COMMAND_LINE, w.admin, "laptop"))
    with pytest.raises(NotFound):
        await w.write(lambda tx: people.revoke_token(tx, w.env, COMMAND_LINE, w.reviewer, token.id))


# The first admin


async def empty_workspace(w: World) -> str:
    """A setup code of a workspace with nobody in it."""
    await w.write(lambda tx: tx.tenants.insert(Tenant("new", "new", 1, 0, w.env.now())))
    code = await w.write(lambda tx: people.new_setup_code(tx, w.env, "new"))
    assert code is not None
    return code


async def use(w: World, code: str, email: str = "first@example.com") -> User:
    return await people.use_setup_code(w.gate, code, email, PASSWORD)


async def test_the_setup_code_makes_an_admin(w: World) -> None:
    assert (await use(w, await empty_workspace(w))).role == "admin"


async def test_of_several_uses_of_the_setup_code_at_once_one_makes_an_admin(w: World) -> None:
    code = await empty_workspace(w)
    results = await asyncio.gather(*(use(w, code, f"{n}@example.com") for n in range(4)), return_exceptions=True)
    assert Counter(type(result) for result in results) == {User: 1, Forbidden: 3}


async def test_a_setup_code_that_met_a_bad_address_still_works(w: World) -> None:
    code = await empty_workspace(w)
    with pytest.raises(Invalid):
        await use(w, code, "no address")
    assert (await use(w, code)).role == "admin"


async def test_a_setup_code_is_over_after_a_day(w: World) -> None:
    code = await empty_workspace(w)
    w.clock.advance(86_400)
    with pytest.raises(Forbidden):
        await use(w, code)


async def test_a_setup_code_makes_nobody_in_a_suspended_workspace_and_works_when_it_is_resumed(w: World) -> None:
    code = await empty_workspace(w)
    await w.write(lambda tx: suspend_tenant(tx, w.env, COMMAND_LINE, "new"))
    with pytest.raises(Forbidden) as refused:
        await use(w, code)
    assert refused.value.code == "workspace_suspended"
    await w.write(lambda tx: resume_tenant(tx, w.env, COMMAND_LINE, "new"))
    assert (await use(w, code)).role == "admin"


async def test_a_wrong_setup_code_is_refused_before_the_slow_hash_is_made(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, hashed = await empty_workspace(w), Mock(return_value=password_hash())
    monkeypatch.setattr(people, "hash_password", hashed)
    for _ in range(3):
        with pytest.raises(Forbidden):
            await use(w, "wrong")
    assert hashed.call_count == 0
    assert (await use(w, code)).role == "admin"


async def test_a_workspace_with_an_admin_gives_no_setup_code(w: World) -> None:
    assert await w.write(lambda tx: people.new_setup_code(tx, w.env, TENANT)) is None


# Users


@pytest.mark.parametrize("changes", [{"role": "reviewer"}, {"active": False}], ids=str)
async def test_the_last_admin_stays_one(w: World, changes: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await change(w, w.admin, **changes)


async def test_a_workspace_that_has_no_admin_yet_can_change_its_other_people(w: World) -> None:
    await empty_workspace(w)
    user = await w.write(
        lambda tx: people.create_user(tx, w.env, COMMAND_LINE, "new", "a@example.com", "reviewer", "hash")
    )
    changed = await w.write(lambda tx: people.change_user(tx, w.env, COMMAND_LINE, "new", user.id, name="Ann"))
    assert changed.name == "Ann"


async def test_a_mail_address_belongs_to_one_person_whatever_its_case(w: World) -> None:
    with pytest.raises(Conflict):
        await w.write(
            lambda tx: people.create_user(tx, w.env, COMMAND_LINE, TENANT, " ADA@Example.com ", "admin", "hash")
        )


@pytest.mark.parametrize("role", ["owner", "", "Admin"])
async def test_there_are_three_roles(w: World, role: str) -> None:
    with pytest.raises(GateError):
        await w.new_user(role, "Pia")
