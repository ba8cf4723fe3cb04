"""What happens once happens once, however many nodes are asked to do it at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from gate.tests.cli.processes import Json
from gate.tests.nodes.site import WAYS, Node, Site

pytestmark = pytest.mark.slow
REDEMPTIONS = 200
AT_ONCE = 20


def together(calls: Sequence[Callable[[], tuple[int, Json]]]) -> list[tuple[int, Json]]:
    """Begun at the same moment, as many as there are threads."""
    count = min(len(calls), AT_ONCE)
    start = Barrier(count)

    def some(number: int) -> list[tuple[int, Json]]:
        start.wait()
        return [call() for call in calls[number::count]]

    with ThreadPoolExecutor(count) as pool:
        return [answer for answers in pool.map(some, range(count)) for answer in answers]


def by_turns(site: Site) -> list[Node]:
    return [site.first, *(site.nodes[way] for way in WAYS)]


def test_of_two_reviewers_on_two_nodes_one_decides(site: Site) -> None:
    for _ in range(5):
        thread = site.first.thread(site.agent()[1])
        answers = together(
            [
                lambda t=thread: site.first.review(site.reviewer, t),  # type: ignore[misc]
                lambda t=thread: site.nodes["lost"].review(site.admin, t, "reject"),  # type: ignore[misc]
            ]
        )
        assert sorted(status for status, _ in answers) == [200, 409]


def test_two_hundred_redemptions_over_all_nodes_have_one_winner(site: Site) -> None:
    _, key = site.agent()
    token, nodes = site.first.ask(key, 100)[1]["approval_token"], by_turns(site)
    calls = [lambda n=node: n.redeem(key, token) for node in nodes * (REDEMPTIONS // len(nodes))]
    answers = together(calls)
    assert Counter(body.get("reason", "valid") for _, body in answers) == {
        "valid": 1,
        "already_used": REDEMPTIONS - 1,
    }


def test_one_idempotency_key_on_all_nodes_at_once_makes_one_decision(site: Site) -> None:
    _, key = site.agent()
    calls = [lambda n=node: n.ask(key, 500, retry="once") for node in by_turns(site) * 5]
    answers = together(calls)
    assert {status for status, _ in answers} == {200}
    assert len({body["request_id"] for _, body in answers}) == 1


def test_guesses_on_several_nodes_count_together(site: Site) -> None:
    _, email = site.user()
    nodes = by_turns(site)
    guesses = [nodes[number % len(nodes)].sign_in(email, "wrong password")[0] for number in range(6)]
    assert guesses == [401, 401, 401, 401, 401, 429]
    assert [node.sign_in(email)[0] for node in nodes] == [429] * len(nodes)
