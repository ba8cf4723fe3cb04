"""A reviewer's day in a real browser: what appears by itself, what keys do, what a phone and a screen reader get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from gate.tests.browser.site import PASSWORD, Site, served
from gate.tests.factories import World, thread_of
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service import people
from stacksona_gate.service.requests import Answer, Ask, File
from stacksona_gate.service.threads import Change

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
LIVE = 5_000
"""Milliseconds within which a page must have followed."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with served() as running:
        yield running


@dataclass
class Visitor:
    """A signed-in tab; what its console complains of fails the test."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    def open(self, answer: Answer) -> Page:
        self.page.goto(f"{self.site.url}/inbox/{thread_of(answer)}")
        return self.page


@pytest.fixture
def visit(browser: Browser, browser_context_args: dict[str, Any], site: Site) -> Iterator[Any]:
    """Signs somebody in: ``visit()``, ``visit("ada")``, ``visit(viewport=PHONE)``."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def signed_in(name: str = "rita", **more: Any) -> Visitor:
        contexts.append(browser.new_context(**{**browser_context_args, **more}))
        page = watched(contexts[-1].new_page(), complaints)
        page.context.add_cookies([{"name": "stacksona_session", "value": site.session(name), "url": site.url}])
        page.goto(f"{site.url}/inbox")
        return Visitor(page, site, complaints)

    yield signed_in
    for context in contexts:
        context.close()
    assert complaints == []


def watched(page: Page, complaints: list[str]) -> Page:
    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(LIVE)
    return page


def ask(site: Site, subject: str = "Refund order 8821", **more: Any) -> Answer:
    payload = more.pop("payload", {"amount": 500, "currency": "EUR", "to": {"name": "Jane"}})
    return site.run(lambda w: w.ask(ask=Ask("issue_refund", subject, payload=payload, **more)))


def status(site: Site, answer: Answer) -> str:
    return site.run(lambda w: w.stored(answer)).status


