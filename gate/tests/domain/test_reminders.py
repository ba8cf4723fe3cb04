"""When reviewers are reminded: each time once, whatever clock and setting do meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.domain.asked import asked
from gate.tests.factories import START
from hypothesis import given, strategies as st

from stacksona_gate.domain.reminders import ESCALATED, REMINDED, Step, attention, first_reminder, next_step
from stacksona_gate.domain.times import HOUR

HALF, MOST, END = START + 5 * HOUR, START + 9 * HOUR, START + 10 * HOUR
BOTH = (50, 90)


@pytest.mark.parametrize(("percents", "due"), [(BOTH, HALF), ((90,), MOST), ((), None)])
def test_the_first_reminder_is_due_after_its_share_of_the_window(percents: tuple[int, ...], due: int | None) -> None:
    assert first_reminder(START, 10 * HOUR, percents) == due


@pytest.mark.parametrize(
    ("remind_at", "now", "step"),
    [
        (HALF, HALF - 1, Step(None, HALF)),
        (HALF, HALF, Step(REMINDED, MOST)),
        (MOST, MOST - 1, Step(None, MOST)),
        (MOST, MOST, Step(ESCALATED, None)),
        (None, MOST, Step(None, None)),
    ],
)
def test_the_last_reminder_escalates_and_those_before_remind(remind_at: int | None, now: int, step: Step) -> None:
    assert next_step(asked(remind_at=remind_at), BOTH, now) == step


def test_of_several_that_were_missed_only_the_strongest_is_said() -> None:
    assert next_step(asked(remind_at=HALF), BOTH, MOST + 1) == Step(ESCALATED, None)


def test_a_clock_set_back_does_not_repeat_what_was_said() -> None:
    assert next_step(asked(remind_at=MOST, reminders=1), BOTH, HALF - HOUR) == Step(None, MOST)


def test_a_single_reminder_is_the_last() -> None:
    assert next_step(asked(remind_at=HALF), (50,), HALF) == Step(ESCALATED, None)


def test_a_reminder_moved_in_the_setting_waits_for_its_new_time() -> None:
    assert next_step(asked(remind_at=HALF), (95,), HALF) == Step(None, START + 10 * HOUR * 95 // 100)


def test_what_was_said_is_not_said_again_under_a_changed_setting() -> None:
    assert next_step(asked(remind_at=MOST, reminders=1), (50, 95), MOST).said is None


@pytest.mark.parametrize("percents", [(), (50,)])
def test_reminders_taken_from_the_setting_are_not_sent_and_do_not_count_as_an_escalation(
    percents: tuple[int, ...],
) -> None:
    step = next_step(asked(remind_at=MOST, reminders=1), percents, MOST)
    assert step == Step(None, END)
    assert attention(asked(remind_at=step.remind_at, reminders=1)) == "waiting_long"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"remind_at": HALF}, None),
        ({"remind_at": None}, None),
        ({"remind_at": MOST, "reminders": 1}, "waiting_long"),
        ({"remind_at": None, "reminders": 2}, "expires_soon"),
        ({"remind_at": None, "reminders": 2, "status": "approved"}, None),
    ],
)
def test_a_thread_shows_that_its_reviewers_were_reminded(known: dict[str, Any], said: str | None) -> None:
    assert attention(asked(**known)) == said


@given(
    percents=st.lists(st.integers(1, 99), max_size=5, unique=True).map(lambda some: tuple(sorted(some))),
    clock=st.lists(st.integers(START - HOUR, END - 1), max_size=30),
)
def test_whatever_the_clock_does_each_reminder_is_said_at_most_once_and_never_early(
    percents: tuple[int, ...], clock: list[int]
) -> None:
    request, said = asked(remind_at=first_reminder(START, 10 * HOUR, percents)), []
    for now in clock:
        step = next_step(request, percents, now)
        if step.said:
            assert request.remind_at is not None
            assert now >= request.remind_at
            said.append(step.said)
        request = asked(remind_at=step.remind_at, reminders=len(said))
    assert len(said) <= len(percents)
    assert said.count(ESCALATED) <= 1
    assert ESCALATED not in said[:-1]
