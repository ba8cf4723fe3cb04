"""Use-cases run from the command line, and their answers printed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from stacksona_gate.cli.obstacles import obstacle
from stacksona_gate.config import Settings, read_settings, shown_address
from stacksona_gate.domain.errors import Unavailable

if TYPE_CHECKING:
    from stacksona_gate.service.gate import Gate
    from stacksona_gate.service.transactions import Tx


def on_gate[T](database: str | None, work: Callable[[Gate], Awaitable[T]]) -> T:
    """Runs ``work`` on the database's gate, beside a server that may be running. Raises what it raises."""
    return on_gate_of(read_settings(database_url=database), work)


def on_gate_of[T](settings: Settings, work: Callable[[Gate], Awaitable[T]]) -> T:
    """As ``on_gate``, with settings."""
    logging.getLogger("stacksona_gate").addHandler(logging.NullHandler())  # what matters is raised as well
    return asyncio.run(_on_gate(settings, work))


def on_tenant[T](database: str | None, tenant: str, work: Callable[[Gate, str], Awaitable[T]]) -> T:
    """As ``on_gate``, in one workspace: ``work`` gets its id. Raises NotFound too."""
    return on_tenant_of(read_settings(database_url=database), tenant, work)


def on_tenant_of[T](settings: Settings, tenant: str, work: Callable[[Gate, str], Awaitable[T]]) -> T:
    """As ``on_tenant``, with settings."""

    async def inside(gate: Gate) -> T:
        from stacksona_gate.service.tenants import get_tenant

        found = await gate.store.read(lambda tx: get_tenant(tx, tenant))
        return await work(gate, found.id)

    return on_gate_of(settings, inside)


def read_on_tenant[T](database: str | None, tenant: str, query: Callable[[Tx, str], T]) -> T:
    """As ``on_tenant``, where all that is to be done is one look."""
    return on_tenant(database, tenant, lambda gate, tenant_id: gate.store.read(lambda tx: query(tx, tenant_id)))


def write_on_tenant[T](database: str | None, tenant: str, unit: Callable[[Tx, Gate, str], T]) -> T:
    """As ``on_tenant``, where all that is to be done is one transaction."""
    return on_tenant(database, tenant, lambda gate, tenant_id: gate.store.write(lambda tx: unit(tx, gate, tenant_id)))


async def _on_gate[T](settings: Settings, work: Callable[[Gate], Awaitable[T]]) -> T:
    from stacksona_gate.main import opened  # the server's half second, for those who need it

    with database_named(settings):
        async with opened(settings) as gate:
            return await work(gate)


@contextmanager
def database_named(settings: Settings) -> Iterator[None]:
    """Says which database it is that cannot be used."""
    try:
        yield
    except Unavailable as error:
        told = obstacle(settings, error.__cause__) or error.detail
        raise Unavailable(f"{shown_address(settings.database_url)}: {told}") from error


def answer(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Prints a result: ``value`` as JSON for programs, ``lines`` for people."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False))
        return
    for line in lines:
        typer.echo(line)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
