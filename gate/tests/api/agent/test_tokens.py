"""The vectors of conformance/tokens, run through the gate's own keyring and through another library."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from gate.tests.api.agent.calls import VALIDATE, Api, problem
from gate.tests.factories import ROOT_SECRET
from joserfc import jws
from joserfc.jwk import OKPKey

from stacksona_gate.domain.canonical import digest
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.keyring import PURPOSE, BadToken, Keyring
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.base import SigningKey

FOLDER = Path(__file__).parents[4] / "conformance/tokens"
KEY = json.loads((FOLDER / "key.json").read_text())
SIGNED: list[dict[str, Any]] = json.loads((FOLDER / "signed.json").read_text())
REFUSED: list[dict[str, Any]] = json.loads((FOLDER / "refused.json").read_text())


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    """The gate's own, with the key of the vectors."""
    root, kid = RootSecret(ROOT_SECRET), KEY["jwk"]["kid"]
    wrapped = root.wrap(bytes.fromhex(KEY["private_seed_hex"]), PURPOSE + kid, Environment())
    return Keyring(KEY["issuer"], [SigningKey(kid, KEY["jwk"]["x"], wrapped, 0, None)], root, 0)


def approved(case: dict[str, Any]) -> Request:
    """The request that the claims speak of; what they do not say is left blank."""
    claims = case["claims"]
    known = {
        "tenant_id": claims["tenant"],
        "id": claims["request_id"],
        "agent_id": claims["sub"],
        "task_id": claims["task_id"],
        "thread_id": claims.get("thread_id"),
        "tool_name": claims["aud"],
        "payload_digest": claims["payload_digest"],
        "policy_version": claims["policy_version"],
        "revision": claims["revision"],
        "approval_id": claims["jti"],
        "approval_expires_at": case["approval_expires_at"] * SECOND,
        "approved_by": claims["approved_by"],
    }
    blank: dict[str, Any] = dict.fromkeys(Request.__annotations__)
    return Request(**(blank | known))


@pytest.mark.parametrize("case", SIGNED, ids=named)
def test_the_gate_writes_exactly_this_token(keyring: Keyring, case: dict[str, Any]) -> None:
    assert keyring.sign(approved(case), case["now"] * SECOND) == case["token"]


@pytest.mark.parametrize("case", SIGNED, ids=named)
def test_the_gate_reads_what_the_token_claims(keyring: Keyring, case: dict[str, Any]) -> None:
    claims, said = keyring.read(case["token"]), case["claims"]
    assert claims.exp == said["exp"] * SECOND
    for name in said.keys() - {"exp", "iat"}:
        assert getattr(claims, name) == said[name]


@pytest.mark.parametrize("case", SIGNED, ids=named)
def test_another_library_reads_the_same(case: dict[str, Any]) -> None:
    verified = jws.deserialize_compact(case["token"], OKPKey.import_key(KEY["jwk"]), algorithms=["Ed25519"])
    assert (verified.headers(), json.loads(verified.payload)) == (case["header"], case["claims"])


@pytest.mark.parametrize("case", SIGNED, ids=named)
def test_the_digest_is_the_payloads(case: dict[str, Any]) -> None:
    assert digest(case["payload"]) == case["payload_digest"] == case["claims"]["payload_digest"]


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_the_gate_refuses_this_token(keyring: Keyring, case: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        keyring.read(case["token"])


async def test_none_of_them_redeems_anything(api: Api) -> None:
    before = api.counted()["requests"]
    for case in REFUSED:
        answer = await api.post(VALIDATE, {"task_id": "task-1", "signature": case["token"]})
        assert problem(answer, 403)["reason"] == case["reason"], case["name"]
    assert api.counted()["requests"] == before


def test_the_published_key_is_the_private_ones_other_half() -> None:
    seed = base64.urlsafe_b64encode(bytes.fromhex(KEY["private_seed_hex"])).rstrip(b"=").decode()
    whole = OKPKey.import_key({**KEY["jwk"], "d": seed})
    assert whole.as_dict(private=False)["x"] == KEY["jwk"]["x"]