def test_signing_in_leads_to_the_inbox(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site.url)
    page.get_by_label("Mail address").fill("rita@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("navigation", name="Folders")).to_be_visible()
    page.close()


def test_a_new_thread_appears_by_itself_and_leaves_what_is_being_typed_alone(site: Site, visit: Any) -> None:
    page = visit().page
    search = page.get_by_label("Search")
    search.press_sequentially("half a wo")
    ask(site, "It came by itself")
    expect(page.get_by_role("link", name="It came by itself")).to_be_visible(timeout=LIVE)
    expect(search).to_be_focused()
    expect(search).to_have_value("half a wo")
    expect(page.locator("#announce")).to_have_text("One new request")


def test_a_second_tab_hears_of_it_over_the_same_stream(site: Site, visit: Any) -> None:
    first = visit().page
    second = first.context.new_page()
    second.goto(f"{site.url}/inbox")
    ask(site, "Both saw it")
    for page in (first, second):
        expect(page.get_by_role("link", name="Both saw it")).to_be_visible(timeout=LIVE)
    assert site.run(held_streams) == 1


async def held_streams(w: World) -> int:
    return w.gate.wakeups.count


def test_the_focused_row_keeps_the_focus_when_others_arrive(site: Site, visit: Any) -> None:
    answer = ask(site, "Focused")
    page = visit().page
    page.locator(f"#{thread_of(answer)} a.open").focus()
    ask(site, "Arrives above")
    expect(page.get_by_role("link", name="Arrives above")).to_be_visible(timeout=LIVE)
    expect(page.locator(f"#{thread_of(answer)} a.open")).to_be_focused()


def test_approving_with_a_message_leads_to_the_next_one(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit().open(answer)
    page.get_by_label("Message to the agent").fill("Checked the photos.")
    page.get_by_role("button", name="Approve", exact=False).first.click()
    expect(page.get_by_text("Approved. The agent may run it now.")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("Checked the photos.")
    assert status(site, answer) == "approved"


def test_the_keyboard_alone_reads_notes_and_decides_and_no_single_key_does(site: Site, visit: Any) -> None:
    answer = ask(site, "By keyboard")
    page = visit().page
    keys = page.keyboard
    keys.press("j")
    expect(page.locator(f"#{thread_of(answer)} a.open")).to_be_focused()
    keys.press("o")
    page.wait_for_url(f"**/{thread_of(answer)}")
    keys.press("n")
    keys.type("arc")
    expect(page.get_by_label("Note for other reviewers")).to_have_value("arc")
    keys.press("Escape")
    keys.press("r")
    expect(page.locator("#reject")).to_be_focused()
    keys.press("a")
    expect(page.locator("#approve")).to_be_focused()
    assert status(site, answer) == "pending_review"
    keys.press("Enter")
    expect(page.get_by_text("Approved. The agent may run it now.")).to_be_visible()


def test_help_lists_the_keys_and_can_switch_them_off(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit().open(answer)
    page.keyboard.press("?")
    page.get_by_label("Use these keys in this browser").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.locator("#approve")).not_to_be_focused()


def test_a_newer_revision_is_announced_and_stops_the_buttons(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit().open(answer)
    page.get_by_label("Message to the agent").fill("keep this")
    site.run(lambda w: w.revise(answer, change=Change(payload={"amount": 450})))
    expect(page.locator("#moved")).to_contain_text("The agent sent revision 2.", timeout=LIVE)
    expect(page.locator("#approve")).to_be_disabled()
    page.get_by_role("link", name="Look at it as it is now").click()
    expect(page.get_by_role("heading", name="What revision 2 changed")).to_be_visible()
    expect(page.get_by_label("Message to the agent")).to_have_value("keep this")


def test_somebody_elses_decision_is_announced(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit().open(answer)
    site.run(lambda w: w.review(answer, "reject", by=w.other_reviewer))
    expect(page.locator("#moved")).to_contain_text("decided meanwhile: rejected", timeout=LIVE)
    expect(page.locator("#approve")).to_be_disabled()


def test_a_note_appears_without_touching_a_half_written_one(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit().open(answer)
    page.get_by_label("Note for other reviewers").fill("half")
    event = visit("ada")
    other = event.open(answer)
    other.get_by_label("Note for other reviewers").fill("From Ada")
    other.get_by_role("button", name="Add the note").click()
    expect(page.locator("#said")).to_contain_text("From Ada", timeout=LIVE)
    expect(page.get_by_label("Note for other reviewers")).to_have_value("half")


def test_editing_then_approving_binds_the_edited_payload(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit().open(answer)
    page.keyboard.press("e")
    page.get_by_label("Payload as JSON").fill('{"amount": 300}')
    page.get_by_role("button", name="Approve my version").click()
    expect(page.locator("#badges")).to_contain_text("Edited by a reviewer")
    assert site.run(lambda w: w.stored(answer)).payload == '{"amount":300}'


def test_the_setup_code_goes_from_the_fragment_into_its_field(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{site.url}/setup#abc123")
    expect(page.get_by_label("One-time code")).to_have_value("abc123")
    assert page.url == f"{site.url}/setup"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
def test_nothing_stands_in_the_way_of_assistive_technology(
    site: Site, visit: Any, scheme: str, viewport: dict[str, int]
) -> None:
    answer = rich(site)
    visitor = visit(color_scheme=scheme, viewport=viewport)
    page = visitor.page
    assert violations(page) == []
    visitor.open(answer)
    page.get_by_text("Edit, then approve", exact=True).click()
    page.get_by_text("Canonical form and digest").click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    assert violations(page) == []


def rich(site: Site) -> Answer:
    """A thread with everything on its page."""
    answer = ask(
        site,
        "Refund \u202eevil\u202c and p\u0430ypal " + "x" * 200,
        risk_level="critical",
        workflow_name="Support",
        task_label="Ticket",
        preview="Dear Jane,\n" + "word " * 2000,
        summary=("one", "two\u200b"),
        metadata={"trace": "9f2c"},
        attachments=(File("a.bin", "application/octet-stream", b"data"),),
        payload={"amount": 640, "list": [1, "1", None, True, {}], "long": "y" * 5000, "z" * 300: 1},
    )
    site.run(lambda w: w.review(answer, "request_changes", message="less"))
    site.run(lambda w: w.revise(answer, change=Change(payload={"amount": 500, "list": ["1"]})))
    return answer


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found]


def test_on_a_phone_the_buttons_are_under_the_thumb(site: Site, visit: Any) -> None:
    answer = ask(site)
    page = visit(viewport=PHONE, has_touch=True, is_mobile=True).open(answer)
    for name in ("approve", "reject", "changes"):
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None
        assert box["y"] > PHONE["height"] * 0.7
        assert (box["y"] + box["height"] <= PHONE["height"], box["height"] >= 44, box["width"] >= 44) == (True,) * 3


def test_the_list_has_no_sideways_scrolling_on_a_phone(site: Site, visit: Any) -> None:
    rich(site)
    page = visit(viewport=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_on_a_phone_a_filter_can_be_cleared_and_an_empty_list_is_no_line(site: Site, visit: Any) -> None:
    page = visit(viewport=PHONE, has_touch=True, is_mobile=True).page
    page.goto(f"{site.url}/inbox?q=nothing-has-these-words")
    box = page.get_by_role("link", name="Clear").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= PHONE["width"] - 12  # the page's own margin
    assert not page.locator("#threads").is_visible()


def test_on_a_phone_a_long_value_has_the_width_of_the_page(site: Site, visit: Any) -> None:
    answer = ask(site, payload={"amount": 500, "url": "https://example.com/" + "a" * 300})
    page = visit(viewport=PHONE, has_touch=True, is_mobile=True).open(answer)
    box = page.locator(".payload td").filter(has_text="example.com").bounding_box()
    assert box is not None
    assert box["width"] > PHONE["width"] * 0.75
    assert page.get_by_role("rowheader", name="url").is_visible()  # still a table


def test_dark_mode_is_dark(visit: Any) -> None:
    page = visit(color_scheme="dark").page
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 23)"


def test_a_session_that_ends_elsewhere_ends_here(site: Site, visit: Any) -> None:
    visitor = visit("olga")
    page = visitor.page
    expect(page.get_by_role("navigation", name="Folders")).to_be_visible()
    site.run(
        lambda w: w.write(lambda tx: people.change_user(tx, w.env, COMMAND_LINE, "default", w.auditor.id, active=False))
    )
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=LIVE)
    # The browser itself may log the 401 that told the page; whether it does depends on what was under way.
    visitor.complaints[:] = [text for text in visitor.complaints if "401" not in text]
    site.run(
        lambda w: w.write(lambda tx: people.change_user(tx, w.env, COMMAND_LINE, "default", w.auditor.id, active=True))
    )
