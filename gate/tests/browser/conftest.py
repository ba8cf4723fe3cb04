"""Which Chromium the browser tests drive, and how. Nothing here imports the driver: other runs load this file too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

MISSING = (
    "browser tests need Chromium: install the package chromium, or set STACKSONA_TEST_BROWSER to a Chromium binary"
)
SYSTEM = "/usr/bin/chromium"
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure(config: pytest.Config) -> None:
    """The plugin that brings ``base_url`` defines it in a way that pytest 10 will refuse."""
    if config.pluginmanager.hasplugin("playwright"):
        old = "ignore:Session-scoped fixtures defined as instance methods:pytest.PytestRemovedIn10Warning"
        config.addinivalue_line("filterwarnings", old)


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """The driver's plugin breaks asynchronous tests, so that a run without it leaves this folder alone."""
    return None if config.pluginmanager.hasplugin("playwright") else True


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], playwright: Playwright) -> dict[str, Any]:
    """The chosen binary; it is named only when it is not the driver's own."""
    # Chromium refuses its sandbox to root.
    arguments = ARGUMENTS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    chosen = find_chromium(playwright.chromium.executable_path)
    named = {} if chosen == playwright.chromium.executable_path else {"executable_path": chosen}
    return {**browser_type_launch_args, **named, "args": arguments}


def find_chromium(own: str) -> str:
    """The same order as scripts/browser. Fails, never skips."""
    asked = os.environ.get("STACKSONA_TEST_BROWSER")
    for candidate in [asked] if asked else [SYSTEM, own]:
        if Path(candidate).is_file() and os.access(candidate, os.X_OK):
            return candidate
    pytest.exit(MISSING, returncode=1)


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """One locale, time zone and window for every machine."""
    window = {"width": 1280, "height": 800}
    return {**browser_context_args, "locale": "en-GB", "timezone_id": "UTC", "viewport": window}
