"""What nobody decides in time is refused."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from conftest import HASTY, Site
from engine import Run
from live import HASTY_SECONDS, eventually

pytestmark = pytest.mark.late


def expired(site: Site, task: str) -> dict[str, object]:
    def look() -> dict[str, object] | None:
        decision = site.gate.decision(task, HASTY) or {}
        return decision if decision.get("status") == "rejected" else None

    return dict(eventually(look, 2 * HASTY_SECONDS))


def test_a_run_that_waits_stops_when_its_thread_expires(site: Site, started_early: dict[str, Future[Run]]) -> None:
    run = started_early["waiting"].result(60)
    assert run.visited[-1] == "stopped_later"
    assert run.outputs["status"] == "rejected"
    assert expired(site, "hasty-wait")["reason_code"] == "expired"


def test_a_run_that_is_woken_after_expiry_stops(site: Site, started_early: dict[str, Future[Run]]) -> None:
    thread = started_early["asked"].result(60).outputs["thread_id"]
    assert expired(site, "hasty-basic")["reason_code"] == "expired"
    run = site.run("gate-callback-resume.yml", {"thread_id": thread}, agent=HASTY)
    assert run.visited[-1] == "stopped"
    site.run("gate-scheduled-check.yml", agent=HASTY)
    assert site.tool.calls == []
