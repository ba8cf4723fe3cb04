"""Approval tokens checked without the gate: the vectors, the gate's own tokens, and everything that is none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from gate.tests.api.agent.calls import api_world
from joserfc import jws
from joserfc.jwk import OKPKey

from stacksona import ApprovalInvalid, GateError, verify_approval

FOLDER = Path(__file__).parents[3] / "conformance/tokens"
KEY = json.loads((FOLDER / "key.json").read_text())
SIGNED: list[dict[str, Any]] = json.loads((FOLDER / "signed.json").read_text())
REFUSED: list[dict[str, Any]] = json.loads((FOLDER / "refused.json").read_text())
JWKS = {"keys": [KEY["jwk"]]}
CASE = SIGNED[0]


def verify(token: Any = CASE["token"], jwks: Any = JWKS, **changes: Any) -> Any:
    given = {"tool": "issue_refund", "payload": CASE["payload"], "now": CASE["now"], **changes}
    return verify_approval(token, jwks, **given)


def signed(*, header: dict[str, Any] | None = None, without: str = "", **claims: Any) -> str:
    """A token by the key of the vectors, with other claims."""
    seed = OKPKey.import_key({**KEY["jwk"], "d": _b64(bytes.fromhex(KEY["private_seed_hex"]))})
    said = {name: value for name, value in (CASE["claims"] | claims).items() if name != without}
    return jws.serialize_compact(header or CASE["header"], json.dumps(said), seed, algorithms=["Ed25519"])


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: str(case["name"]))
def test_a_good_token_says_what_was_approved(case: dict[str, Any]) -> None:
    claims = case["claims"]
    given = {"tool": claims["aud"], "payload": case["payload"], "now": case["now"], "issuer": KEY["issuer"]}
    approval = verify(case["token"], **given)
    assert (approval.id, approval.task_id, approval.thread_id) == (
        claims["jti"],
        claims["task_id"],
        claims.get("thread_id"),
    )
    assert approval.expires_at == claims["exp"]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case["name"]))
def test_no_vector_that_the_gate_refuses_is_good_here(case: dict[str, Any]) -> None:
    for payload in (one["payload"] for one in SIGNED):
        with pytest.raises(ApprovalInvalid):
            verify(case["token"], payload=payload, issuer=KEY["issuer"])


def test_another_tool_payload_or_installation_is_refused() -> None:
    for changes in ({"tool": "wire_transfer"}, {"payload": {"amount": 501}}, {"issuer": "gate_other"}):
        with pytest.raises(ApprovalInvalid):
            verify(**changes)


def test_it_ends_a_little_after_its_time() -> None:
    assert verify(now=CASE["claims"]["exp"] + 29)
    with pytest.raises(ApprovalInvalid, match="expired"):
        verify(now=CASE["claims"]["exp"] + 30)
    with pytest.raises(ApprovalInvalid, match="expired"):
        verify(now=CASE["claims"]["exp"], leeway=0)


@pytest.mark.parametrize(
    "token",
    [
        signed(header={**CASE["header"], "typ": "JWT"}),
        signed(header={**CASE["header"], "x5u": "https://evil"}),
        signed(header={"alg": "Ed25519", "kid": KEY["jwk"]["kid"]}),
        signed(exp="9999999999"),
        signed(exp=True),
        signed(exp=9e99),
        signed(revision=None),
        signed(admin=True),
        signed(without="payload_digest"),
        CASE["token"] + "=",
        CASE["token"].rpartition(".")[0] + ".",
        CASE["token"] + "." + "a",
        "é" * 50,
        "a" * 5000,
        "",
        None,
        7,
        b"bytes",
    ],
)
def test_anything_else_is_no_approval(token: Any) -> None:
    with pytest.raises(ApprovalInvalid):
        verify(token)


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": []},
        {"keys": [KEY["jwk"], KEY["jwk"]]},
        {"keys": [{**KEY["jwk"], "kty": "oct"}]},
        {"keys": [{**KEY["jwk"], "crv": "X25519"}]},
        {"keys": [{**KEY["jwk"], "alg": "none"}]},
        {"keys": [{**KEY["jwk"], "use": "enc"}]},
        {"keys": [{**KEY["jwk"], "x": KEY["jwk"]["x"][:-2]}]},
        {"keys": [{**KEY["jwk"], "x": 5}]},
        {"keys": "no"},
        [],
        None,
    ],
)
def test_only_one_key_of_the_right_kind_is_taken(jwks: Any) -> None:
    with pytest.raises(ApprovalInvalid):
        verify(jwks=jwks)


@pytest.mark.parametrize("payload", [{"amount": float("nan")}, None, 5, [("amount", 1)], {"a": object()}])
def test_a_payload_that_cannot_be_approved_is_refused(payload: Any) -> None:
    with pytest.raises(GateError):
        verify(payload=payload)


def test_a_changed_bit_anywhere_is_refused() -> None:
    token = CASE["token"]
    for position in range(0, len(token), 3):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(ApprovalInvalid):
            verify(token[:position] + other + token[position + 1 :])


async def test_the_gates_own_token_is_good_until_it_ends() -> None:
    async with api_world() as api:
        decision = await api.approved()
        keys = (await api.get("/.well-known/jwks.json")).json()
        now = api.world.clock.now / 1_000_000
    given = {"tool": "issue_refund", "payload": decision["payload"]}
    assert verify_approval(decision["approval_token"], keys, now=now, **given).approved_by == 1
    with pytest.raises(ApprovalInvalid):
        verify_approval(decision["approval_token"], keys, now=now + 3600, **given)
