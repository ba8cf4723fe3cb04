"""Users and their personal tokens."""

from __future__ import annotations

import asyncio

from msgspec import UNSET

from stacksona_gate.api.admin.answers import (
    TokenAnswer,
    TokenCreated,
    TokenList,
    UserAnswer,
    UserList,
    token_answer,
    token_fields,
    user_answer,
)
from stacksona_gate.api.admin.bodies import NewToken, NewUser, UserPatch
from stacksona_gate.api.fields import created, read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Forbidden
from stacksona_gate.domain.people import User, may_administer, may_audit
from stacksona_gate.service import people
from stacksona_gate.service.administration import list_tokens, list_users
from stacksona_gate.service.secrets import hash_password
from stacksona_gate.service.transactions import Tx

ME = "me"
"""Stands for the caller's own id."""


async def get_users(context: PeopleContext, call: Call) -> Reply:
    """All users, by mail address."""
    person = await context.auditor(call)
    users = await context.gate.store.scan(lambda tx: list_users(tx, person.user.tenant_id))
    return tagged_reply(UserList([user_answer(user) for user in users]))


async def get_user(context: PeopleContext, call: Call) -> Reply:
    """One user, by id or mail address."""
    person = await context.auditor(call)
    tenant_id, user_id = person.user.tenant_id, call.path["user_id"]
    return tagged_reply(user_answer(await context.gate.store.scan(lambda tx: people.get_user(tx, tenant_id, user_id))))


async def create_user(context: PeopleContext, call: Call) -> Reply:
    """Makes somebody who may sign in."""
    person = await context.admin(call)
    body = await read_as(call, NewUser)
    hashed = await asyncio.to_thread(hash_password, body.password)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> UserAnswer:
        made = people.create_user(tx, gate.env, actor, tenant_id, body.email, body.role, hashed, name=body.name)
        return user_answer(made)

    answer = await context.change(person, unit)
    return created(answer, f"/api/admin/users/{answer.id}")


async def change_user(context: PeopleContext, call: Call) -> Reply:
    """Changes a user. The last active admin stays one."""
    person = await context.admin(call)
    body = await read_as(call, UserPatch)
    hashed = None if body.password is UNSET else await asyncio.to_thread(hash_password, body.password)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> UserAnswer:
        user = people.get_user(tx, tenant_id, call.path["user_id"])
        require_match(call, user_answer(user))
        changed = people.change_user(
            tx,
            gate.env,
            actor,
            tenant_id,
            user.id,
            name=None if body.name is UNSET else body.name,
            role=None if body.role is UNSET else body.role,
            active=None if body.active is UNSET else body.active,
            password_hash=hashed,
        )
        return user_answer(changed)

    return tagged_reply(await context.change(person, unit))


async def get_tokens(context: PeopleContext, call: Call) -> Reply:
    """A person's tokens, without what makes them tokens. `me` stands for yourself."""
    person = await context.person(call)
    _require_own(person.user, call, others=may_audit(person.user))
    tokens = await context.gate.store.scan(lambda tx: list_tokens(tx, _owner(tx, person.user, call)))
    return tagged_reply(TokenList([token_answer(token) for token in tokens]))


def _require_own(user: User, call: Call, *, others: bool) -> None:
    """Said before anything is looked up: an id that does not exist is answered like anybody else's."""
    if not others and call.path["user_id"] not in (ME, user.id):
        raise Forbidden("personal tokens are their owner's: ask an admin for anybody else's")


def _owner(tx: Tx, user: User, call: Call) -> User:
    user_id = call.path["user_id"]
    return people.get_user(tx, user.tenant_id, user.id if user_id == ME else user_id)


async def create_token(context: PeopleContext, call: Call) -> Reply:
    """Makes a personal token, shown here and nowhere else. It may do what its owner may. `me` stands for yourself."""
    person = await context.person(call)
    _require_own(person.user, call, others=may_administer(person.user))
    body = await read_as(call, NewToken)
    gate = context.gate

    def unit(tx: Tx, user: User) -> tuple[str, TokenCreated]:
        _require_own(user, call, others=may_administer(user))
        owner = _owner(tx, user, call)
        token, secret = people.create_token(tx, gate.env, Actor("user", user.id), owner, body.name)
        return owner.id, TokenCreated(**token_fields(token), token=secret)

    owner_id, answer = await context.write(person, unit)
    return created(answer, f"/api/admin/users/{owner_id}/tokens/{answer.id}")


async def delete_token(context: PeopleContext, call: Call) -> Reply:
    """Revokes a personal token at once."""
    person = await context.person(call)
    gate, token_id = context.gate, call.path["token_id"]

    def unit(tx: Tx, user: User) -> TokenAnswer:
        _require_own(user, call, others=may_administer(user))
        owner = _owner(tx, user, call)
        people.revoke_token(tx, gate.env, Actor("user", user.id), owner, token_id)
        return next(token_answer(token) for token in list_tokens(tx, owner) if token.id == token_id)

    return json_reply(await context.write(person, unit))
