"""A million requests in the file, against an empty one."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread
from typing import Final

from bench import records
from bench.client import Connection, ask
from bench.decisions import check_answer
from bench.fill import fill
from bench.loader import Loader, Run
from bench.prepare import Prepared, get_text, prepare, request_template
from bench.processes import Server, serving
from bench.report import BenchBroken, Line, percentile, ratios, spread
from bench.speed import aimed

_CALLERS: Final = 64
_SETTLE_SECONDS: Final = 0.5


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken."""
    number = 100_000 if quick else 1_000_000
    rounds, seconds, pages = (3, 1, 100) if quick else (7, 2, 300)
    empty, grown = prepare(folder, "empty"), prepare(folder, "grown")
    begun = time.perf_counter()
    fill(grown, number)
    size = grown.path.stat().st_size / 1e9
    print(f"growth: filled with {number:,} requests, {size:.1f} GB, in {time.perf_counter() - begun:.0f} s", flush=True)
    with ExitStack() as stack:
        files = [(prepared, stack.enter_context(serving(prepared.path))) for prepared in (empty, grown)]
        lines = _rates(files, loader, rounds, seconds, number)
        return [*lines, *_pages(grown, files[1][1], loader, pages, number)]


def _rates(files: list[tuple[Prepared, Server]], loader: Loader, rounds: int, seconds: int, number: int) -> list[Line]:
    """The decision rate of both files in turn."""
    runs: list[list[Run]] = [[], []]
    texts = [request_template(server.port, prepared.keys[0]) for prepared, server in files]
    for (_, server), text in zip(files, texts, strict=True):
        check_answer(server.port, text)
        loader.run(server.port, text, _CALLERS, 1)
    time.sleep(_SETTLE_SECONDS)
    before = [records.count(prepared.path) for prepared, _ in files]
    for turn in range(rounds):
        for i in (0, 1) if turn % 2 else (1, 0):
            runs[i].append(loader.run(files[i][1].port, texts[i], _CALLERS, seconds))
            time.sleep(_SETTLE_SECONDS)
    for i, (prepared, _) in enumerate(files):
        answered = sum(run.answers for run in runs[i])
        found = records.check(before[i], records.count(prepared.path), answered, rounds * _CALLERS)
        print(f"growth: rows on disk of the {('empty', 'grown')[i]} file: {found}")
    empty, grown = ([run.rate for run in side] for side in runs)
    ratio = ratios(grown, empty)
    memory = ratios(*([server.resident_bytes()] for _, server in reversed(files)))
    return [
        Line(f"{_CALLERS} callers, empty file", f"{spread(empty)}/s"),
        Line(f"{_CALLERS} callers, {number:,} requests", f"{spread(grown)}/s"),
        aimed(f"growth.{_size(number)}", f"{number:,} requests / empty", ratio),
        aimed(f"growth.memory.{_size(number)}", f"memory of the server, {number:,} requests / empty", memory),
    ]


def _pages(prepared: Prepared, server: Server, loader: Loader, pages: int, number: int) -> list[Line]:
    """The inbox's first page, alone and while callers ask; and the folder of what people rejected."""
    what, first, rejected = _texts(prepared, server.port)
    quiet = _page_times(server.port, first, pages)
    other = _page_times(server.port, rejected, pages, seconds=10)
    busy_text = request_template(server.port, prepared.keys[0])
    load = Thread(target=loader.run, args=(server.port, busy_text, _CALLERS, 6))
    load.start()
    time.sleep(1)
    busy = _page_times(server.port, first, pages, seconds=4)
    load.join()
    told = f"{what}, {number:,} requests"
    p95 = spread([percentile(quiet, 95)])
    return [
        aimed(f"growth.inbox.{_size(number)}", told, p95, _told(quiet)),
        Line("  the same, folder of the rejected", _told(other)),
        Line(f"  the same while {_CALLERS} callers ask", _told(busy)),
    ]


def _size(number: int) -> str:
    return f"{number // 1_000_000}m" if number >= 1_000_000 else f"{number // 1000}k"


def _told(taken: list[float]) -> str:
    return f"p50 {percentile(taken, 50):.1f} p95 {percentile(taken, 95):.1f} ms"


def _texts(prepared: Prepared, port: int) -> tuple[str, str, str]:
    """The pages themselves where pages are served, else what they read."""
    what, path = "the inbox's first page", "/inbox"
    if ask(port, get_text(port, path, cookie=prepared.cookie))[0] != 200:
        what, path = "what the inbox's first page reads", "/bench/first-page"
    return (
        what,
        get_text(port, path, cookie=prepared.cookie),
        get_text(port, path + "?folder=rejected", cookie=prepared.cookie),
    )


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
