"""Everything that there is, is documented; nothing that is not."""

from __future__ import annotations

import ast
import re
from dataclasses import fields

import pytest
from gate.tests.docs import sentences
from gate.tests.docs.codes import SOURCE, codes_by_status
from gate.tests.docs.pages import page
from gate.tests.docs.reference import AREAS, GENERATED

from stacksona_gate.api.openapi import path_of
from stacksona_gate.cli.app import COMMANDS
from stacksona_gate.config import Settings, variable
from stacksona_gate.domain.approvals import REFUSALS
from stacksona_gate.domain.audit import EVENTS
from stacksona_gate.domain.status import REASON_CODES, STATUSES, TRANSITIONS
from stacksona_gate.policy.model import RULE_TYPES
from stacksona_gate.policy.parse import _POLICY_KEYS, _RULE_KEYS, _TOOL_KEYS


def named(name: str) -> set[str]:
    """What stands in backticks on a page."""
    return set(re.findall(r"`([^`\n]+)`", page(name)))


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_as_the_code_says(name: str) -> None:
    told = page(f"docs/reference/{name}")
    assert told == GENERATED[name](), "write it anew: .venv/bin/python -m gate.tests.docs.reference"


def test_every_setting_is_documented() -> None:
    assert {variable(one.name) for one in fields(Settings)} <= named("docs/reference/settings.md")


def test_pages_name_no_setting_that_does_not_exist() -> None:
    known = {variable(one.name) for one in fields(Settings)}
    ours = {"STACKSONA_GATE_URL", "STACKSONA_API_KEY", "STACKSONA_VERIFIER_KEY", "STACKSONA_TEST_BROWSER"}
    for name in ("README.md", "SECURITY.md", "docs/tutorial.md", "docs/limits.md", "docs/how-to/tls.md"):
        assert set(re.findall(r"STACKSONA_[A-Z_]+", page(name))) <= known | ours, name


def test_every_command_is_documented() -> None:
    headings = re.findall(r"^## `(.+)`$", page("docs/reference/command-line.md"), re.MULTILINE)
    assert {heading.partition(" ")[0] for heading in headings} == set(COMMANDS)


def test_every_error_code_is_documented_once() -> None:
    codes = [code for _, found in codes_by_status() for code in found]
    assert sorted(codes) == sorted(sentences.CODES)


def test_every_refused_redemption_is_documented() -> None:
    assert set(sentences.REASONS) == REFUSALS


def test_every_status_reason_and_move_is_documented() -> None:
    moves = {move for _, move in TRANSITIONS}
    assert STATUSES | REASON_CODES | moves <= named("docs/reference/statuses.md")
    told = page("docs/reference/statuses.md")
    for (status, move), after in TRANSITIONS.items():
        assert f"| `{move}` | `{status}` | `{after}` |" in told


def test_every_audit_event_is_documented() -> None:
    assert set(sentences.EVENTS) == EVENTS


def test_the_audit_events_called_reserved_are_those_that_nothing_writes() -> None:
    written: set[str] = set()
    for path in (SOURCE / "service").rglob("*.py"):
        tree = ast.parse(path.read_text())
        written |= {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for path in (SOURCE / "api").rglob("*.py"):
        written |= set(re.findall(r'"([a-z_]+\.[a-z_]+)"', path.read_text()))
    reserved = {event for event, about in sentences.EVENTS.items() if about.startswith("Reserved")}
    assert EVENTS - written == reserved


def test_every_operation_is_documented() -> None:
    told = named("docs/reference/api.md")
    for _, _, operations in AREAS:
        for one in operations:
            assert f"{one.method} {path_of(one)}" in told


def test_every_key_of_a_policy_is_documented() -> None:
    told = page("docs/reference/policy-file.md")
    for key in (*_POLICY_KEYS, *_TOOL_KEYS, *_RULE_KEYS, *RULE_TYPES):
        assert re.search(rf"\b{key}\b", told), key
