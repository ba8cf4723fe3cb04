"""Every fault at every call: the tool runs at most once, and only where the call could be made again safely."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import pytest
from conftest import ALLOWED, REVIEWED, Site, Together, refund
from engine import Run
from faults import AFTER, KINDS, SLOW, Fault, faulty, nobody

TRIED_AGAIN = ("nothing", "garbage", "no-http", "401", "404", "429", "500", "502-page", "503", "endless-redirect")
TRIED_AGAIN_AFTER = ("cut", "half", "half-a-chunk", "headers-only", "500-after")

Way = Callable[[Site, str], Run]
"""A run whose action people or rules have approved, with the gate at the address given."""


def basic(site: Site, gate_url: str) -> Run:
    return site.run("gate-basic.yml", refund(ALLOWED), gate_url=gate_url)


def waited(site: Site, gate_url: str) -> Run:
    """The question was asked before, with the id of this run: the gate gives the same thread again."""
    inputs, task = refund(REVIEWED), site.new_task()
    thread = site.run("gate-basic.yml", inputs, run_id=task).outputs["thread_id"]
    site.gate.review(thread)
    return site.run("gate-wait.yml", inputs, run_id=task, gate_url=gate_url)


def paused(site: Site, gate_url: str) -> Run:
    task = site.new_task()
    run = site.run("gate-pause.yml", refund(REVIEWED), run_id=task, gate_url=gate_url)
    site.gate.review(site.gate.pending(task))
    return site.run("gate-pause.yml", run_id=task, paused=run, action="decided")


def called_back(site: Site, gate_url: str) -> Run:
    thread = site.run("gate-callback-start.yml", refund(REVIEWED)).outputs["thread_id"]
    site.gate.review(thread)
    return site.run("gate-callback-resume.yml", {"thread_id": thread}, gate_url=gate_url)


def checked(site: Site, gate_url: str) -> Run:
    """With an agent of its own: a scheduled check runs whatever it finds."""
    agent = f"checks-{uuid.uuid4()}"
    site.gate.make_agent(agent)
    thread = site.run("gate-callback-start.yml", refund(REVIEWED), agent=agent).outputs["thread_id"]
    site.gate.review(thread)
    return site.run("gate-scheduled-check.yml", agent=agent, gate_url=gate_url)


BEFORE_IT_RUNS = [
    (basic, "gate"),
    (basic, "redeem"),
    (waited, "poll"),
    (waited, "read"),
    (paused, "read"),
    (called_back, "read"),
    (called_back, "redeem"),
    (checked, "list"),
    (checked, "redeem"),
]
LIES = ("no-token", "another-word", "yes", "approved", "rejected", "forged-token")
HARMLESS = {
    # Everything that the run goes on with came in headers, and they arrived.
    "gate": ("half-without-length",),
    "read": ("half-without-length",),
    "list": ("half-without-length",),
    # A poll only wakes the run, whatever it says.
    "poll": ("half-without-length", *LIES),
    "redeem": (),
}
AFTER_IT_RAN = [(basic, "report"), (checked, "report")]
ASKED_AGAIN = [(basic, "gate"), (waited, "poll"), (called_back, "read"), (checked, "list")]
EACH = [*BEFORE_IT_RUNS, *AFTER_IT_RAN]
at_each = "{0.__name__}-{1}".format


def tried(site: Site, together: Together, way: Way, call: str, kinds: Iterable[str], times: int | None) -> list[Fault]:
    """One run for each kind of fault, all at once."""

    def attempt(fault: Fault) -> Fault:
        with faulty(site.gate.url, fault) as url:
            way(site, url)
        return fault

    faults = [Fault(call, kind, times) for kind in kinds]
    return together(functools.partial(attempt, fault) for fault in faults)


@pytest.mark.parametrize(("way", "call"), BEFORE_IT_RUNS, ids=[at_each(*one) for one in BEFORE_IT_RUNS])
def test_a_call_that_keeps_failing_stops_the_run(site: Site, together: Together, way: Way, call: str) -> None:
    kinds = [kind for kind in KINDS if kind not in HARMLESS[call]]
    faults = tried(site, together, way, call, kinds, None)
    assert [fault.kind for fault in faults if not fault.struck] == []
    assert site.tool.calls == []


@pytest.mark.parametrize(("way", "call"), AFTER_IT_RAN, ids=[at_each(*one) for one in AFTER_IT_RAN])
def test_a_report_that_fails_runs_nothing_again(site: Site, together: Together, way: Way, call: str) -> None:
    tried(site, together, way, call, KINDS, None)
    assert len(site.tool.calls) == len(KINDS)


@pytest.mark.parametrize(("way", "call"), ASKED_AGAIN, ids=[at_each(*one) for one in ASKED_AGAIN])
def test_a_fault_that_passes_is_got_over_and_the_action_runs_once(
    site: Site, together: Together, way: Way, call: str
) -> None:
    kinds = (*TRIED_AGAIN, *TRIED_AGAIN_AFTER)
    tried(site, together, way, call, kinds, 1)
    assert len(site.tool.calls) == len(kinds)


@pytest.mark.parametrize(("way", "call"), EACH, ids=[at_each(*one) for one in EACH])
def test_a_slow_gate_is_waited_for(site: Site, way: Way, call: str) -> None:
    with faulty(site.gate.url, Fault(call, SLOW, 1)) as url:
        way(site, url)
    assert len(site.tool.calls) == 1


@pytest.mark.parametrize("kind", AFTER)
def test_a_redemption_whose_answer_is_lost_runs_nothing_and_is_not_given_again(site: Site, kind: str) -> None:
    with faulty(site.gate.url, Fault("redeem", kind, 1)) as url:
        basic(site, url)
    assert len(site.redeemed()) == 1
    assert site.tool.calls == []


def test_half_a_payload_that_looks_whole_runs_nothing(site: Site) -> None:
    """With no length the engine cannot notice: half of a nested object may end with a brace as well."""
    with faulty(site.gate.url, Fault("redeem", "half-without-length", 1)) as url:
        task = site.new_task()
        run = site.run("gate-pause.yml", refund(REVIEWED), run_id=task, gate_url=url)
        site.gate.review(site.gate.pending(task), payload={"amount": {"value": 5}, "currency": "usd"})
        site.run("gate-pause.yml", run_id=task, paused=run, action="decided")
    assert len(site.redeemed()) == 1
    assert site.tool.calls == []


def test_a_question_that_is_sent_again_opens_no_second_thread(site: Site) -> None:
    with faulty(site.gate.url, Fault("gate", "cut", 2)) as url:
        site.run("gate-basic.yml", refund(REVIEWED), gate_url=url)
    assert len(site.gate.threads()) == 1


def test_with_no_gate_nothing_runs(site: Site) -> None:
    with nobody() as url:
        assert site.run("gate-basic.yml", refund(ALLOWED), gate_url=url).status == "failed"
    assert site.tool.calls == []


def test_a_poll_that_lies_wakes_a_run_and_decides_nothing(site: Site, together: Together) -> None:
    def attempt(kind: str) -> Run:
        with faulty(site.gate.url, Fault("poll", kind)) as url:
            return site.run("gate-wait.yml", refund(REVIEWED), gate_url=url)

    runs = together(functools.partial(attempt, kind) for kind in LIES)
    assert [run.outputs["status"] for run in runs] == ["pending_review"] * len(LIES)
    assert site.tool.calls == []


@pytest.mark.late
def test_a_gate_that_hangs_is_given_up(site: Site, started_early: dict[str, Future[Run]]) -> None:
    assert started_early["hanging"].result(60).status == "failed"
