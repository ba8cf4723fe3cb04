"""A whole run, in which the database is broken by hand, is red: the checks find what was done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chaos.sabotage import SABOTAGES
from gate.tests.docs.pages import ROOT

MINUTES = "0.4"


@pytest.mark.slow
def test_a_database_that_was_broken_by_hand_is_found_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos", "--database", "sqlite", "--minutes", MINUTES, "--seed", "5"]
    options = ["--faults", "client-cut,webhooks-twice", "--sabotage", "all", "--out", str(tmp_path)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((tmp_path / "sqlite/report.json").read_text())["violations"]
    broken = {name for name, violations in found.items() if violations}
    for name, sabotage in SABOTAGES.items():
        assert broken.issuperset(sabotage.found_by), name
