"""Tokens and redeeming: what is signed, what is accepted, why the rest is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from gate.tests.factories import POLICY, START, TENANT, World, second_tenant
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from stacksona_gate.domain.approvals import Redeemed, Refused
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Unauthenticated
from stacksona_gate.domain.times import DAY
from stacksona_gate.service import agents
from stacksona_gate.service.installation import read_keyring, rotate_signing_key
from stacksona_gate.service.keyring import PUBLISHED_AFTER, BadToken

SHORT = POLICY.replace("default: allow", "default: allow\n    approval_valid_for: 60s")


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def with_header(token: str, **changes: object) -> str:
    header, body, signature = token.split(".")
    changed = {**json.loads(decoded(header)), **changes}
    return ".".join((encoded(json.dumps(changed).encode()), body, signature))


async def rotate(w: World) -> None:
    await w.write(lambda tx: rotate_signing_key(tx, w.env, w.gate.root))
    w.gate.keyring = await w.read(lambda tx: read_keyring(tx, w.env, w.gate.root))


# What a token says


async def test_the_published_keys_verify_a_token_with_another_library(w: World) -> None:
    answer = await w.ask(100)
    assert answer.token is not None
    keys = KeySet.import_key_set(json.loads(json.dumps(w.gate.keyring.jwks())))
    token = jwt.decode(answer.token, keys, algorithms=["Ed25519"])
    assert token.header == {"alg": "Ed25519", "typ": "gate-approval+jwt", "kid": token.header["kid"]}
    assert (token.claims["aud"], token.claims["sub"], token.claims["payload_digest"]) == (
        "issue_refund",
        w.agent.id,
        answer.request.payload_digest,
    )


async def test_a_token_lasts_fifteen_minutes(w: World) -> None:
    claims = w.gate.keyring.read(await w.token(await w.approved()))
    assert claims.exp == START + 15 * 60 * 1_000_000


async def test_a_token_ends_no_later_than_its_approval(w: World) -> None:
    await w.apply(SHORT)
    answer = await w.approved()
    w.clock.advance(50)
    claims = w.gate.keyring.read(await w.token(answer))
    assert claims.exp == START + 60 * 1_000_000


async def test_every_read_of_an_open_approval_signs_afresh_for_the_same_approval(w: World) -> None:
    answer = await w.approved()
    first = await w.token(answer)
    w.clock.advance(60)
    second = await w.token(answer)
    assert first != second
    assert w.gate.keyring.read(first).jti == w.gate.keyring.read(second).jti


async def test_a_redeemed_approval_gives_no_more_tokens(w: World) -> None:
    answer = await w.approved()
    await w.redeem(answer)
    assert (await w.poll(answer)).answer.token is None


# Signatures


def single_changes(token: str) -> Iterator[str]:
    for position, character in enumerate(token):
        other = "A" if character != "A" else "B"
        yield token[:position] + other + token[position + 1 :]


async def test_a_token_changed_in_any_character_is_not_read(w: World) -> None:
    for changed in single_changes(await w.token(await w.approved())):
        with pytest.raises(BadToken):
            w.gate.keyring.read(changed)


async def test_every_spelling_of_the_last_character_but_one_is_refused(w: World) -> None:
    token = await w.token(await w.approved())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same = [c for c in alphabet if decoded(token.split(".")[2]) == decoded(token.split(".")[2][:-1] + c)]
    assert len(same) > 1
    for character in set(same) - {token[-1]}:
        with pytest.raises(BadToken):
            w.gate.keyring.read(token[:-1] + character)


@pytest.mark.parametrize("suffix", ["=", "==", " ", "\n", ".", ".e30", "\u0000", "é"])
async def test_nothing_may_follow_a_token(w: World, suffix: str) -> None:
    with pytest.raises(BadToken):
        w.gate.keyring.read(await w.token(await w.approved()) + suffix)


@pytest.mark.parametrize(
    "header",
    [{"alg": "none"}, {"alg": "HS256"}, {"alg": "EdDSA"}, {"typ": "JWT"}, {"kid": "key_other"}, {"crit": ["exp"]}],
    ids=str,
)
async def test_a_token_with_another_header_is_not_read(w: World, header: dict[str, object]) -> None:
    with pytest.raises(BadToken):
        w.gate.keyring.read(with_header(await w.token(await w.approved()), **header))


@pytest.mark.parametrize("junk", ["", ".", "..", "a.b.c", "a" * 5000, "e30.e30.", "\ud800.a.b"])
async def test_what_is_no_token_is_not_read(w: World, junk: str) -> None:
    with pytest.raises(BadToken):
        w.gate.keyring.read(junk)


async def test_the_public_key_is_no_secret_to_sign_with(w: World) -> None:
    token = await w.token(await w.approved())
    claims = json.loads(decoded(token.split(".")[1]))
    key = json.loads(json.dumps(w.gate.keyring.jwks()))["keys"][0]
    header = {"alg": "HS256", "typ": "gate-approval+jwt", "kid": key["kid"]}
    forged = jwt.encode(header, claims, OctKey.import_key(decoded(key["x"])))
    with pytest.raises(BadToken):
        w.gate.keyring.read(forged)


async def test_a_token_without_a_signature_is_not_read(w: World) -> None:
    header, body, _ = with_header(await w.token(await w.approved()), alg="none").split(".")
    with pytest.raises(BadToken):
        w.gate.keyring.read(f"{header}.{body}.")


async def test_a_token_in_flight_is_redeemed_after_the_signing_key_was_rotated(w: World) -> None:
    answer = await w.approved()
    token = await w.token(answer)
    await rotate(w)
    assert isinstance(await w.redeem(answer, token=token), Redeemed)


async def test_after_a_rotation_another_key_signs(w: World) -> None:
    answer = await w.approved()
    before = await w.token(answer)
    await rotate(w)
    after = await w.token(answer)
    assert before.split(".")[0] != after.split(".")[0]


async def test_a_retired_key_is_published_until_its_tokens_are_over(w: World) -> None:
    await rotate(w)
    w.clock.now += PUBLISHED_AFTER - 1
    assert len((await w.read(lambda tx: read_keyring(tx, w.env, w.gate.root))).jwks()["keys"]) == 2  # type: ignore[arg-type]
    w.clock.now += 1
    assert len((await w.read(lambda tx: read_keyring(tx, w.env, w.gate.root))).jwks()["keys"]) == 1  # type: ignore[arg-type]


# Redeeming


@pytest.mark.parametrize("amount", [100, 500])
async def test_an_approval_is_redeemed_once(w: World, amount: int) -> None:
    answer = await (w.ask(amount) if amount == 100 else w.approved(amount))
    first, second = await w.redeem(answer), await w.redeem(answer, token=answer.token or "")
    assert (type(first), second) == (Redeemed, Refused("already_used"))


async def test_an_approval_of_another_task_is_refused(w: World) -> None:
    assert await w.redeem(await w.approved(), task="task-2") == Refused("wrong_task")


async def test_an_approval_of_another_tool_is_refused(w: World) -> None:
    assert await w.redeem(await w.approved(), tool="wire_transfer") == Refused("wrong_tool")


async def test_another_agents_approval_is_refused(w: World) -> None:
    answer = await w.approved()
    other = await w.caller((await w.new_agent("other-bot")).key)
    assert await w.redeem(answer, token=answer.token, caller=other) == Refused("wrong_agent")


async def test_another_payload_is_refused(w: World) -> None:
    assert await w.redeem(await w.approved(), payload={"amount": 5000}) == Refused("payload_mismatch")


async def test_a_strictly_bound_tool_needs_its_payload(w: World) -> None:
    answer = await w.approved(tool="wire_transfer")
    assert await w.redeem(answer, bare=True) == Refused("payload_required")


async def test_a_tool_bound_strictly_since_needs_its_payload_too(w: World) -> None:
    answer = await w.approved()
    await w.apply(POLICY.replace("default: allow", "default: allow\n    strict_binding: true"))
    assert await w.redeem(answer, bare=True) == Refused("payload_required")


async def test_a_loosely_bound_tool_may_leave_its_payload_out(w: World) -> None:
    assert isinstance(await w.redeem(await w.approved(), bare=True), Redeemed)


async def test_a_token_that_is_over_is_refused_and_a_fresh_one_is_not(w: World) -> None:
    answer = await w.approved()
    w.clock.advance(15 * 60)
    assert await w.redeem(answer, token=answer.token) == Refused("expired")
    assert isinstance(await w.redeem(answer, token=await w.token(answer)), Redeemed)


async def test_an_approval_that_is_over_gives_no_token(w: World) -> None:
    answer = await w.approved()
    w.clock.now += DAY
    assert (await w.poll(answer)).answer.token is None


async def test_a_forged_token_is_refused(w: World) -> None:
    answer = await w.approved()
    assert await w.redeem(answer, token=(answer.token or "")[:-8] + "AAAAAAAA") == Refused("bad_signature")


async def test_another_workspaces_token_is_unknown(w: World) -> None:
    answer = await w.approved()
    other = await second_tenant(w)
    assert await w.redeem(answer, token=answer.token, caller=await other.caller()) == Refused("unknown")


async def test_a_refused_redemption_uses_nothing_up(w: World) -> None:
    answer = await w.approved()
    for wrong in ({"task": "x"}, {"tool": "y"}, {"payload_digest": "z"}):
        assert isinstance(await w.redeem(answer, **wrong), Refused)  # type: ignore[arg-type]
    assert isinstance(await w.redeem(answer), Redeemed)


async def test_refusals_are_recorded_once_a_minute_and_cause(w: World) -> None:
    answer = await w.approved()
    for _ in range(5):
        await w.redeem(answer, task="x")
        await w.redeem(answer, tool="y")
    assert len(await w.entries("approval.refused")) == 2
    w.clock.advance(60)
    await w.redeem(answer, task="x")
    assert json.loads((await w.entries("approval.refused"))[-1].private)["stands_for"]["value"] == 5


# Verifiers


async def test_a_verifier_redeems_for_its_tools(w: World) -> None:
    verifier = await w.caller((await w.new_verifier("issue_refund")).key)
    answer = await w.approved()
    redeemed = await w.redeem(answer, token=answer.token, caller=verifier)
    assert isinstance(redeemed, Redeemed)
    assert redeemed.request.redeemed_by == verifier.key.owner_id


async def test_a_verifier_redeems_for_no_other_tool(w: World) -> None:
    verifier = await w.caller((await w.new_verifier("wire_transfer")).key)
    answer = await w.approved()
    assert await w.redeem(answer, token=answer.token, caller=verifier) == Refused("wrong_tool")


async def test_a_verifier_does_nothing_but_redeem(w: World) -> None:
    verifier = await w.caller((await w.new_verifier()).key)
    with pytest.raises(Unauthenticated):
        await w.ask(100, caller=verifier)
    with pytest.raises(Unauthenticated):
        await w.poll(await w.ask(), verifier)


async def test_a_verifier_that_was_switched_off_is_unknown(w: World) -> None:
    made = await w.new_verifier()
    await w.write(lambda tx: agents.change_verifier(tx, w.env, COMMAND_LINE, TENANT, made.made.id, enabled=False))
    with pytest.raises(Unauthenticated):
        await w.caller(made.key)


# Agents' keys


async def test_a_rotated_key_works_until_the_end_of_the_overlap_and_not_after(w: World) -> None:
    new = await w.rotate(overlap=60)
    w.clock.advance(59.999999)
    assert (await w.caller(w.key)).agent == (await w.caller(new)).agent
    w.clock.advance(0.000001)
    with pytest.raises(Unauthenticated):
        await w.caller(w.key)


async def test_a_key_rotated_without_overlap_stops_at_once_even_when_the_clock_goes_back(w: World) -> None:
    await w.rotate()
    w.clock.advance(-3600)
    with pytest.raises(Unauthenticated):
        await w.caller(w.key)


async def test_a_second_rotation_does_not_lengthen_the_first_ones_overlap(w: World) -> None:
    await w.rotate(overlap=60)
    await w.rotate(overlap=3600)
    w.clock.advance(60)
    with pytest.raises(Unauthenticated):
        await w.caller(w.key)
