"""``serve``."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Coroutine
from typing import Annotated, Final, NoReturn

import typer
import uvloop

from stacksona_gate.cli.options import Database, Port
from stacksona_gate.cli.session import database_named
from stacksona_gate.cli.shell import single
from stacksona_gate.config import check_database, read_settings
from stacksona_gate.domain.errors import Conflict, Invalid, Unavailable
from stacksona_gate.logs import configure_logging
from stacksona_gate.main import serve as serve_gate, setup_link
from stacksona_gate.service.gate import Gate

LOOPBACK: Final = "127.0.0.1"

serve = single("Serve the gate.")

Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]


@serve.command("serve")
def serve_command(host: Host = LOOPBACK, port: Port = 8420, database: Database = None) -> None:
    """Serve the gate until the process is told to end.

    Brings the database up to this version first. Prints the address and, as long as there is no admin, a one-time link
    to make the first one. Logs go to standard error.
    """
    settings = read_settings(database_url=database)
    check_database(settings.database_url)
    check_address(host, port)
    configure_logging(settings)

    async def ready(gate: Gate, url: str) -> None:
        await announce(gate, served_at(host, port))

    with database_named(settings):
        run_until_told(serve_gate(settings, host, port, ready=ready))


async def announce(gate: Gate, address: str) -> None:
    """Says where it serves, and how to make the first admin. It serves by then, so that a database that goes away right
    now ends nothing: the link is for another start."""
    typer.echo(f"Stacksona Gate on {address}")
    try:
        link = await setup_link(gate)
    except Unavailable:
        typer.echo("the database went away: if there is no admin yet, `stacksona-gate user create` makes one", err=True)
        return
    if link is not None:
        typer.echo(f"Make the first admin: {link}")


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
        other = "--host" if error.errno == errno.EADDRNOTAVAIL else "--port"
        raise Conflict(f"cannot listen on {host} port {port}: {error.strerror}; choose another {other}") from None


def run_until_told(work: Coroutine[None, None, None]) -> None:
    """Runs ``work``; told to end (SIGTERM, Ctrl-C), the process finishes what it does and ends with exit code 0."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    uvloop.run(work)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def served_at(host: str, port: int) -> str:
    """The address as a link has it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
