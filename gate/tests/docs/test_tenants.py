"""The guide to several workspaces does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.docs.pages import blocks, page

from stacksona_gate.config import Settings
from stacksona_gate.domain.tenants import LIMITS

GUIDE = "docs/how-to/tenants.md"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(f"sqlite:///{tmp_path}/gate.db")


def commands() -> list[list[str]]:
    lines = [line for block in blocks(page(GUIDE), "sh") for line in block.splitlines()]
    assert all(line.startswith("stacksona-gate ") for line in lines)
    return [line.split()[1:] for line in lines]


def test_the_commands_of_the_guide_work_one_after_the_other(shell: Shell) -> None:
    said = {" ".join(command): shell.done(*command) for command in commands()}
    assert "/setup#" in said["tenant create acme"]
    assert "acme" in said["tenant list"]
    assert "so_" in said["operator create terraform"]
    assert "1,000" in said["tenant show acme"]


def test_the_guide_names_every_limit_and_its_settings() -> None:
    told = page(GUIDE).replace("-", " ").lower()
    assert all(name.replace("_", " ") in told for name in LIMITS)
    assert all(hasattr(Settings(), f"tenant_{name}") for name in LIMITS)


def test_the_quota_headers_in_the_guide_are_those_that_are_sent() -> None:
    from stacksona_gate.api.http import quota_headers
    from stacksona_gate.domain.errors import OverLimit

    error = OverLimit("x", code="workspace_rate", quota="workspace", limit=50, window=1, retry_after=1)
    for name, value in quota_headers(error):
        assert f"{name.decode()}: {value.decode()}".lower() in page(GUIDE).lower()
