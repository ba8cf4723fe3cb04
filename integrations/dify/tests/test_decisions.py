"""What each template does with each answer of the gate."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ALLOWED, REFUSED, REVIEWED, Site, Together, refund, text
from engine import TIMEOUT, Run

ASKING = ("gate-basic.yml", "gate-wait.yml", "gate-pause.yml", "gate-callback-start.yml")

Decide = Callable[[str, str], None]
"""What happens to the thread of a task while it is pending: (thread, task)."""


def waited(site: Site, decide: Decide) -> tuple[Run, dict[str, object]]:
    inputs, task = refund(), site.new_task()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.run, "gate-wait.yml", inputs, run_id=task)
        decide(site.gate.pending(task), task)
        return running.result(30), inputs


def paused(site: Site, decide: Decide) -> tuple[Run, dict[str, object]]:
    inputs, task = refund(), site.new_task()
    run = site.run("gate-pause.yml", inputs, run_id=task)
    assert run.status == "paused"
    decide(site.gate.pending(task), task)
    return site.run("gate-pause.yml", run_id=task, paused=run, action="decided"), inputs


def called_back(site: Site, decide: Decide) -> tuple[Run, dict[str, object]]:
    inputs, task = refund(), site.new_task()
    thread = site.run("gate-callback-start.yml", inputs, run_id=task).outputs["thread_id"]
    decide(thread, task)
    return site.run("gate-callback-resume.yml", {"thread_id": thread}), inputs


def checked(site: Site, decide: Decide) -> tuple[Run, dict[str, object]]:
    inputs, task = refund(), site.new_task()
    thread = site.run("gate-callback-start.yml", inputs, run_id=task).outputs["thread_id"]
    decide(thread, task)
    return site.run("gate-scheduled-check.yml"), inputs


WAYS = (waited, paused, called_back, checked)
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@pytest.mark.parametrize("name", ASKING)
def test_what_a_rule_allows_runs_once_with_what_was_asked(site: Site, name: str) -> None:
    inputs = refund(ALLOWED)
    run = site.run(name, inputs)
    assert run.status == "succeeded"
    assert site.tool.executed() == [inputs]
    assert run.outputs["status"] == "allow"
    assert json.loads(run.outputs["executed"]) == inputs


@pytest.mark.parametrize("name", ASKING)
def test_what_a_rule_refuses_stops(site: Site, name: str) -> None:
    run = site.run(name, refund(REFUSED))
    assert run.visited[-1] == "stopped"
    assert run.outputs["status"] == "reject"
    assert site.tool.calls == []


@pytest.mark.parametrize("name", ["gate-basic.yml", "gate-callback-start.yml"])
def test_pending_answers_with_the_thread_and_the_link(site: Site, name: str) -> None:
    outputs = site.run(name, refund(REVIEWED)).outputs
    assert outputs["status"] == "pending_review"
    assert json.loads(outputs["answer"])["review_url"].endswith("/inbox/" + outputs["thread_id"])
    assert site.tool.calls == []


@every_way
def test_what_people_approve_runs_once_with_what_was_asked(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    run, inputs = way(site, lambda thread, task: site.gate.review(thread))
    assert run.status == "succeeded"
    assert site.tool.executed() == [inputs]


@every_way
def test_what_people_reject_does_not_run(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    run, _ = way(site, lambda thread, task: site.gate.review(thread, "reject"))
    assert run.status == "succeeded"
    assert site.tool.calls == []


@every_way
def test_what_a_reviewer_edits_runs_as_edited(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    edited = {"amount": 7.5, "currency": "eur", "customer_id": "cüs_1", "note": "{{#env.STACKSONA_API_KEY#}}"}
    way(site, lambda thread, task: site.gate.review(thread, payload=edited))
    assert site.tool.executed() == [edited]


@every_way
def test_after_a_revision_what_was_revised_runs(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    revised = {"amount": 321, "currency": "usd"}

    def decide(thread: str, task: str) -> None:
        site.gate.review(thread, "request_changes", message="less, please")
        site.gate.revise(task, thread, revised)
        site.gate.review(thread)

    way(site, decide)
    assert site.tool.executed() == [revised]


@pytest.mark.parametrize("way", [paused, called_back, checked], ids=lambda way: way.__name__)
def test_an_approval_that_was_used_elsewhere_does_not_run(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    def decide(thread: str, task: str) -> None:
        site.gate.review(thread)
        site.gate.redeem(site.gate.decision(task) or {})

    way(site, decide)
    assert site.tool.calls == []


@every_way
def test_an_agent_paused_while_its_run_waits_does_nothing(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    way(site, lambda thread, task: site.gate.pause(site.gate.agent))
    assert site.tool.calls == []


@pytest.mark.parametrize("way", [paused, called_back, checked], ids=lambda way: way.__name__)
def test_an_agent_paused_after_the_approval_does_nothing(site: Site, way: Callable[..., tuple[Run, object]]) -> None:
    def decide(thread: str, task: str) -> None:
        site.gate.review(thread)
        site.gate.pause(site.gate.agent)

    way(site, decide)
    assert site.tool.calls == []


def test_a_paused_agent_gets_no_answer_and_runs_nothing(site: Site, together: Together) -> None:
    site.gate.pause(site.gate.agent)
    runs = together(functools.partial(site.run, name, refund(ALLOWED)) for name in ASKING)
    assert {run.status for run in runs} == {"failed"}
    assert site.tool.calls == []


@pytest.mark.parametrize("key", ["", "sg_" + "0" * 64, "{{#start.reason#}}"])
def test_a_wrong_key_runs_nothing(site: Site, key: str) -> None:
    assert site.run("gate-basic.yml", refund(ALLOWED), key=key).status == "failed"
    assert site.tool.calls == []


def test_an_agent_without_signed_approvals_has_nothing_to_redeem(site: Site) -> None:
    site.gate.make_agent("unsigned", signed_approvals=False)
    run = site.run("gate-basic.yml", refund(ALLOWED), agent="unsigned")
    assert run.visited[-1] == "stopped"
    assert site.tool.calls == []


def test_an_approval_of_another_tool_does_not_open_this_action(site: Site) -> None:
    task = site.new_task()
    site.gate.ask(task, tool_name="wire_money", subject="Wire", payload={"amount": 500})
    thread = site.gate.pending(task)
    site.gate.review(thread)
    run = site.run("gate-callback-resume.yml", {"thread_id": thread})
    assert json.loads(run.outputs["refusal"])["reason"] == "wrong_tool"
    assert site.tool.calls == []


def test_a_form_sent_while_the_thread_is_open_approves_nothing(site: Site) -> None:
    task = site.new_task()
    run = site.run("gate-pause.yml", refund(), run_id=task)
    resumed = site.run("gate-pause.yml", run_id=task, paused=run, action="decided")
    assert resumed.outputs["status"] == "pending_review"
    assert site.tool.calls == []


def test_a_form_that_timed_out_still_reads_the_decision(site: Site) -> None:
    inputs, task = refund(), site.new_task()
    run = site.run("gate-pause.yml", inputs, run_id=task)
    site.gate.review(site.gate.pending(task))
    site.run("gate-pause.yml", run_id=task, paused=run, action=TIMEOUT)
    assert site.tool.executed() == [inputs]


def test_the_form_names_its_thread_and_asks_the_gate_only_once(site: Site) -> None:
    task = site.new_task()
    run = site.run("gate-pause.yml", refund(), run_id=task)
    thread = site.gate.pending(task)
    assert thread in (run.form or "")
    site.run("gate-pause.yml", run_id=task, paused=run, action="decided")
    assert [one["thread_id"] for one in site.gate.threads() if one["task_id"] == task] == [thread]


def test_the_bridge_finds_where_to_resume_in_the_metadata(site: Site) -> None:
    paused_task, called_task = site.new_task(), site.new_task()
    site.run("gate-pause.yml", refund(), run_id=paused_task, user="user-7")
    site.run("gate-callback-start.yml", refund(), run_id=called_task)
    assert (site.gate.decision(paused_task) or {})["metadata"] == {
        "dify_resume": "human_input",
        "dify_run_id": paused_task,
        "dify_user": "user-7",
        "dify_node": "pause",
        "dify_action_approved": "decided",
        "dify_action_rejected": "decided",
    }
    assert (site.gate.decision(called_task) or {})["metadata"] == {
        "dify_resume": "webhook",
        "dify_webhook": "gate-callback-resume",
    }


def test_a_scheduled_check_runs_all_that_waits_and_leaves_the_rest(site: Site) -> None:
    wanted = []
    for verdict in ("approve", "reject", "approve", None, "approve"):
        inputs, task = refund(), site.new_task()
        site.run("gate-callback-start.yml", inputs, run_id=task)
        if verdict is not None:
            site.gate.review(site.gate.pending(task), verdict)
        wanted += [inputs] if verdict == "approve" else []
    site.run("gate-scheduled-check.yml")
    assert sorted(map(text, site.tool.executed())) == sorted(map(text, wanted))
    site.run("gate-scheduled-check.yml")
    assert len(site.tool.calls) == len(wanted)


@pytest.mark.parametrize(("answer", "outcome"), [(200, "executed"), (500, "failed"), (302, "failed")])
def test_what_became_of_the_action_is_reported(site: Site, answer: int, outcome: str) -> None:
    site.tool.answers.put(answer)
    run = site.run("gate-basic.yml", refund(ALLOWED))
    assert run.visited[-1] == ("done" if outcome == "executed" else "failed")
    assert ("report" in run.visited) is (outcome == "executed")
    assert len(site.tool.calls) == 1


def test_an_action_that_gives_no_answer_is_not_tried_again(site: Site) -> None:
    site.tool.answers.put(0)
    assert site.run("gate-basic.yml", refund(ALLOWED)).status == "failed"
    assert len(site.tool.calls) == 1
