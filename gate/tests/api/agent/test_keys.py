"""Keys of agents, and the keys that tokens are signed with."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from gate.tests.api.agent.calls import ASK, DECISIONS, TASK, VALIDATE, Api, problem, refund
from gate.tests.factories import beside
from joserfc import jws
from joserfc.jwk import KeySet

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service.agents import change_verifier
from stacksona_gate.service.installation import read_keyring, rotate_signing_key

JWKS = "/.well-known/jwks.json"
THREADS = "/api/agent/threads"


async def keys_of(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.http.get(JWKS)).json()
    return found


async def claims_of(api: Api, token: str) -> dict[str, Any]:
    """What a token says, verified by another library with the published keys alone."""
    keys = KeySet.import_key_set(await keys_of(api))  # type: ignore[arg-type]
    verified = jws.deserialize_compact(token, keys, algorithms=["Ed25519"])
    claims: dict[str, Any] = json.loads(verified.payload)
    return claims


async def test_a_replaced_key_is_401_at_once(api: Api) -> None:
    await api.ask(100)
    new = await api.world.rotate()
    problem(await api.get(THREADS), 401)
    assert (await api.get(THREADS, key=new)).status_code == 200


async def test_a_key_replaced_with_an_overlap_works_until_its_end(api: Api) -> None:
    new = await api.world.rotate(overlap=60)
    assert (await api.get(THREADS)).status_code == 200
    api.world.clock.advance(60)
    problem(await api.get(THREADS), 401)
    assert (await api.get(THREADS, key=new)).status_code == 200


async def test_a_second_rotation_does_not_prolong_an_overlap(api: Api) -> None:
    await api.world.rotate(overlap=60)
    await api.world.rotate(overlap=3600)
    api.world.clock.advance(60)
    problem(await api.get(THREADS), 401)


async def test_a_key_replaced_by_another_process_is_401_for_the_next_call(api: Api) -> None:
    await api.ask(100)
    async with beside(api.world) as other:
        await other.rotate()
    problem(await api.get(THREADS), 401)


async def test_a_key_replaced_by_another_process_decides_nothing_more(api: Api) -> None:
    await api.ask(100)
    async with beside(api.world) as other:
        await other.rotate()
    before = api.counted()
    problem(await api.post("/api/agent/tasks/t/requests", {"tool_name": "issue_refund", "subject": "s"}), 401)
    assert api.counted() == before


async def test_only_the_hash_of_a_key_is_kept(api: Api) -> None:
    (key,) = await api.world.read(lambda tx: tx.keys.list_for("default", api.world.agent.id))
    assert api.world.key.startswith("sg_")
    assert api.world.key not in repr(key)


async def test_a_switched_off_verifiers_key_is_401(api: Api) -> None:
    verifier = await api.world.new_verifier("issue_refund")
    w, decision = api.world, await api.approved()
    await w.write(lambda tx: change_verifier(tx, w.env, COMMAND_LINE, "default", verifier.made.id, enabled=False))
    problem(await api.redeem(decision, key=verifier.key), 401)


async def test_a_token_is_verified_with_the_published_keys_alone(api: Api) -> None:
    decision = await api.approved()
    claims = await claims_of(api, decision["approval_token"])
    assert claims.pop("iss").startswith("gate_")
    assert claims.pop("jti").startswith("apr_")
    assert claims == {
        "aud": "issue_refund",
        "sub": api.world.agent.id,
        "iat": 1_795_694_400,
        "exp": 1_795_694_400 + 15 * 60,
        "tenant": "default",
        "task_id": "task-1",
        "request_id": decision["request_id"],
        "thread_id": decision["thread_id"],
        "revision": 1,
        "payload_digest": decision["payload_digest"],
        "policy_version": 1,
        "approved_by": 1,
    }


async def test_a_token_of_what_was_allowed_names_no_thread_and_no_people(api: Api) -> None:
    claims = await claims_of(api, (await api.ask(100))["approval_token"])
    assert "thread_id" not in claims
    assert claims["approved_by"] == 0


async def test_a_tokens_header_names_algorithm_type_and_key(api: Api) -> None:
    token = (await api.ask(100))["approval_token"]
    header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
    (key,) = (await keys_of(api))["keys"]
    assert header == {"alg": "Ed25519", "typ": "gate-approval+jwt", "kid": key["kid"]}


async def test_one_approval_has_one_jti(api: Api) -> None:
    decision = await api.approved()
    api.world.clock.advance(1)
    again = await api.poll(decision)
    both = [await claims_of(api, each["approval_token"]) for each in (decision, again)]
    assert both[0]["jti"] == both[1]["jti"]
    assert both[1]["iat"] == both[0]["iat"] + 1


async def test_a_token_ends_no_later_than_its_approval(api: Api) -> None:
    await api.world.apply("version: 1\ntools: {issue_refund: {default: review, approval_valid_for: 5m}}\n")
    decision = await api.approved()
    assert (await claims_of(api, decision["approval_token"]))["exp"] == 1_795_694_400 + 5 * 60


async def test_only_public_halves_are_published(api: Api) -> None:
    answer = await api.http.get(JWKS, headers={"authorization": ""})
    (key,) = answer.json()["keys"]
    assert key.keys() == {"kty", "crv", "alg", "use", "kid", "x"}
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "Ed25519", "sig")


async def rotated(api: Api) -> None:
    """The installation signs with another key; the next one who asks knows."""
    w = api.world
    await w.write(lambda tx: rotate_signing_key(tx, w.env, w.gate.root))
    w.gate.keyring = await w.read(lambda tx: read_keyring(tx, w.env, w.gate.root))


async def test_tokens_of_a_retired_key_stay_good(api: Api) -> None:
    decision = await api.approved()
    await rotated(api)
    assert len((await keys_of(api))["keys"]) == 2
    assert (await claims_of(api, decision["approval_token"]))["aud"] == "issue_refund"
    assert (await api.redeem(decision)).status_code == 200


async def test_a_new_key_signs_after_a_rotation(api: Api) -> None:
    before = (await api.ask(100))["approval_token"].partition(".")[0]
    await rotated(api)
    assert (await api.ask(100))["approval_token"].partition(".")[0] != before


async def test_a_retired_key_is_published_longer_than_any_token_it_signed(api: Api) -> None:
    await rotated(api)
    api.world.clock.advance(16 * 60)
    w = api.world
    assert len((await w.read(lambda tx: read_keyring(tx, w.env, w.gate.root))).jwks()["keys"]) == 2  # type: ignore[arg-type]


async def test_the_private_key_is_stored_wrapped(api: Api) -> None:
    (key,) = await api.world.read(lambda tx: tx.installations.list_signing_keys())
    wrapped = base64.b64decode(key.private)
    assert len(wrapped) == 12 + 32 + 16
    assert api.world.gate.root.unwrap(key.private, "signing key " + key.kid) not in wrapped


@pytest.mark.parametrize("query", ["?authorization=x", "?key=x", "?api_key=x"])
async def test_a_key_in_the_query_opens_nothing(api: Api, query: str) -> None:
    api.http.headers.pop("authorization")
    problem(await api.http.get(f"{DECISIONS}{query.replace('=x', '=' + api.world.key)}"), 401)


# A key that is replaced while its body is still on its way


async def slowly(body: Mapping[str, object], meanwhile: Callable[[], Awaitable[object]]) -> AsyncIterator[bytes]:
    """A body in two parts, and what happens between them."""
    whole = json.dumps(body).encode()
    yield whole[:5]
    await meanwhile()
    yield whole[5:]


async def late(api: Api, path: str, body: Mapping[str, object], meanwhile: Callable[[], Awaitable[object]]) -> None:
    """The call is refused, and leaves nothing behind."""
    before = api.counted()
    headers = {"content-type": "application/json"}
    answer = await api.http.post(path, content=slowly(body, meanwhile), headers=headers)
    problem(answer, 401)
    assert {**api.counted(), "audit": 0} == {**before, "audit": 0}


def redemption(decision: Mapping[str, Any]) -> dict[str, object]:
    digest = decision["payload_digest"]
    token = decision["approval_token"]
    return {"task_id": "task-1", "signature": token, "tool_name": "issue_refund", "payload_digest": digest}


async def test_a_key_replaced_during_a_redemption_redeems_nothing(api: Api) -> None:
    decision = await api.approved()
    await late(api, VALIDATE, redemption(decision), api.world.rotate)
    assert (await api.request(decision)).redeemed_at is None


async def test_a_key_whose_overlap_ends_during_a_redemption_redeems_nothing(api: Api) -> None:
    decision = await api.approved()
    await api.world.rotate(overlap=60)

    async def wait() -> None:
        api.world.clock.advance(60)

    await late(api, VALIDATE, redemption(decision), wait)
    assert (await api.request(decision)).redeemed_at is None


async def test_a_key_whose_overlap_ends_during_a_request_asks_nothing(api: Api) -> None:
    await api.world.rotate(overlap=60)

    async def wait() -> None:
        api.world.clock.advance(60)

    await late(api, ASK, refund(100), wait)


async def test_a_verifier_switched_off_during_its_redemption_redeems_nothing(api: Api) -> None:
    w, verifier, decision = api.world, await api.world.new_verifier("issue_refund"), await api.approved()

    async def switch_off() -> None:
        await w.write(lambda tx: change_verifier(tx, w.env, COMMAND_LINE, "default", verifier.made.id, enabled=False))

    api.http.headers["authorization"] = f"Bearer {verifier.key}"
    await late(api, VALIDATE, redemption(decision), switch_off)
    assert (await api.request(decision)).redeemed_at is None


async def test_a_verifier_that_loses_a_tool_during_its_redemption_redeems_nothing(api: Api) -> None:
    w, verifier, decision = api.world, await api.world.new_verifier("issue_refund"), await api.approved()

    async def narrow() -> None:
        await w.write(lambda tx: change_verifier(tx, w.env, COMMAND_LINE, "default", verifier.made.id, tools=("x",)))

    headers = {"content-type": "application/json", "authorization": f"Bearer {verifier.key}"}
    answer = await api.http.post(VALIDATE, content=slowly(redemption(decision), narrow), headers=headers)
    assert problem(answer, 403)["reason"] == "wrong_tool"


async def test_a_redemption_goes_on_when_configuration_moves_beside_it(api: Api) -> None:
    decision = await api.approved()

    async def change() -> None:
        await api.world.new_verifier("issue_refund")

    headers = {"content-type": "application/json"}
    answer = await api.http.post(VALIDATE, content=slowly(redemption(decision), change), headers=headers)
    assert answer.json()["valid"] is True


@pytest.mark.parametrize("kind", ["revision", "progress"])
async def test_a_key_replaced_during_an_event_reports_and_revises_nothing(api: Api, kind: str) -> None:
    decision = await api.ask()
    body = {"event_type": kind, "thread_id": decision["thread_id"], "payload": {"amount": 300}}
    await late(api, f"{TASK}/events", body, api.world.rotate)
    assert (await api.request(decision)).revision == 1


async def test_a_key_replaced_during_an_outcome_reports_nothing(api: Api) -> None:
    decision = await api.ask(100)
    body = {"request_id": decision["request_id"], "status": "executed"}
    await late(api, f"{TASK}/outcomes", body, api.world.rotate)
