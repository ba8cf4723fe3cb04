"""The guide to databases that grow does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from gate.tests.cli.processes import COMMAND
from gate.tests.docs.pages import blocks, page
from gate.tests.postgres import postgres_database

pytestmark = pytest.mark.slow
SECRET = "a root secret of this test, which nobody else has"


def test_tables_are_partitioned_and_listed_as_the_guide_shows() -> None:
    partitioning, listing = blocks(page("docs/how-to/growth.md"), "sh")
    with postgres_database() as database:
        environment = os.environ | {"STACKSONA_DATABASE_URL": database.url, "STACKSONA_SECRET_KEY": SECRET}
        command = [COMMAND, *partitioning.split()[1:]]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=120)
        assert "requests is partitioned" in done.stdout
        if shutil.which("psql") is None:
            pytest.skip("psql is not installed")
        listed = subprocess.run(listing, shell=True, capture_output=True, text=True, env=environment, timeout=60)  # noqa: S602 - the guide's own line
        assert "requests_rest" in listed.stdout
