"""Users, sign-in, sessions, personal tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from stacksona_gate.domain.agents import PERSONAL_TOKEN_PREFIX, key_hash
from stacksona_gate.domain.audit import UNKNOWN, Actor
from stacksona_gate.domain.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, TooMany, Unauthenticated
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.domain.people import ADMIN, ROLES, PersonalToken, Session, User
from stacksona_gate.domain.times import HOUR, MINUTE
from stacksona_gate.service.agents import record
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.secrets import hash_password, password_matches
from stacksona_gate.store.base import Tenant, Tx

SESSION_LASTS: Final = 12 * HOUR
SETUP_LASTS: Final = 24 * HOUR
FAILURE_WINDOW: Final = 15 * MINUTE
FAILURES_PER_ACCOUNT: Final = 5
FAILURES_PER_ADDRESS: Final = 30
EVERYWHERE: Final = ""
"""Stands for all workspaces where an address's failed sign-ins are counted."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session, its owner, and what the cookie holds (shown to the browser alone)."""

    user: User
    session: Session
    cookie: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who makes a call, and how: by a session or by a personal token."""

    user: User
    session: Session | None
    token: PersonalToken | None = None
    tenant: Tenant | None = None
    """As it was when they were looked up."""


def create_user(
    tx: Tx, env: Environment, actor: Actor, tenant_id: str, email: str, role: str, password_hash: str, *, name: str = ""
) -> User:
    """Raises Invalid, Conflict (mail address taken)."""
    address = checked_email(email)
    if role not in ROLES:
        raise Invalid(
            "a role is admin, reviewer or auditor", errors=(FieldError("role", "admin, reviewer or auditor"),)
        )
    if tx.people.find_user_by_email(tenant_id, address) is not None:
        raise Conflict(f"there is a user {address} already", code="email_taken")
    user = User(
        tenant_id,
        env.id("usr_", env.now()),
        address,
        checked_person(name or address),
        role,
        password_hash,
        "active",
        env.now(),
    )
    tx.people.insert_user(user)
    record(
        tx,
        env,
        tenant_id,
        "user.created",
        actor,
        {"user": user.id},
        {"email": address, "role": role, "name": user.name},
    )
    tx.tenants.bump_config(tenant_id)
    return user


def change_user(
    tx: Tx,
    env: Environment,
    actor: Actor,
    tenant_id: str,
    user_id: str,
    *,
    name: str | None = None,
    role: str | None = None,
    active: bool | None = None,
    password_hash: str | None = None,
) -> User:
    """Changes a user; a new role, password or a disabled account ends their sessions. Raises NotFound, Invalid."""
    user = get_user(tx, tenant_id, user_id)
    changed = replace(
        user,
        name=user.name if name is None else checked_person(name),
        role=user.role if role is None else role,
        state=user.state if active is None else ("active" if active else "disabled"),
        password_hash=password_hash or user.password_hash,
    )
    if changed.role not in ROLES:
        raise Invalid(
            "a role is admin, reviewer or auditor", errors=(FieldError("role", "admin, reviewer or auditor"),)
        )
    tx.people.update_user(changed)
    if user.role == ADMIN and tx.people.count_admins(tenant_id) == 0:
        raise Invalid("this is the last admin: make another one first")
    if (changed.role, changed.state, changed.password_hash) != (user.role, user.state, user.password_hash):
        tx.people.delete_sessions_of(tenant_id, user.id)
    private = {
        "name": changed.name,
        "role": changed.role,
        "state": changed.state,
        "password": password_hash is not None,
    }
    record(tx, env, tenant_id, "user.changed", actor, {"user": user.id}, private)
    tx.tenants.bump_config(tenant_id)
    return changed


def get_user(tx: Tx, tenant_id: str, user_id: str) -> User:
    """By id or mail address. Raises NotFound."""
    user = tx.people.find_user(tenant_id, user_id) or tx.people.find_user_by_email(tenant_id, user_id.strip().lower())
    if user is None:
        raise NotFound(f"there is no user {user_id!r}")
    return user


async def has_several_workspaces(gate: Gate) -> bool:
    """Whether who signs in has to say where."""
    return await gate.store.read(lambda tx: len(tx.tenants.list_all()) > 1)


async def sign_in(gate: Gate, workspace: str, email: str, password: str, address: str) -> SignedIn:
    """Starts a session. Raises Unauthenticated (what was wrong is not said), TooMany, Forbidden, Unavailable.

    ``workspace``: its name or id. ``address`` is where the call came from: failures count per account and per address,
    in the store.
    """
    account = email.strip().lower()[:320]
    # Counted before the password is checked, in one transaction: guesses in parallel count like guesses in a row.
    begun = gate.env.now()
    attempt = await gate.store.write(lambda tx: _begin_attempt(tx, begun, workspace.strip()[:200], account, address))
    user = attempt.user
    hashed = user.password_hash if user is not None and user.state == "active" else None
    if not await asyncio.to_thread(password_matches, hashed, password) or user is None:
        gate.env.measures.sign_in_failures += 1
        await _record_failure(gate, attempt.tenant_id, user, account, address)
        raise Unauthenticated(attempt.refusal)
    cookie, csrf = gate.env.secret(""), gate.env.secret("")
    signed_in = await gate.store.write(lambda tx: _start_session(tx, gate.env, user, cookie, csrf))
    await gate.store.write(lambda tx: _forgive(tx, user.tenant_id, account, address, begun))
    return signed_in


@dataclass(frozen=True, slots=True)
class _Attempt:
    """``tenant_id``: whose log tells of it; the first workspace's where there is none of that name."""

    tenant_id: str
    user: User | None
    refusal: str


