"""The guide's commands, run as they stand but for names and ports."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from gate.tests.cli.processes import COMMAND, PATIENCE, call, running
from gate.tests.docs.pages import blocks, page
from gate.tests.ports import free_port
from gate.tests.postgres import DEBIAN, USER, server
from psycopg.conninfo import conninfo_to_dict

pytestmark = pytest.mark.slow


@pytest.fixture
def name() -> Iterator[str]:
    """Of the guide's database, here."""
    made = f"gate_{secrets.token_hex(6)}"
    yield made
    with psycopg.connect(server(18), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{made}" WITH (FORCE)')


def test_a_database_a_secret_and_two_nodes_are_made_as_the_guide_says(name: str, tmp_path: Path) -> None:
    parts, ports = conninfo_to_dict(server(18)), [free_port(), free_port()]
    make, serve, look = blocks(page("docs/how-to/nodes.md"), "sh")
    path = f"{DEBIAN}:{Path(COMMAND).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "PGHOST": str(parts["host"]), "PGPORT": str(parts["port"]), "PGUSER": USER}

    def shell(text: str) -> None:
        subprocess.run(["bash", "-ec", text], cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)

    def here(port: int) -> str:
        """One node, in the folder that has the secret."""
        address = f"{USER}@{parts['host']}:{parts['port']}/{name}"
        own = serve.replace("gate@pg.internal/gate", address).replace("8420", str(port))
        own = own.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - taken out
        return f"cd {tmp_path}; {own}".replace("stacksona-gate serve", "exec stacksona-gate serve")

    shell(make.replace("UTF8 gate", f"UTF8 {name}"))
    with running("bash", "-ec", here(ports[0]), PATH=path) as first, running("bash", "-ec", here(ports[1]), PATH=path):
        first.line("Stacksona Gate on", str(ports[0]))
        shell(look.replace("8420", str(ports[0])))
        assert call(ports[0], "GET", "/readyz")[0] == 200
