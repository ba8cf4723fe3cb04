"""A store that goes away between a commit and the answer: nobody is told that nothing was decided."""

from __future__ import annotations

from typing import Any, Never

import pytest
from gate.tests.api.people import House, path

from stacksona_gate.domain.errors import Unavailable

SAID: dict[str, Any] = {"verdict": "approve", "message": "looked at it", "revision": 1}


async def gone(*_: object) -> Never:
    raise Unavailable("the database is not there: nothing was decided, try again")


async def test_a_verdict_that_cannot_be_shown_is_said_to_be_kept(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = await home.thread()
    with monkeypatch.context() as away:
        away.setattr(home.world.store, "scan", gone)
        answer = await home.rita.post(path(thread, "/reviews"), json=SAID)
    assert (answer.status_code, answer.json()["code"]) == (503, "done_not_shown")
    assert "nothing was decided" not in answer.text
    assert (await home.rita.get(path(thread))).json()["status"] == "approved"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_so_is_a_claim(home: House, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    thread = await home.thread()
    await home.rita.put(path(thread, "/claim"))
    monkeypatch.setattr(home.world.store, "scan", gone)
    answer = await home.rita.request(method, path(thread, "/claim"))
    assert (answer.status_code, answer.json()["code"]) == (503, "done_not_shown")
