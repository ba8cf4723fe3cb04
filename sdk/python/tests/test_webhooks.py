"""Deliveries: what the scheme's own library signs is good; nothing else is, and nothing else is raised."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from standardwebhooks import Webhook

from stacksona import ConfigurationError, WebhookRefused, WebhookVerifier

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"
NOW = 1_795_694_400
BODY = b'{"event":"decision.approved","thread_id":"THR-1","task_id":"t","request_id":"r","message":"gut \xc3\xbc"}'
VECTORS = Path(__file__).parents[3] / "conformance/webhooks"


def delivery(body: bytes = BODY, *secrets: str, at: int = NOW, webhook_id: str = "whd_1") -> dict[str, str]:
    """Signed by the library."""
    moment = datetime.fromtimestamp(at, timezone.utc)
    signatures = [Webhook(secret).sign(webhook_id, moment, body.decode()) for secret in secrets or (SECRET,)]
    return {"webhook-id": webhook_id, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def verifier(*secrets: str, now: float = NOW) -> WebhookVerifier:
    return WebhookVerifier(*(secrets or (SECRET,)), clock=lambda: now)


def test_what_the_library_signed_is_good() -> None:
    event = verifier().verify(delivery(), BODY)
    assert (event.id, event.sent_at, event.event, event.thread_id) == ("whd_1", NOW, "decision.approved", "THR-1")
    assert event.data["message"] == "gut ü"


def test_header_names_are_read_in_any_case_and_as_pairs() -> None:
    shouted = [(name.upper(), value) for name, value in delivery().items()]
    assert verifier().verify(shouted, BODY).id == "whd_1"


def test_two_secrets_hold_while_one_is_replaced() -> None:
    assert verifier(OTHER, SECRET).verify(delivery(), BODY).id
    assert verifier(SECRET).verify(delivery(BODY, OTHER, SECRET), BODY).id
    with pytest.raises(WebhookRefused):
        verifier(OTHER).verify(delivery(), BODY)


@pytest.mark.parametrize("off", [-300, 300])
def test_five_minutes_are_tolerated_either_way(off: int) -> None:
    assert verifier(now=NOW + off).verify(delivery(), BODY).id
    with pytest.raises(WebhookRefused, match="time"):
        verifier(now=NOW + off * 1.01).verify(delivery(), BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "whd_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": f" {NOW}"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,ÿ"},
        {"webhook-signature": "v2," + delivery()["webhook-signature"][3:]},
        {"webhook-signature": delivery()["webhook-signature"].rstrip("=")},
        {"webhook-signature": "v1a," + delivery()["webhook-signature"][3:]},
        {"Webhook-Id": "whd_1"},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(WebhookRefused):
        verifier().verify(delivery() | change, BODY)


def test_a_good_signature_is_found_among_others() -> None:
    headers = delivery()
    headers["webhook-signature"] = "v1,AAAA v2,BBBB garbage " + headers["webhook-signature"]
    assert verifier().verify(headers, BODY).id


@pytest.mark.parametrize("body", [b"[]", b"null", b"{}", b'{"event":1}', b'{"event":"e","thread_id":5}', b"not json"])
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        verifier().verify(delivery(body), body)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.none(),
        st.integers(),
        st.dictionaries(st.text(), st.one_of(st.text(), st.none(), st.binary())),
        st.lists(st.text()),
        st.fixed_dictionaries(
            {"webhook-id": st.text(), "webhook-timestamp": st.just(str(NOW)), "webhook-signature": st.text()}
        ),
    ),
    st.one_of(st.none(), st.binary(), st.text(), st.just(BODY)),
)
def test_whatever_comes_nothing_else_is_raised(headers: Any, body: Any) -> None:
    with pytest.raises(WebhookRefused):
        verifier().verify(headers, body)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", None, 5])
def test_what_is_no_secret_makes_no_verifier_and_is_not_shown(secret: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        WebhookVerifier(secret)
    assert "***" not in str(refused.value)
    with pytest.raises(ConfigurationError):
        WebhookVerifier()


def test_the_secret_is_not_in_its_repr() -> None:
    assert SECRET[6:] not in repr(verifier())


def vectors(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    return cases


@pytest.mark.parametrize("case", vectors("signed.json"), ids=lambda case: str(case["name"]))
def test_signed_vectors_are_good_with_any_of_their_secrets(case: dict[str, Any]) -> None:
    for secret in case["secrets"]:
        take = WebhookVerifier(secret, clock=lambda: case["at"])
        assert take.verify_signature(case["headers"], case["body"].encode()) == case["webhook_id"]


@pytest.mark.parametrize("case", vectors("accepted.json"), ids=lambda case: str(case["name"]))
def test_accepted_vectors_are_good(case: dict[str, Any]) -> None:
    take = WebhookVerifier(*case["secrets"], clock=lambda: case["now"])
    assert take.verify_signature(case["headers"], case["body"].encode())


@pytest.mark.parametrize("case", vectors("refused.json"), ids=lambda case: str(case["name"]))
def test_refused_vectors_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises((WebhookRefused, ConfigurationError)):
        take(case).verify_signature(case["headers"], case["body"].encode())


def take(case: dict[str, Any]) -> WebhookVerifier:
    return WebhookVerifier(*case["secrets"], clock=lambda: case["now"])
