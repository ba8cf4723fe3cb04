"""One gate, and one process of each plugin from its package, for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3]))

from integrations.dify.plugin_tests.live import Site, live_gate
from integrations.dify.plugin_tests.local import LocalPlugin, unpacked


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A live gate on a database of its own."""
    with live_gate(tmp_path_factory.mktemp("gate")) as made:
        yield made


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlugin]:
    """The tools, from their package."""
    with LocalPlugin(unpacked("plugin", tmp_path_factory.mktemp("plugin"))) as started:
        yield started


@pytest.fixture(scope="session")
def trigger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlugin]:
    """The trigger, from its package."""
    with LocalPlugin(unpacked("trigger", tmp_path_factory.mktemp("trigger"))) as started:
        yield started
