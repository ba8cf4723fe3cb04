"""Every promise of the contract has a test that exists; what has none yet is said openly."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

TESTS = Path(__file__).parent
LIMITS = TESTS.parents[1] / "docs/limits.md"
MANIFEST: dict[str, Any] = yaml.safe_load((TESTS / "promises.yaml").read_text())
PROMISES: list[dict[str, Any]] = MANIFEST["promises"]

SECTIONS: Final = {
    "words",
    "statuses",
    "rule",
    "api",
    "bodies",
    "reading",
    "requests",
    "idempotency",
    "decisions",
    "validate",
    "events",
    "revisions",
    "outcomes",
    "cancellation",
    "pausing",
    "around",
    "errors",
    "token",
    "webhooks",
    "policy",
    "people",
    "audit",
    "cli",
    "databases",
}
"""Parts of the contract: a promise belongs to one of them, and none is without a promise."""

NOT_YET: Final = {
    "people.groups",
    "people.two-reviewers",
    "statuses.over-budget",
}
"""Named here a second time, so that nothing becomes «not yet» by the way."""


@cache
def functions_of(file: str) -> frozenset[str]:
    """Names of the test functions of a file; none when there is no such file."""
    path = TESTS / file
    if not path.is_file():
        return frozenset()
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, DEFINITIONS))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return name in functions_of(file)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise["id"])
def test_a_promise_has_tests_and_each_of_them_exists(promise: dict[str, Any]) -> None:
    assert promise["tests"]
    assert [test for test in promise["tests"] if not exists(test)] == []


def test_every_promise_has_an_id_of_its_own_and_says_something() -> None:
    ids = [promise["id"] for promise in PROMISES]
    assert len(set(ids)) == len(ids)
    assert all(len(promise["promise"]) > 10 for promise in PROMISES)


def test_promises_belong_to_the_parts_of_the_contract_and_no_part_is_left_out() -> None:
    assert {promise["id"].partition(".")[0] for promise in PROMISES} == SECTIONS


def test_what_is_not_there_yet_is_exactly_what_was_agreed() -> None:
    assert MANIFEST["not_yet"].keys() == NOT_YET
    assert not NOT_YET & {promise["id"] for promise in PROMISES}


@pytest.mark.skipif(not LIMITS.exists(), reason="the page of limits is not written yet")
def test_the_page_of_limits_names_what_is_not_there_yet() -> None:
    text = LIMITS.read_text()
    assert [name for name in NOT_YET if name not in text] == []


@pytest.mark.parametrize("test", ["test_promises.py::test_nothing", "nowhere.py::test_a", "test_promises.py"])
def test_a_test_that_is_not_there_is_noticed(test: str) -> None:
    assert not exists(test)
