"""Signing in where there are several workspaces, with the keyboard alone and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from gate.tests.browser.site import PASSWORD, Site, served
from gate.tests.factories import World, password_hash
from playwright.sync_api import Browser, Page, expect

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service import people
from stacksona_gate.service.tenants import create_tenant, new_tenant_id, resume_tenant, suspend_tenant
from stacksona_gate.store.base import Tx

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
SLOW = 30_000
"""Milliseconds: a password is slow to check on purpose."""
SCHEMES = pytest.mark.parametrize("page", ["light", "dark"], indirect=True)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With a workspace ``acme``, in which Ann has an account."""
    with served() as running:
        running.run(make_acme)
        yield running


async def make_acme(w: World) -> None:
    tenant_id = new_tenant_id(w.env)

    def unit(tx: Tx) -> None:
        create_tenant(tx, w.env, COMMAND_LINE, tenant_id, "acme")
        people.create_user(
            tx, w.env, COMMAND_LINE, tenant_id, "ann@example.com", "reviewer", password_hash(), name="Ann"
        )

    await w.write(unit)


@pytest.fixture
def page(browser: Browser, browser_context_args: dict[str, Any], site: Site, request: Any) -> Iterator[Page]:
    """The sign-in page on a phone, in light or dark."""
    scheme = getattr(request, "param", "light")
    context = browser.new_context(**{**browser_context_args, "viewport": PHONE, "color_scheme": scheme})
    opened = context.new_page()
    opened.goto(f"{site.url}/sign-in")
    yield opened
    context.close()


def type_in(page: Page, password: str, workspace: str = "acme") -> None:
    """By keys alone, from wherever the page puts the focus."""
    for word in (workspace, "ann@example.com", password):
        page.keyboard.type(word)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button has the focus


def in_the_way(page: Page) -> list[str]:
    found = [one["id"] for one in Axe().run(page).response["violations"]]
    wide = page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]
    return found + ["scrolls sideways"] * wide


@SCHEMES
def test_the_keyboard_alone_signs_in_to_the_workspace_that_it_names(page: Page) -> None:
    expect(page.get_by_label("Workspace")).to_be_focused()
    assert in_the_way(page) == []
    type_in(page, PASSWORD)
    expect(page.get_by_role("navigation", name="Folders")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("banner").get_by_text("acme", exact=True)).to_be_visible()
    assert in_the_way(page) == []


@SCHEMES
def test_who_is_refused_keeps_what_was_typed_and_is_told_without_a_workspace_over_the_page(page: Page) -> None:
    type_in(page, "not the password")
    expect(page.get_by_role("alert")).to_contain_text("password is wrong", timeout=SLOW)
    expect(page.get_by_label("Workspace")).to_have_value("acme")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_role("banner").get_by_text("acme")).to_have_count(0)
    assert in_the_way(page) == []


def test_a_link_with_the_workspace_leaves_the_mail_address_to_be_typed(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/sign-in?workspace=acme")
    expect(page.get_by_label("Mail address")).to_be_focused()


@SCHEMES
def test_who_may_sign_in_nowhere_while_the_workspace_is_suspended_is_told_so(page: Page, site: Site) -> None:
    site.run(lambda w: w.write(lambda tx: suspend_tenant(tx, w.env, COMMAND_LINE, "acme")))
    try:
        type_in(page, PASSWORD)
        expect(page.get_by_role("alert")).to_contain_text("suspended", timeout=SLOW)
        assert in_the_way(page) == []
    finally:
        site.run(lambda w: w.write(lambda tx: resume_tenant(tx, w.env, COMMAND_LINE, "acme")))
