"""The databases that the store's contract is held against. A new one is a line in ``DATABASES``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import pytest
import pytest_asyncio
from gate.tests.factories import Database, World, sqlite_database, world
from gate.tests.pooler import pooled_database
from gate.tests.postgres import postgres_database

DATABASES: dict[str, Callable[[], AbstractContextManager[Database]]] = {
    "sqlite": sqlite_database,
    "postgresql-18": postgres_database,
    "postgresql-15": lambda: postgres_database(15),
    "postgresql-partitioned": lambda: postgres_database(partitioned=True),
    "pgbouncer": pooled_database,
    "pgbouncer-listening": lambda: pooled_database(15, listening=True),
}
SLOW: Final = {"postgresql-partitioned", "pgbouncer", "pgbouncer-listening"}
"""The suite takes minutes on each."""


EACH: Final = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in DATABASES]


@pytest.fixture(params=EACH)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database."""
    with DATABASES[request.param]() as opened:
        yield opened


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    """The same world as everywhere, on each database."""
    async with world(database) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=EACH)
async def unchanged(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """As ``w``, for all tests of a module that change nothing of it: their loop is the module's too."""
    with DATABASES[request.param]() as opened:
        async with world(opened) as made:
            yield made
