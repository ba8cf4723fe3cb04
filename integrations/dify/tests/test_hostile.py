"""Hostile inputs: either nothing runs, or exactly what was put in, with exactly what was asked about."""

from __future__ import annotations

import functools
import json

import pytest
from conftest import ALLOWED, REVIEWED, Site, Together, refund, text
from hostile import AMOUNTS, TEXTS

FIELDS = ("order_id", "currency", "customer_id", "reason")
TAKEN = 40
"""Of the texts, at least so many are taken as the plain text that they are."""


@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_text_runs_as_the_text_that_it_is_or_not_at_all(site: Site, together: Together, field: str) -> None:
    inputs = [refund(ALLOWED, **{"order_id": f"order-{n}", field: hostile}) for n, hostile in enumerate(TEXTS)]
    together(functools.partial(site.run, "gate-basic.yml", one) for one in inputs)
    executed = sorted(map(text, site.tool.executed()))
    assert set(executed) <= set(map(text, inputs))
    assert len(executed) == len(set(executed)) >= TAKEN


def test_all_fields_hostile_at_once(site: Site, together: Together) -> None:
    inputs = [refund(ALLOWED, **dict.fromkeys(FIELDS, hostile[:90])) for hostile in TEXTS]
    together(functools.partial(site.run, "gate-basic.yml", one) for one in inputs)
    assert set(map(text, site.tool.executed())) <= set(map(text, inputs))
    assert len(site.tool.calls) >= TAKEN


def test_an_amount_that_is_no_number_runs_nothing_but_what_was_asked(site: Site, together: Together) -> None:
    together(functools.partial(site.run, "gate-basic.yml", refund(amount)) for amount in AMOUNTS)
    assert {one["amount"] for one in site.tool.executed()} <= {10}


def test_hostile_texts_that_people_approve_run_as_they_are(site: Site, together: Together) -> None:
    def attempt(hostile: str) -> None:
        task = site.new_task()
        run = site.run("gate-pause.yml", refund(REVIEWED, reason=hostile), run_id=task)
        if run.status == "paused":
            site.gate.review(site.gate.pending(task))
            site.run("gate-pause.yml", run_id=task, paused=run, action="decided")

    together(functools.partial(attempt, hostile) for hostile in TEXTS)
    reasons = [one["reason"] for one in site.tool.executed()]
    assert set(reasons) <= set(TEXTS)
    assert len(reasons) == len(set(reasons)) >= TAKEN


def test_a_hostile_user_name_is_only_metadata(site: Site, together: Together) -> None:
    def attempt(hostile: str) -> None:
        task = site.new_task()
        if site.run("gate-pause.yml", refund(REVIEWED), run_id=task, user=hostile).status == "paused":
            metadata = (site.gate.decision(task) or {})["metadata"]
            assert {**metadata, "dify_user": None, "dify_run_id": None} == EXPECTED
            assert metadata["dify_run_id"] == task

    together(functools.partial(attempt, hostile) for hostile in TEXTS)


EXPECTED = {
    "dify_resume": "human_input",
    "dify_run_id": None,
    "dify_user": None,
    "dify_node": "pause",
    "dify_action_approved": "decided",
    "dify_action_rejected": "decided",
}


def test_a_hostile_wake_up_reads_nothing_and_runs_nothing(site: Site, together: Together) -> None:
    task = site.new_task()
    site.run("gate-callback-start.yml", refund(REVIEWED), run_id=task)
    thread = site.gate.pending(task)
    site.gate.review(thread)
    wakes = [*TEXTS, *(f"{thread}{hostile}" for hostile in TEXTS if hostile.strip()), f"{thread}\nwait: 1", [thread]]
    runs = together(functools.partial(site.run, "gate-callback-resume.yml", {"thread_id": wake}) for wake in wakes)
    assert {run.status for run in runs} == {"failed"}
    assert site.tool.calls == []


def test_a_reviewer_s_hostile_edit_runs_as_it_was_approved(site: Site, together: Together) -> None:
    def attempt(hostile: str) -> None:
        task = site.new_task()
        thread = site.run("gate-callback-start.yml", refund(REVIEWED), run_id=task).outputs["thread_id"]
        site.gate.review(thread, payload={"amount": 1, "note": hostile, hostile[:40] or "empty": {"[x]": [hostile]}})
        site.run("gate-callback-resume.yml", {"thread_id": thread})

    kept = [hostile for hostile in TEXTS if len(hostile) < 1000]
    together(functools.partial(attempt, hostile) for hostile in kept)
    assert sorted(json.dumps(one["note"]) for one in site.tool.executed()) == sorted(map(json.dumps, kept))
