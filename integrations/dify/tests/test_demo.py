"""``make demo-dify`` with an amount that needs no click."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine import WORKFLOWS
from live import free_port


def test_the_demo_pays_what_a_rule_allows(tmp_path: Path) -> None:
    command = [sys.executable, str(WORKFLOWS.parent / "demo.py"), "--amount", "10", "--port", str(free_port())]
    environment = {**os.environ, "STACKSONA_DATABASE_URL": f"sqlite:///{tmp_path}/demo.db"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'PAID {"amount":10,' in done.stdout
    assert "succeeded: allow" in done.stdout
