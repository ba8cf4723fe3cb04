"""What every test may ask for by name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gate.tests.factories import World, world


@pytest.fixture
async def w() -> AsyncIterator[World]:
    """A gate on an SQLite file of its own, and who is in it."""
    async with world() as made:
        yield made
