"""Runs at the same time, and wake-ups that come twice."""

from __future__ import annotations

import functools

from conftest import ALLOWED, REVIEWED, Site, Together, refund, text


def test_runs_at_once_each_run_their_own(site: Site, together: Together) -> None:
    inputs = [refund(ALLOWED) for _ in range(16)]
    together(functools.partial(site.run, "gate-basic.yml", one) for one in inputs)
    assert sorted(map(text, site.tool.executed())) == sorted(map(text, inputs))


def test_the_same_run_twice_at_once_runs_once(site: Site, together: Together) -> None:
    inputs, task = refund(ALLOWED), site.new_task()
    together(functools.partial(site.run, "gate-basic.yml", inputs, run_id=task) for _ in range(8))
    assert site.tool.executed() == [inputs]


def test_a_run_that_is_resumed_many_times_at_once_runs_once(site: Site, together: Together) -> None:
    inputs, task = refund(REVIEWED), site.new_task()
    run = site.run("gate-pause.yml", inputs, run_id=task)
    site.gate.review(site.gate.pending(task))
    resume = functools.partial(site.run, "gate-pause.yml", run_id=task, paused=run, action="decided")
    together([resume] * 8)
    assert site.tool.executed() == [inputs]


def test_a_wake_up_that_comes_many_times_runs_once(site: Site, together: Together) -> None:
    inputs = refund(REVIEWED)
    thread = site.run("gate-callback-start.yml", inputs).outputs["thread_id"]
    site.gate.review(thread)
    wake = functools.partial(site.run, "gate-callback-resume.yml", {"thread_id": thread})
    together([wake] * 8)
    assert site.tool.executed() == [inputs]


def test_checks_and_wake_ups_at_once_run_each_thread_once(site: Site, together: Together) -> None:
    wanted, threads = [], []
    for _ in range(6):
        wanted.append(refund(REVIEWED))
        threads.append(site.run("gate-callback-start.yml", wanted[-1]).outputs["thread_id"])
        site.gate.review(threads[-1])
    check = functools.partial(site.run, "gate-scheduled-check.yml")
    wakes = [functools.partial(site.run, "gate-callback-resume.yml", {"thread_id": one}) for one in threads]
    together([check, *wakes, check, check])
    assert sorted(map(text, site.tool.executed())) == sorted(map(text, wanted))
