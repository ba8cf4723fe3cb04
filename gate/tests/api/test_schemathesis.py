"""The agent API against its own description, on a running gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from gate.tests.cli import processes
from gate.tests.ports import free_port
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stacksona_gate.api.agent.routes import OPERATIONS

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@dataclass(frozen=True)
class Running:
    """A gate in a process of its own, and an agent's key."""

    url: str
    key: str


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    database = f"sqlite:///{tmp_path_factory.mktemp('gate')}/gate.db"
    port = free_port()
    key = processes.made("agent", "create", "bot", "--database", database)["key"]
    with processes.serving(database, port):
        yield Running(f"http://127.0.0.1:{port}", key)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), [(each.method, each.path) for each in OPERATIONS])
def test_every_answer_is_one_that_the_description_has(gate: Running, method: str, path: str) -> None:
    described = schemathesis.openapi.from_url(gate.url + "/openapi.json")[path][method]
    headers = {"Authorization": f"Bearer {gate.key}"}

    @given(described.as_strategy())
    @settings(max_examples=40, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def calls(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers=headers, base_url=gate.url, checks=CHECKS)

    calls()
