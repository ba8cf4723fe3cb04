"""What admins and readers see of webhooks, notices, outcomes and masked values, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gate.tests import outbox
from gate.tests.browser.site import Site, served
from gate.tests.browser.test_inbox import PHONE, ask, violations, visit
from gate.tests.factories import World
from playwright.sync_api import expect

from stacksona_gate.domain.webhooks import Result
from stacksona_gate.service.requests import Answer
from stacksona_gate.service.tasks import OutcomeReport, report_outcome

__all__ = ["visit"]

pytestmark = pytest.mark.browser

SCREENS = [{"width": 1280, "height": 800}, PHONE]
GONE = Result(1, 1500, 410, None, "gone <script>alert(1)</script> \u202edlog\u202c \x1b[31m" + "y" * 900, None, True)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def eventful(site: Site) -> Answer:
    """A thread that was decided, whose webhook was refused for good, and whose outcome does not fit."""
    site.run(outbox.give_address)
    answer = ask(
        site, "Refund to a card", payload={"amount": 500, "card": "4242 4242 4242 4242", "mail": "a@b.example"}
    )
    site.run(lambda w: w.review(answer, "reject", message="not this one"))
    site.run(_refused_for_good)
    site.run(lambda w: _said_to_have_run(w, answer))
    return answer


async def _refused_for_good(w: World) -> None:
    (claim,) = await outbox.claimed(w)
    await outbox.record(w, claim, GONE)


async def _said_to_have_run(w: World, answer: Answer) -> None:
    caller, report = await w.caller(), OutcomeReport("executed", request_id=answer.request.id)
    await w.write(lambda tx: report_outcome(tx, w.env, caller, answer.request.task_id, report, None))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", SCREENS, ids=["desk", "phone"])
def test_nothing_stands_in_the_way_of_an_admins_assistive_technology(
    site: Site, eventful: Answer, visit: Any, scheme: str, viewport: dict[str, int]
) -> None:
    visitor = visit("ada", color_scheme=scheme, viewport=viewport)
    page = visitor.page
    for where in ("/inbox", "/outcomes", "/outcomes?state=flagged", f"/inbox/{eventful.request.thread_id}"):
        page.goto(f"{site.url}{where}")
        assert violations(page) == [], where
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], where


def test_a_notice_tells_an_admin_of_a_webhook_that_was_switched_off_until_it_is_dismissed(
    site: Site, eventful: Answer, visit: Any
) -> None:
    page = visit("ada").page
    told = page.get_by_text("A webhook was switched off")
    expect(told).to_be_visible()
    # The notice is the innermost element that has both the words and a button of its own.
    told.locator("xpath=ancestor::*[.//button[contains(., 'Dismiss')]][1]").get_by_role(
        "button", name="Dismiss"
    ).click()
    expect(told).to_have_count(0)


def test_a_receivers_words_are_text_and_nothing_more(site: Site, eventful: Answer, visit: Any) -> None:
    page = visit("ada").open(eventful)
    for summary in page.locator("details summary").all():
        summary.click()
    expect(page.get_by_text("<script>alert(1)</script>", exact=False).first).to_be_visible()
    assert page.locator("script:not([src])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_reviewer_sees_what_is_masked_and_nothing_stands_in_the_way(
    site: Site, eventful: Answer, visit: Any, scheme: str
) -> None:
    page = visit("rita", color_scheme=scheme, viewport=PHONE).open(eventful)
    expect(page.get_by_text("4242").first).to_be_visible()
    assert "4242 4242 4242 4242" not in page.content()
    assert "a@b.example" not in page.content()
    assert violations(page) == []
