"""A gate of its own for every test, and an HTTP client with its agent's key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gate.tests.api.agent.calls import Api, api_world


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_world() as made:
        yield made
