"""A gate of its own for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gate.tests.api.people import House, house


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with house() as made:
        yield made
