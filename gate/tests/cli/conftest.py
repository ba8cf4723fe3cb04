"""Databases and the command in this process."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stacksona_gate.cli import app
from stacksona_gate.config import read_settings
from stacksona_gate.main import opened
from stacksona_gate.store.base import Tx


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's settings nor the developer's folder."""
    for name in [name for name in os.environ if name.startswith("STACKSONA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gate.db"


class Shell:
    """Runs commands on one database."""

    def __init__(self, database: str) -> None:
        self.database = database

    def __call__(self, *arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(app, ["--database", self.database, *arguments], input=given)

    def done(self, *arguments: str, given: str | None = None) -> str:
        result = self(*arguments, given=given)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, given: str | None = None) -> Any:
        return json.loads(self.done(*arguments, "--json", given=given))

    def refused(self, *arguments: str, given: str | None = None, code: int = 1) -> str:
        """What standard error says; nothing else was said."""
        result = self(*arguments, given=given)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.stderr

    def stored[T](self, query: Callable[[Tx], T]) -> T:
        async def look() -> T:
            async with opened(read_settings({}, database_url=self.database)) as gate:
                return await gate.store.read(query)

        return asyncio.run(look())

    def written[T](self, unit: Callable[[Tx], T]) -> T:
        async def write() -> T:
            async with opened(read_settings({}, database_url=self.database)) as gate:
                return await gate.store.write(unit)

        return asyncio.run(write())


@pytest.fixture
def shell(database: str) -> Shell:
    return Shell(database)
