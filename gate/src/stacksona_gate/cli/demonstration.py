"""``demo``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import typer

from stacksona_gate.cli.options import Database, Port
from stacksona_gate.cli.serving import LOOPBACK, check_address, run_until_told, served_at
from stacksona_gate.cli.session import on_gate_of
from stacksona_gate.cli.shell import single
from stacksona_gate.config import Settings, check_database, read_settings, sqlite_path, variable
from stacksona_gate.demo.world import Demo, prepare
from stacksona_gate.logs import configure_logging
from stacksona_gate.main import serve as serve_gate
from stacksona_gate.service.gate import Gate

DEMO_DATABASE: Final = "sqlite:///.demo/gate.db"

demo = single("Serve a prepared gate.")


@demo.command("demo")
def demo_command(port: Port = 8420, database: Database = None) -> None:
    """Serve a prepared gate, with a demo agent that asks about three refunds.

    Keeps its data in .demo/gate.db of this folder unless --database or STACKSONA_DATABASE_URL says otherwise. Run it
    again to go on with the same data, new passwords and a new key.
    """
    settings = _demo_settings(database)
    check_database(settings.database_url)
    check_address(LOOPBACK, port)
    if settings.database_url == DEMO_DATABASE:
        Path(sqlite_path(DEMO_DATABASE)).parent.mkdir(mode=0o700, exist_ok=True)
    running = Demo(on_gate_of(settings, prepare), served_at(LOOPBACK, port), typer.echo)
    configure_logging(settings)
    run_until_told(_demo(settings, port, running))


async def _demo(settings: Settings, port: int, running: Demo) -> None:
    async def announce(gate: Gate, public_url: str) -> None:
        running.start(public_url)

    try:
        await serve_gate(replace(settings, drain_seconds=0), LOOPBACK, port, ready=announce)
    finally:
        running.stop()


def _demo_settings(database: str | None) -> Settings:
    """Quiet unless told otherwise: what the demo prints is what it is about."""
    chosen = database or os.environ.get(variable("database_url")) or DEMO_DATABASE
    return read_settings(database_url=chosen, log_level=os.environ.get(variable("log_level")) or "warning")
