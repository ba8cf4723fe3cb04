"""That one slow try is forgiven and a promise that is broken every other time is not."""

from __future__ import annotations

import pytest
from gate.tests import tries


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "PAUSE", 0.0)


@pytest.mark.parametrize("took", [[1], [9, 1, 1], [9, 9, 1, 1, 1], [9, 1, 9, 1, 1]])
def test_most_tries_within_the_bound_keep_a_promise_and_no_more_are_made(took: list[float]) -> None:
    left = iter(took)
    tries.mostly_within(5, lambda: next(left))
    assert list(left) == []


@pytest.mark.parametrize("took", [[9] * 7, [9, 1] * 4, [9, 9, 9, 1, 1, 1, 9]])
def test_as_many_over_it_as_within_it_do_not(took: list[float]) -> None:
    left = iter(took)
    with pytest.raises(AssertionError, match="seconds"):
        tries.mostly_within(5, lambda: next(left))
