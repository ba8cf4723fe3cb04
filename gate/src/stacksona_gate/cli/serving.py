"""``serve`` and ``demo``."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
import uvloop

from stacksona_gate.cli.options import Database, Port
from stacksona_gate.cli.session import database_named, on_gate_of
from stacksona_gate.cli.shell import single
from stacksona_gate.config import Settings, read_settings, sqlite_path, variable
from stacksona_gate.demo.world import Demo, prepare
from stacksona_gate.domain.errors import Conflict, Invalid
from stacksona_gate.main import configure_logging, setup_link
from stacksona_gate.main import serve as serve_gate
from stacksona_gate.service.gate import Gate

DEMO_DATABASE: Final = "sqlite:///.demo/gate.db"
LOOPBACK: Final = "127.0.0.1"

serve = single("Serve the gate.")
demo = single("Serve a prepared gate.")

Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]


@serve.command("serve")
def serve_command(host: Host = LOOPBACK, port: Port = 8420, database: Database = None) -> None:
    """Serve the gate until the process is told to end.

    Brings the database up to this version first. Prints the address and, as long as there is no admin, a one-time link
    to make the first one. Logs go to standard error.
    """
    settings = read_settings(database_url=database)
    sqlite_path(settings.database_url)
    check_address(host, port)
    configure_logging(settings)

    async def announce(gate: Gate, url: str) -> None:
        typer.echo(f"Stacksona Gate on {_address(host, port)}")
        link = await setup_link(gate)
        if link is not None:
            typer.echo(f"Make the first admin: {link}")

    with database_named(settings):
        run_until_told(serve_gate(settings, host, port, ready=announce))


@demo.command("demo")
def demo_command(port: Port = 8420, database: Database = None) -> None:
    """Serve a prepared gate, with a demo agent that asks about three refunds.

    Keeps its data in .demo/gate.db of this folder unless --database says otherwise. Run it again to go on with the same
    data, new passwords and a new key.
    """
    settings = _demo_settings(database)
    check_address(LOOPBACK, port)
    running = Demo(on_gate_of(settings, prepare), _address(LOOPBACK, port), typer.echo)
    configure_logging(settings)
    run_until_told(_demo(settings, port, running))


async def _demo(settings: Settings, port: int, running: Demo) -> None:
    async def announce(gate: Gate, public_url: str) -> None:
        running.start(public_url)

    try:
        await serve_gate(settings, LOOPBACK, port, ready=announce)
    finally:
        running.stop()


def _demo_settings(database: str | None) -> Settings:
    """Quiet unless told otherwise: what the demo prints is what it is about."""
    chosen = database or os.environ.get(variable("database_url")) or DEMO_DATABASE
    settings = read_settings(database_url=chosen, log_level=os.environ.get(variable("log_level")) or "warning")
    if chosen == DEMO_DATABASE:
        Path(sqlite_path(chosen)).parent.mkdir(mode=0o700, exist_ok=True)
    return settings


def check_address(host: str, port: int) -> None:
    """Raises Invalid for an address that is none here, Conflict for one that is taken: before anything is changed."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise Invalid(f"{host} is no address of this machine: {error.strerror}") from None
    except OSError as error:
        raise Conflict(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from None


def run_until_told(work: Coroutine[None, None, None]) -> None:
    """Runs ``work``; told to end (SIGTERM, Ctrl-C), the process finishes what it does and ends with exit code 0."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    uvloop.run(work)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
