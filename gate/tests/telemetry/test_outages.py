"""An outage is two lines and one a minute, however often it is met."""

from __future__ import annotations

import logging

import pytest

from stacksona_gate.telemetry.outages import Outage


class Minutes:
    """A clock that is set by hand, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Minutes:
    return Minutes()


@pytest.fixture
def outage(clock: Minutes) -> Outage:
    return Outage(logging.getLogger("outages"), "it is away", "it is back", clock=clock)


def test_what_fails_twice_a_second_is_said_once_a_minute(
    outage: Outage, clock: Minutes, caplog: pytest.LogCaptureFixture
) -> None:
    for _number in range(241):
        outage.failed("refused")
        clock.now += 0.5
    assert caplog.messages == [
        "it is away: refused",
        "it is away, for 60 seconds now: refused",
        "it is away, for 120 seconds now: refused",
    ]


def test_its_end_is_said_once(outage: Outage, clock: Minutes, caplog: pytest.LogCaptureFixture) -> None:
    outage.failed("refused")
    clock.now += 7
    outage.succeeded()
    outage.succeeded()
    assert caplog.messages[1:] == ["it is back, after 7 seconds"]


def test_what_never_failed_has_no_line(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.succeeded()
    assert caplog.messages == []


def test_the_next_one_is_said_at_once(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _number in range(2):
        outage.failed("refused")
        outage.succeeded()
    assert caplog.messages.count("it is away: refused") == 2
