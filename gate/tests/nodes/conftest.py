"""Nodes that several files of tests share: starting them takes longer than the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gate.tests.nodes.site import Site, site_of_all_ways


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with site_of_all_ways() as made:
        yield made
