"""The browser itself: when this fails, nothing else in this folder means anything."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_the_browser_renders_a_page_and_runs_its_script(page: Page) -> None:
    page.goto("data:text/html,<h1>hello</h1><script>document.title = 'ran'</script>")
    assert page.title() == "ran"
    assert page.get_by_role("heading", name="hello").is_visible()
