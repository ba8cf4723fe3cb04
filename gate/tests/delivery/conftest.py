"""What every test of deliveries may ask for by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate.tests.delivery.receivers import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
