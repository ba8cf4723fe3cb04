"""Wiring: what a start needs, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacksona_gate.config import read_settings
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.main import opened


async def test_a_lost_root_secret_is_said_to_be_lost_and_no_other_is_made(tmp_path: Path) -> None:
    settings = read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")
    async with opened(settings):
        (tmp_path / "gate.db.key").unlink()

    with pytest.raises(Invalid, match="cannot read the root secret"):
        async with opened(settings):
            pass

    assert not (tmp_path / "gate.db.key").exists()


async def test_the_root_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with opened(read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")):
        mode = (tmp_path / "gate.db.key").stat().st_mode & 0o777

    assert mode == 0o600
