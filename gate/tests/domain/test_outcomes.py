"""What is known about an action after its approval was used."""

from __future__ import annotations

import pytest
from gate.tests.domain.asked import asked
from gate.tests.factories import START

from stacksona_gate.domain.outcomes import outcome_state
from stacksona_gate.domain.times import HOUR


@pytest.mark.parametrize("reported", ["executed", "failed", "skipped"])
def test_what_was_reported_is_the_state_whenever_it_is_asked(reported: str) -> None:
    request = asked(status="approved", redeemed_at=START, outcome=reported)
    assert outcome_state(request, START + 9 * HOUR, HOUR) == reported


def test_without_a_redemption_there_is_nothing_to_wait_for() -> None:
    assert outcome_state(asked(status="approved"), START + 9 * HOUR, HOUR) == "none"


@pytest.mark.parametrize(("after", "state"), [(0, "awaiting"), (HOUR - 1, "awaiting"), (HOUR, "unknown")])
def test_a_missing_outcome_is_awaited_for_its_time_and_unknown_from_then_on(after: int, state: str) -> None:
    assert outcome_state(asked(status="approved", redeemed_at=START), START + after, HOUR) == state


def test_a_clock_set_back_before_the_redemption_makes_nothing_unknown() -> None:
    assert outcome_state(asked(status="approved", redeemed_at=START), START - 9 * HOUR, HOUR) == "awaiting"
