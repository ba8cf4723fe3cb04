"""Counting by size."""

from __future__ import annotations

import pytest

from stacksona_gate.telemetry.measures import Histogram, summed


def of(*values: float) -> Histogram:
    made = Histogram((0.1, 1.0))
    for value in values:
        made.observe(value)
    return made


@pytest.mark.parametrize(
    ("value", "buckets"),
    [(0.05, [1, 1, 1]), (0.1, [1, 1, 1]), (0.5, [0, 1, 1]), (1.0, [0, 1, 1]), (9.0, [0, 0, 1])],
)
def test_a_value_counts_in_every_bucket_that_it_is_not_above(value: float, buckets: list[int]) -> None:
    assert [count for _, count in of(value).buckets()] == buckets


def test_the_last_bucket_has_everything_and_the_total_is_the_sum() -> None:
    made = of(0.05, 0.5, 9.0)
    assert made.buckets() == [("0.1", 1), ("1.0", 2), ("+Inf", 3)]
    assert made.total == pytest.approx(9.55)


def test_several_threads_histograms_add_up() -> None:
    total = summed([of(0.05), of(0.5, 9.0)], (0.1, 1.0))
    assert total.counts == [1, 1, 1]
    assert total.total == pytest.approx(9.55)
