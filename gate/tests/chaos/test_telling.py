"""What is written down while a run goes on, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.checks.checker import check
from chaos.client import DONE, outcome_of
from chaos.history import FAILED, OK, UNKNOWN, Recorder, read_history
from chaos.report import LEAST_PER_MINUTE, Verdict, lines, too_little
from chaos.run import Ran
from gate.tests.chaos.histories import good

from stacksona_gate.store.postgres_transactions import UNKNOWN as MAYBE


@pytest.mark.parametrize(
    ("status", "detail", "outcome"),
    [
        (200, "", OK),
        (201, "", OK),
        (403, "", FAILED),
        (409, "", FAILED),
        (503, "nothing was decided, try again", FAILED),
        (503, MAYBE, UNKNOWN),
        (503, "cannot be shown", OK),
        (500, "", UNKNOWN),
        (502, "", UNKNOWN),
    ],
)
def test_an_answer_says_as_much_as_it_can(status: int, detail: str, outcome: str) -> None:
    code = DONE if "shown" in detail else "unavailable"
    assert outcome_of(status, {"detail": detail, "code": code}) == outcome


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history")
    one = recorder.begin("poll", "agent-1", 0, asked="req_1")
    recorder.begin("poll", "agent-2", 1, asked="req_2")
    recorder.note("probe", target=0, seconds=0.1)
    recorder.end(one, "poll", OK, status="approved")
    recorder.close()
    history = read_history((tmp_path / "history").read_text().splitlines())
    answered, unheard = history.operations
    assert (answered.do, answered.who, answered.node, answered.outcome) == ("poll", "agent-1", 0, OK)
    assert (answered.given, answered.got) == ({"asked": "req_1"}, {"status": "approved"})
    assert answered.ended is not None
    assert answered.begun <= answered.ended
    assert (unheard.outcome, unheard.ended) == (UNKNOWN, None)
    assert [note["note"] for note in history.notes] == ["probe"]


def ran(**hits: int) -> Ran:
    history, final = good()
    return Ran(history, final, hits, [])


def test_a_run_in_which_little_happened_is_none() -> None:
    told = too_little(ran(), [], 1.0)
    assert f"4 acknowledged submit, at least {LEAST_PER_MINUTE['submit']} expected" in told
    assert not Verdict({}, told).is_green


def test_a_fault_that_never_hit_is_named() -> None:
    assert too_little(ran(nodes=1), ["nodes", "disks"], 0.001) == ("disks never hit anything",)


def test_a_run_in_which_all_holds_is_green() -> None:
    made = ran(nodes=1)
    assert Verdict(check(made.history, made.final), too_little(made, ["nodes"], 0.001)).is_green


def test_what_is_found_is_shown_with_the_calls_and_faults_around_it() -> None:
    made = ran()
    made.history.notes.append({"note": "fault", "kind": "sync-slow", "target": 1, "begun": 4.0, "ended": 5.0})
    made.final.requests.clear()
    verdict = Verdict(check(made.history, made.final), ())
    told = "\n".join(lines(made, verdict, ["seed: 7"]))
    assert not verdict.is_green
    assert "acknowledged survives                      BROKEN" in told
    assert "submit by somebody at node 0: ok" in told
    assert "fault sync-slow at node 1" in told
