"""Signatures of webhooks, by the vectors in conformance/webhooks and by the scheme's own library."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from stacksona_gate.delivery.signatures import (
    MALFORMED_SECRET,
    NO_MATCH,
    NO_TEXT,
    TOO_NEW,
    TOO_OLD,
    is_secret,
    objection,
    signed_headers,
    verified,
)
from stacksona_gate.domain.times import SECOND

VECTORS = Path(__file__).parents[3] / "conformance/webhooks"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
NOW = 1_795_694_400 * SECOND
MALFORMED = ("", "whsec_", "whsec_é", "whsec_!!!!", "whsec_a", "whsec_ab cd", "whsec_whsec_abc", "===")


def vectors(name: str) -> list[Any]:
    cases = json.loads((VECTORS / f"{name}.json").read_text())
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", vectors("signed"))
def test_a_vector_is_signed_to_the_byte(case: dict[str, Any]) -> None:
    at = case["at"] * SECOND + 999_999
    assert signed_headers(case["secrets"], case["webhook_id"], at, case["body"].encode()) == case["headers"]


@pytest.mark.parametrize("case", vectors("signed"))
def test_a_vector_is_verified_with_each_of_its_secrets(case: dict[str, Any]) -> None:
    body, at = case["body"].encode(), case["at"] * SECOND
    assert all(verified([secret], case["headers"], body, at) for secret in case["secrets"])


@pytest.mark.parametrize("case", vectors("accepted"))
def test_what_a_receiver_accepts(case: dict[str, Any]) -> None:
    assert verified(case["secrets"], case["headers"], case["body"].encode(), case["now"] * SECOND)


@pytest.mark.parametrize("case", vectors("refused"))
def test_what_a_receiver_refuses(case: dict[str, Any]) -> None:
    assert not verified(case["secrets"], case["headers"], case["body"].encode(), case["now"] * SECOND)


def test_the_schemes_own_library_verifies_ours() -> None:
    body = '{"message":"40 €"}'.encode()
    headers = signed_headers([OTHER, SECRET], "whd_1", time.time_ns() // 1000, body)
    assert Webhook(SECRET).verify(body, headers) == Webhook(OTHER).verify(body, headers) == {"message": "40 €"}


def test_the_schemes_own_library_refuses_what_we_refuse() -> None:
    headers = signed_headers([SECRET], "whd_1", time.time_ns() // 1000, b"{}")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{ }", headers)


@given(st.text(), st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=3))
def test_what_is_signed_is_verified(body: str, keys: list[bytes]) -> None:
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    headers = signed_headers(secrets, "whd_1", NOW, body.encode("utf-8", "replace"))
    assert all(verified([secret], headers, body.encode("utf-8", "replace"), NOW) for secret in secrets)


@given(
    st.lists(st.text()),
    st.dictionaries(st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-signature"]), st.text()),
    st.binary(),
    st.integers(),
)
def test_hostile_headers_are_refused_and_nothing_is_raised(
    secrets: list[str], headers: dict[str, str], body: bytes, now: int
) -> None:
    assert verified(secrets, headers, body, now) is False


@given(st.text(), st.text())
def test_a_hostile_id_or_signature_is_refused_and_nothing_is_raised(webhook_id: str, signature: str) -> None:
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(NOW // SECOND), "webhook-signature": signature}
    assert verified([SECRET, OTHER], headers, b"{}", NOW) is False


@pytest.mark.parametrize("late", [-300, 0, 300])
def test_five_minutes_either_way_are_accepted(late: int) -> None:
    assert verified([SECRET], signed_headers([SECRET], "whd_1", NOW, b"{}"), b"{}", NOW + late * SECOND)


@pytest.mark.parametrize(("late", "why"), [(301, TOO_OLD), (-301, TOO_NEW)])
def test_more_is_refused_and_said(late: int, why: str) -> None:
    assert objection([SECRET], signed_headers([SECRET], "whd_1", NOW, b"{}"), b"{}", NOW + late * SECOND) == why


def test_a_body_that_is_not_utf_8_is_refused_and_said() -> None:
    assert objection([SECRET], signed_headers([SECRET], "whd_1", NOW, b""), b"\xff", NOW) == NO_TEXT


def test_no_secret_at_all_verifies_nothing() -> None:
    assert objection([], signed_headers([SECRET], "whd_1", NOW, b"{}"), b"{}", NOW) == NO_MATCH


@pytest.mark.parametrize("secret", MALFORMED)
def test_a_malformed_secret_verifies_nothing(secret: str) -> None:
    headers = signed_headers([SECRET], "whd_1", NOW, b"{}")
    assert objection([secret], headers, b"{}", NOW) == MALFORMED_SECRET


@pytest.mark.parametrize("secret", MALFORMED)
def test_a_malformed_secret_signs_nothing_and_is_not_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match=f"^{MALFORMED_SECRET}$"):
        signed_headers([secret], "whd_1", NOW, b"{}")


def test_nothing_is_signed_with_no_secret() -> None:
    with pytest.raises(ValueError, match="nothing to sign with"):
        signed_headers([], "whd_1", NOW, b"{}")


def test_nothing_is_signed_that_is_not_utf_8() -> None:
    with pytest.raises(ValueError, match=NO_TEXT):
        signed_headers([SECRET], "whd_1", NOW, b"\xff")


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_"), "whsec_YQ", "whsec_YQ=="])
def test_a_secret_may_lack_its_prefix_and_its_padding(secret: str) -> None:
    assert is_secret(secret)
    assert verified([secret], signed_headers([secret], "whd_1", NOW, b"{}"), b"{}", NOW)


def test_the_library_is_not_loaded_with_the_module() -> None:
    look = "import sys, stacksona_gate.delivery.sender, stacksona_gate.delivery.signatures as s\n"
    look += "print(*({'standardwebhooks', 'httpx2', 'httpcore2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