def _begin_attempt(tx: Tx, now: int, workspace: str, account: str, address: str) -> _Attempt:
    since = now - FAILURE_WINDOW
    tenant = tx.tenants.find_by_name(workspace.lower()) or tx.tenants.find(workspace)
    # An address is counted for the whole installation: else each workspace would give it as many guesses again.
    subjects = [(EVERYWHERE, "address:" + address, FAILURES_PER_ADDRESS)]
    if tenant is not None:
        subjects.insert(0, (tenant.id, "account:" + account, FAILURES_PER_ACCOUNT))
    for tenant_id, subject, most in subjects:
        if tx.people.count_failures(tenant_id, subject, since) >= most:
            raise TooMany("too many failed sign-ins: wait 15 minutes", code="sign_in_throttled", retry_after=900)
    for tenant_id, subject, _ in subjects:
        tx.people.insert_failure(tenant_id, subject, now)
    several = tenant is None or len(tx.tenants.list_all()) > 1
    refusal = ("workspace, " if several else "") + "mail address or password is wrong"
    if tenant is None:
        return _Attempt(FIRST_TENANT, None, refusal)
    return _Attempt(tenant.id, tx.people.find_user_by_email(tenant.id, account), refusal)


async def _record_failure(gate: Gate, tenant_id: str, user: User | None, account: str, address: str) -> None:
    now = gate.env.now()
    stands_for = gate.refusals.count("session.refused", account, now)
    if not stands_for:
        return
    objects = {} if user is None else {"user": user.id}
    private: dict[str, object] = {"email": account, "address": address, "stands_for": stands_for}
    await gate.store.write(lambda tx: record(tx, gate.env, tenant_id, "session.refused", UNKNOWN, objects, private))


def _forgive(tx: Tx, tenant_id: str, account: str, address: str, begun: int) -> None:
    """A right password clears the account; of the address only this attempt: others there may be guessing still."""
    tx.people.delete_failures(tenant_id, "account:" + account)
    tx.people.delete_failures(EVERYWHERE, "address:" + address, at=begun)


def _start_session(tx: Tx, env: Environment, user: User, cookie: str, csrf: str) -> SignedIn:
    fresh = tx.people.find_user(user.tenant_id, user.id)
    if fresh is None or fresh.state != "active" or fresh.password_hash != user.password_hash:
        raise Unauthenticated("mail address or password is wrong")
    _active_tenant(tx, user.tenant_id)
    now = env.now()
    session = Session(user.tenant_id, key_hash(cookie), user.id, csrf, now, now + SESSION_LASTS)
    tx.people.delete_sessions_before(now)
    tx.people.insert_session(session)
    tx.people.delete_failures_before(now - FAILURE_WINDOW)
    record(tx, env, user.tenant_id, "session.started", Actor("user", user.id), {"user": user.id}, {})
    return SignedIn(fresh, session, cookie)


def sign_out(tx: Tx, env: Environment, person: Person) -> None:
    if person.session is not None:
        tx.people.delete_session(person.session.id_hash)
        actor = Actor("user", person.user.id)
        record(tx, env, person.user.tenant_id, "session.ended", actor, {"user": person.user.id}, {})


async def person_of_session(gate: Gate, cookie: str) -> Person | None:
    """Who is signed in with this cookie; None when nobody is."""
    hashed = key_hash(cookie)

    return await gate.store.read(lambda tx: _by_session(tx, gate.env, hashed))


def _by_session(tx: Tx, env: Environment, id_hash: str) -> Person | None:
    session = tx.people.find_session(id_hash)
    if session is None or session.expires_at <= env.now():
        return None
    user, tenant = tx.people.find_user(session.tenant_id, session.user_id), tx.tenants.find(session.tenant_id)
    if user is None or user.state != "active" or tenant is None or tenant.suspended_at is not None:
        return None
    return Person(user, session, None, tenant)


async def person_of_token(gate: Gate, token: str) -> Person:
    """Who made this personal token. Raises Unauthenticated, Forbidden in a suspended workspace."""
    hashed = key_hash(token)

    known = token.startswith(PERSONAL_TOKEN_PREFIX)
    person = await gate.store.read(lambda tx: _by_token(tx, hashed)) if known else None
    if person is None:
        raise Unauthenticated("the token is unknown or revoked: personal tokens begin with sp_")
    return person


