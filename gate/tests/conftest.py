"""What every test may ask for by name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gate.tests.factories import World, world
from hypothesis import settings

# An example takes what the machine needs for it. That work grows no faster than what it is given has tests of its own.
settings.register_profile("gate", deadline=None)
settings.load_profile("gate")


@pytest.fixture
async def w() -> AsyncIterator[World]:
    """A gate on an SQLite file of its own, and who is in it."""
    async with world() as made:
        yield made
