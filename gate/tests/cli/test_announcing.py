"""What is printed once a gate serves."""

from __future__ import annotations

from typing import Never

import pytest
from gate.tests.factories import World

from stacksona_gate.cli.serving import announce
from stacksona_gate.domain.errors import Unavailable


async def test_a_database_that_goes_away_as_the_gate_begins_to_serve_does_not_end_it(
    w: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def gone(*_: object, **__: object) -> Never:
        raise Unavailable("away")

    monkeypatch.setattr(w.store, "write", gone)

    await announce(w.gate, "http://127.0.0.1:8420")

    printed = capsys.readouterr()
    assert "Stacksona Gate on http://127.0.0.1:8420" in printed.out
    assert "stacksona-gate user create" in printed.err