def _by_token(tx: Tx, token_hash: str) -> Person | None:
    kept = tx.people.find_token_by_hash(token_hash)
    if kept is None or kept.revoked_at is not None:
        return None
    user = tx.people.find_user(kept.tenant_id, kept.user_id)
    if user is None or user.state != "active":
        return None
    return Person(user, None, kept, _active_tenant(tx, kept.tenant_id))


def _active_tenant(tx: Tx, tenant_id: str) -> Tenant | None:
    """Raises Forbidden in a suspended workspace."""
    tenant = tx.tenants.find(tenant_id)
    if tenant is not None:
        tenant.require_active()
    return tenant


def still[T](env: Environment, person: Person, unit: Callable[[Tx, User], T]) -> Callable[[Tx], T]:
    """The use-case behind one more look at who makes the call: a body may take long, and end after their session.

    What it makes raises Unauthenticated when the session or the token is over, or its owner disabled.
    """

    def looked_at(tx: Tx) -> T:
        return unit(tx, _again(tx, env, person))

    return looked_at


def _again(tx: Tx, env: Environment, person: Person) -> User:
    """The person as they are now."""
    fresh = None
    if person.session is not None:
        fresh = _by_session(tx, env, person.session.id_hash)
    elif person.token is not None:
        fresh = _by_token(tx, person.token.hash)
    if fresh is None or fresh.user.id != person.user.id:
        raise Unauthenticated("your session or token ended before this call did: nothing was changed, sign in again")
    return fresh.user


def create_token(tx: Tx, env: Environment, actor: Actor, user: User, name: str) -> tuple[PersonalToken, str]:
    """Returns the token as kept, and what is shown once."""
    secret = env.secret(PERSONAL_TOKEN_PREFIX)
    now = env.now()
    token = PersonalToken(user.tenant_id, env.id("tok_", now), user.id, name[:200], key_hash(secret), now, None)
    tx.people.insert_token(token)
    record(tx, env, user.tenant_id, "token.created", actor, {"token": token.id, "user": user.id}, {"name": token.name})
    return token, secret


def revoke_token(tx: Tx, env: Environment, actor: Actor, user: User, token_id: str) -> None:
    """Raises NotFound for a token that is not this user's or already revoked."""
    if token_id not in {token.id for token in tx.people.list_tokens(user.tenant_id, user.id)}:
        raise NotFound("there is no such token")
    if not tx.people.revoke_token(user.tenant_id, token_id, env.now()):
        raise NotFound("this token is already revoked")
    record(tx, env, user.tenant_id, "token.revoked", actor, {"token": token_id, "user": user.id}, {})


def new_setup_code(tx: Tx, env: Environment, tenant_id: str) -> str | None:
    """A one-time code to make the first admin; None when there is one already."""
    if tx.people.count_admins(tenant_id):
        return None
    code = env.secret("")
    tx.people.insert_setup_code(tenant_id, key_hash(code), env.now() + SETUP_LASTS)
    return code


async def use_setup_code(gate: Gate, code: str, email: str, password: str) -> User:
    """Makes the first admin of the workspace that the code is for. Raises Forbidden when the code is wrong or used, the
    workspace suspended, or there is an admin already."""
    checked_email(email)
    refused = Forbidden(
        "this code is used or over: start the gate again on an empty workspace, or ask the operator, for another one"
    )
    code_hash = key_hash(code.strip())
    # Looked up before the slow hash is made: anybody may send wrong codes, as many as they like.
    found = await gate.store.read(lambda tx: tx.people.find_setup_code(code_hash, gate.env.now()))
    if found is None:
        raise refused
    tenant_id: str = found
    hashed = await asyncio.to_thread(hash_password, password)

    def unit(tx: Tx) -> User:
        if not tx.people.use_setup_code(tenant_id, code_hash, gate.env.now()) or tx.people.count_admins(tenant_id):
            raise refused
        _active_tenant(tx, tenant_id)
        return create_user(tx, gate.env, Actor("user", "first_admin"), tenant_id, email, ADMIN, hashed)

    return await gate.store.write(unit)


def checked_email(email: str) -> str:
    """Lower case, one @ between two non-empty halves, no spaces. Raises Invalid."""
    address = email.strip().lower()
    local, _, host = address.rpartition("@")
    if not local or not host or len(address) > 320 or not address.isprintable() or any(c.isspace() for c in address):
        raise Invalid("that is no mail address", errors=(FieldError("email", "as in name@example.com"),))
    return address


def checked_person(name: str) -> str:
    """Raises Invalid."""
    cleaned = name.strip()
    if not cleaned or len(cleaned) > 200 or not cleaned.isprintable():
        raise Invalid("a name has 1 to 200 printable characters", errors=(FieldError("name", "1 to 200 characters"),))
    return cleaned
