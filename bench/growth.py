"""A million requests, or ten, in the database, against an empty one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Final

from bench import records
from bench.client import Connection
from bench.decisions import check_answer
from bench.fill import fill
from bench.loader import Loader, Run
from bench.peers.postgres import create_database, postgres
from bench.prepare import Prepared, get_text, prepare, prepare_database, request_template
from bench.processes import Server, serving, settle
from bench.report import BenchBroken, Line, percentile, ratios, spread
from bench.speed import aimed

_CALLERS: Final = 64
MILLION: Final = 1_000_000
TEN_MILLION: Final = 10_000_000
TEN_MILLION_BYTES: Final = 60_000_000_000
"""What ten million requests take, with room for what is written meanwhile."""


@dataclass(frozen=True, slots=True)
class Grown:
    """A database's name in findings and for people, with the two databases: an empty one, and one with a past."""

    name: str
    shown: str
    empty: Prepared
    grown: Prepared
    requests: int

    def kept(self, what: str) -> str:
        """The name of a finding."""
        number = self.requests
        size = f"{number // 1_000_000}m" if number >= 1_000_000 else f"{number // 1000}k"
        return f"growth.{what}.{self.name}.{size}"


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """A million requests. Raises BenchBroken."""
    return [*_on_sqlite(folder, loader, MILLION, quick=quick), *_on_postgresql(folder, loader, MILLION, quick=quick)]


def measure_most_on_sqlite(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Ten million requests in a file. Raises BenchBroken."""
    _require_room(folder)
    return _on_sqlite(folder, loader, TEN_MILLION, quick=quick)


def measure_most_on_postgresql(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Ten million requests in PostgreSQL. Raises BenchBroken."""
    _require_room(folder)
    return _on_postgresql(folder, loader, TEN_MILLION, quick=quick)


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < TEN_MILLION_BYTES:
        raise BenchBroken(f"{free / 1e9:.0f} GB free, ten million requests need {TEN_MILLION_BYTES / 1e9:.0f}")


def _on_sqlite(folder: Path, loader: Loader, number: int, *, quick: bool) -> list[Line]:
    with TemporaryDirectory(dir=folder) as name:
        own = Path(name)
        grown = Grown("sqlite", "SQLite", prepare(own, "empty"), prepare(own, "grown"), number)
        return _measured(grown, loader, quick=quick)


def _on_postgresql(folder: Path, loader: Loader, number: int, *, quick: bool) -> list[Line]:
    with postgres() as address:
        empty, past = (prepare_database(create_database(address, name)) for name in ("empty", "grown"))
        return _measured(Grown("postgresql", "PostgreSQL", empty, past, number), loader, quick=quick)


def _measured(over: Grown, loader: Loader, *, quick: bool) -> list[Line]:
    rounds, seconds, pages = (4, 2, 100) if quick else (7, 3, 300)
    begun = time.perf_counter()
    fill(over.grown, over.requests)
    size, taken = records.size(over.grown.database) / 1e9, time.perf_counter() - begun
    print(f"growth: {over.shown} filled with {over.requests:,} requests, {size:.1f} GB, in {taken:.0f} s", flush=True)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(each.database)) for each in (over.empty, over.grown)]
        lines = _rates(over, servers, loader, rounds, seconds)
        return [*lines, *_pages(over, servers[1], loader, pages)]


def _rates(over: Grown, servers: Sequence[Server], loader: Loader, rounds: int, seconds: int) -> list[Line]:
    """The decision rate of both databases in turn."""
    databases = (over.empty, over.grown)
    runs: list[list[Run]] = [[], []]
    texts = [request_template(server.port, each.keys[0]) for each, server in zip(databases, servers, strict=True)]
    for server, text in zip(servers, texts, strict=True):
        check_answer(server.port, text)
        loader.run(server.port, text, _CALLERS, 2)
    settle(*servers)
    before = [records.mark(each.database) for each in databases]
    for turn in range(rounds):
        for i in (0, 1) if turn % 2 else (1, 0):
            runs[i].append(loader.run(servers[i].port, texts[i], _CALLERS, seconds))
            settle(servers[i])
    for i, each in enumerate(databases):
        answered = sum(run.answers for run in runs[i])
        found = records.check_since(each.database, before[i], answered, rounds * _CALLERS)
        print(f"growth: rows on disk of the {('empty', 'grown')[i]} database: {found}")
    empty, grown = ([run.rate for run in side] for side in runs)
    memory = ratios(*([server.resident_bytes()] for server in reversed(servers)))
    told = f"{over.shown}, {over.requests:,} requests"
    return [
        Line(f"{_CALLERS} callers, {over.shown}, empty", f"{spread(empty)}/s"),
        Line(f"{_CALLERS} callers, {told}", f"{spread(grown)}/s"),
        aimed(over.kept("rate"), f"{told} / empty", ratios(grown, empty)),
        aimed(over.kept("memory"), f"server's memory, {told} / empty", memory),
    ]


def _pages(over: Grown, server: Server, loader: Loader, pages: int) -> list[Line]:
    """The inbox's first page, alone and while callers ask; and the folder of what people rejected."""
    first, rejected = (
        get_text(server.port, f"/inbox{end}", cookie=over.grown.cookie) for end in ("", "?folder=rejected")
    )
    quiet = _page_times(server.port, first, pages)
    other = _page_times(server.port, rejected, pages, seconds=10)
    busy_text = request_template(server.port, over.grown.keys[0])
    load, before = Thread(target=loader.run, args=(server.port, busy_text, _CALLERS, 6)), server.told("decisions_total")
    load.start()
    server.wait_for_load(_CALLERS, before)
    busy = _page_times(server.port, first, pages, seconds=4)
    load.join()
    told = f"inbox's first page, {over.shown}, {over.requests:,}"
    p95 = spread([percentile(quiet, 95)])
    return [
        aimed(over.kept("inbox"), told, p95, _told(quiet)),
        Line("  the same, folder of the rejected", _told(other)),
        Line(f"  the same while {_CALLERS} callers ask", _told(busy)),
    ]


def _told(taken: list[float]) -> str:
    return f"p50 {percentile(taken, 50):.1f} p95 {percentile(taken, 95):.1f} ms"


def _page_times(port: int, text: str, pages: int, *, seconds: float = 60.0) -> list[float]:
    """Milliseconds of each."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    with closing(Connection(port)) as connection:
        connection.ask(text)
        while len(taken) < pages and time.perf_counter() < end:
            begun = time.perf_counter()
            status, body = connection.ask(text)
            taken.append((time.perf_counter() - begun) * 1000)
            if status != 200:
                raise BenchBroken(f"not the inbox: {status} {body[:300]!r}")
    return taken
