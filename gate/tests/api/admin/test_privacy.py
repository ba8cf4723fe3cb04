"""What is masked and how long content is kept, as admins set it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gate.tests.api.people import House

REDACTION, RETENTION = "/api/admin/redaction", "/api/admin/retention"
DEFAULT: dict[str, Any] = {
    "paths": [],
    "patterns": ["card_number", "api_key", "email"],
    "own": [],
    "reveal_to": ["admin"],
}


async def test_cards_keys_and_mail_addresses_are_masked_by_default(home: House) -> None:
    assert (await home.olga.get(REDACTION)).json() == DEFAULT


async def test_a_choice_is_kept_and_on_record(home: House) -> None:
    wanted = {
        "paths": ["customer.name", "items.*.pin"],
        "patterns": ["iban"],
        "own": [{"name": "Case", "pattern": "C-[0-9]+"}],
        "reveal_to": ["admin", "auditor"],
    }
    assert (await home.ada.put(REDACTION, json=wanted)).json() == wanted
    assert (await home.ada.get(REDACTION)).json() == wanted
    [entry] = await home.world.entries("settings.changed")
    assert json.loads(entry.private)["after"]["value"] == wanted
    assert json.loads(entry.leaf)["objects"] == {"setting": "redaction"}


async def test_the_same_choice_again_is_no_change(home: House) -> None:
    await home.ada.put(REDACTION, json=DEFAULT)
    assert await home.world.entries("settings.changed") == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"paths": ["a..b"]}, "paths"),
        ({"paths": ["x"] * 201}, "paths"),
        ({"patterns": ["all"]}, "patterns"),
        ({"own": [{"name": "look", "pattern": "(?=x)"}]}, "own"),
        ({"own": [{"name": "empty", "pattern": "a*"}]}, "own"),
        ({"own": [{"name": "long", "pattern": "a" * 1001}]}, "own"),
        ({"own": [{"name": "x", "pattern": "x"}] * 51}, "own"),
        ({"reveal_to": ["nobody"]}, "reveal_to"),
        ({"masked": True}, ""),
    ],
)
async def test_a_choice_that_cannot_be_kept_is_422(home: House, wrong: dict[str, object], field: str) -> None:
    answer = await home.ada.put(REDACTION, json=wrong)
    assert (answer.status_code, answer.json()["errors"][0]["field"].startswith(field)) == (422, True)
    assert (await home.ada.get(REDACTION)).json() == DEFAULT


async def test_a_choice_of_somebody_elses_in_between_is_412(home: House) -> None:
    tag = (await home.ada.get(REDACTION)).headers["etag"]
    assert (await home.ada.put(REDACTION, json={"paths": ["x"]}, headers={"If-Match": tag})).status_code == 200
    assert (await home.ada.put(REDACTION, json={"paths": []}, headers={"If-Match": tag})).status_code == 412


async def test_a_preview_shows_what_would_be_masked_and_keeps_nothing(home: House) -> None:
    sample = {
        "own": [{"name": "Case", "pattern": "C-[0-9]+"}],
        "paths": ["pin"],
        "payload": {"case": "C-77", "pin": 1234, "n": 1},
        "text": "about Ｃ-７7 and 1234",
    }
    assert (await home.ada.post(REDACTION + "/preview", json=sample)).json() == {
        "payload": {"case": "⟦masked 1 ••••⟧", "n": 1, "pin": "⟦masked 2 ••••⟧"},
        "text": "about ⟦masked 3 ••••⟧ and ⟦masked 4 ••••⟧",
        "masked": ["case", "pin"],
    }
    assert (await home.ada.get(REDACTION)).json() == DEFAULT
    assert await home.world.entries("settings.changed") == []


@pytest.mark.parametrize("address", [REDACTION, RETENTION])
async def test_only_admins_set_and_reviewers_do_not_even_read(home: House, address: str) -> None:
    body = DEFAULT if address == REDACTION else {"retention_days": 1}
    assert (await home.olga.put(address, json=body)).status_code == 403
    assert (await home.rita.get(address)).status_code == 403
    assert (await home.olga.get(address)).status_code == 200


async def test_content_is_kept_for_ever_until_somebody_says_otherwise(home: House) -> None:
    assert (await home.olga.get(RETENTION)).json() == {"retention_days": 0}
    assert (await home.ada.put(RETENTION, json={"retention_days": 90})).json() == {"retention_days": 90}
    assert (await home.olga.get(RETENTION)).json() == {"retention_days": 90}
    assert (await home.ada.put(RETENTION, json={"retention_days": -1})).status_code == 422
