"""What is taken away on one node is taken away on all: also when notifications are lost, and behind a pooler.

What decides is compared with the database in the transaction that decides, so that it holds at once and not only within
the bound; what is only shown, and who waits, follows within it.
"""

from __future__ import annotations

import time

import pytest
from gate.tests.cli.processes import call, until
from gate.tests.nodes.site import BOUND, POLICY, WAYS, Node, Site
from gate.tests.tries import mostly_within

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("way", WAYS)]


def status(node: Node, key: str) -> int:
    return call(node.port, "GET", "/api/agent/threads", key)[0]


def warm(node: Node, key: str) -> None:
    """The node has the key and its configuration at hand."""
    assert (status(node, key), node.ask(key, 100)[1]["status"]) == (200, "allow")


def test_a_key_that_was_rotated_asks_nothing_any_more(site: Site, way: str) -> None:
    (agent, key), node = site.agent(), site.nodes[way]
    warm(node, key)
    fresh = site.first.done("POST", f"agents/{agent}/key", site.admin)["key"]
    assert [node.ask(key, 100)[0], status(node, key), node.ask(fresh, 100)[0]] == [401, 401, 200]


def test_a_token_of_a_rotated_key_is_redeemed_by_nobody_with_the_old_one(site: Site, way: str) -> None:
    (agent, key), node = site.agent(), site.nodes[way]
    token = node.ask(key, 100)[1]["approval_token"]
    site.first.done("POST", f"agents/{agent}/key", site.admin)
    assert node.redeem(key, token)[0] == 401


def test_an_agent_that_was_paused_asks_and_redeems_nothing(site: Site, way: str) -> None:
    (agent, key), node = site.agent(), site.nodes[way]
    token = node.ask(key, 100)[1]["approval_token"]
    site.first.done("PUT", f"agents/{agent}/pause", site.admin)
    assert [node.ask(key, 100)[0], node.redeem(key, token)[0], status(node, key)] == [403, 403, 200]


def test_an_agent_that_was_resumed_asks_again(site: Site, way: str) -> None:
    (agent, key), node = site.agent(), site.nodes[way]
    site.first.done("PUT", f"agents/{agent}/pause", site.admin)
    assert node.ask(key, 100)[0] == 403
    site.first.done("DELETE", f"agents/{agent}/pause", site.admin)
    assert node.ask(key, 100)[0] == 200


def test_a_rule_that_was_tightened_refuses_the_next_request(site: Site, way: str) -> None:
    (_, key), node = site.agent(), site.nodes[way]
    warm(node, key)
    strict = {**POLICY, "tools": {"issue_refund": {"default": "reject"}}}
    version = site.first.done("PUT", "policy", site.admin, strict)["version"]
    try:
        answer = node.ask(key, 100)[1]
        assert (answer["status"], answer["policy_version"]) == ("reject", version)
    finally:
        site.first.done("PUT", "policy", site.admin, POLICY)


def test_a_verifier_that_was_switched_off_redeems_nothing(site: Site, way: str) -> None:
    (_, key), node = site.agent(), site.nodes[way]
    made = site.first.done("POST", "verifiers", site.admin, {"name": site.fresh("v"), "tools": ["issue_refund"]})
    assert node.redeem(made["key"], node.ask(key, 100)[1]["approval_token"])[0] == 200
    site.first.done("PATCH", f"verifiers/{made['id']}", site.admin, {"enabled": False})
    assert node.redeem(made["key"], node.ask(key, 100)[1]["approval_token"])[0] == 401


def test_a_user_who_was_disabled_is_signed_in_nowhere(site: Site, way: str) -> None:
    (user, email), node = site.user(), site.nodes[way]
    _, cookie = site.first.sign_in(email)
    assert node.with_cookie("GET", "/inbox", cookie)[0] == 200
    site.first.done("PATCH", f"users/{user}", site.admin, {"active": False})
    assert (node.with_cookie("GET", "/inbox", cookie)[0], node.sign_in(email)[0]) == (303, 401)


def test_a_session_that_was_ended_is_over(site: Site, way: str) -> None:
    (_, email), node = site.user(), site.nodes[way]
    _, cookie = node.sign_in(email)
    csrf = site.first.with_cookie("GET", "/inbox", cookie)[1].partition('name="csrf" value="')[2].partition('"')[0]
    assert site.first.with_cookie("POST", "/sign-out", cookie, f"csrf={csrf}")[0] == 303
    assert node.with_cookie("GET", "/inbox", cookie)[0] == 303


def test_a_personal_token_that_was_revoked_opens_nothing(site: Site, way: str) -> None:
    (user, _), node = site.user(), site.nodes[way]
    made = site.first.done("POST", f"users/{user}/tokens", site.admin, {"name": "t"})
    assert call(node.port, "GET", "/api/review/threads", made["token"])[0] == 200
    site.first.done("DELETE", f"users/{user}/tokens/{made['id']}", site.admin)
    assert call(node.port, "GET", "/api/review/threads", made["token"])[0] == 401


def test_a_token_of_a_fresh_signing_key_is_redeemed_at_once(site: Site, way: str) -> None:
    (_, key), node = site.agent(), site.nodes[way]
    warm(node, key)
    site.first.done("POST", "settings/signing-key", site.admin)
    token = site.first.ask(key, 100)[1]["approval_token"]
    assert node.redeem(key, token)[0] == 200


def test_a_fresh_signing_key_is_published_within_the_bound(site: Site, way: str) -> None:
    node = site.nodes[way]

    def take() -> float:
        kid = site.first.done("POST", "settings/signing-key", site.admin)["kid"]
        begun = time.monotonic()

        def published() -> float | None:
            asked = time.monotonic()
            keys = call(node.port, "GET", "/.well-known/jwks.json")[1]["keys"]
            return asked if kid in [one["kid"] for one in keys] else None

        return until(published) - begun

    mostly_within(BOUND, take)
