"""What agents do after a decision: polling a decided thread and redeeming an approval, against the null endpoint."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import batched
from pathlib import Path
from typing import Final

import apsw
import msgspec

from bench.client import ask
from bench.loader import Loader, Run, find_wrk
from bench.prepare import Prepared, get_text, post_text, prepare, question, request_template, settings_for
from bench.processes import Server, serving
from bench.report import BenchBroken, Line, ratios, spread
from bench.speed import aimed
from stacksona_gate.main import opened
from stacksona_gate.service.requests import Ask, submit

_CALLERS: Final = 64
_AT_ONCE: Final = 64
_MOST_PER_SECOND: Final = 8000
"""So many approvals are made for each second of redeeming; the run breaks when they do not last."""
_SETTLE_SECONDS: Final = 0.4
_SCRIPT: Final = """
function done(summary, latency, requests)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('\\n{"answers":%d,"seconds":%.6f,"p50":%.1f,"p99":%.1f,"refused":%d,"lost":%d}\\n',
    summary.requests, summary.duration / 1000000, latency:percentile(50), latency:percentile(99),
    summary.errors.status, lost))
end
local texts, count = {}, 0
function init(args)
  local file = io.open(args[1], "rb")
  for text in file:read("*a"):gmatch("[^%z]+") do texts[#texts + 1] = text end
  file:close()
end
function request()
  count = count + 1
  return texts[count] or texts[#texts]
end
"""


class OnceLoader(Loader):
    """Sends each of its texts once. They are separated by zero bytes, and there must be enough of them."""

    def _wrk_command(self, port: int, file: Path) -> list[str]:
        command = super()._wrk_command(port, file)
        Path(command[command.index("-s") + 1]).write_text(_SCRIPT)
        return command


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken."""
    if find_wrk() is None:
        raise BenchBroken("redeeming is driven by wrk: install it")
    rounds, seconds = (2, 1) if quick else (5, 2)
    prepared = prepare(folder, "reads")
    bodies = iter(asyncio.run(_redeemable(prepared, (rounds + 1) * seconds * _MOST_PER_SECOND)))
    once = OnceLoader(folder)
    with serving(prepared.path) as server:
        null, poll = get_text(server.port, "/healthz"), _decided(prepared, server)
        runs: dict[str, list[Run]] = {"null": [], "poll": [], "validate": []}
        for turn in range(rounds + 1):  # the first is to warm up
            for name in [*runs][turn % 3 :] + [*runs][: turn % 3]:
                if name == "validate":
                    run = once.run(server.port, _texts(prepared, server, bodies, seconds), _CALLERS, seconds)
                else:
                    run = loader.run(server.port, null if name == "null" else poll, _CALLERS, seconds)
                time.sleep(_SETTLE_SECONDS)
                runs[name].append(run)
    redeemed = sum(run.answers for run in runs["validate"])
    _check(prepared.path, redeemed, (rounds + 1) * _CALLERS)
    print(f"\nreads: {rounds} rounds of {seconds} s; {redeemed:,} approvals redeemed, as many are on disk")
    return list(_lines({name: each[1:] for name, each in runs.items()}))


def _lines(runs: dict[str, list[Run]]) -> Iterator[Line]:
    rates = {name: [run.rate for run in each] for name, each in runs.items()}
    for name, what in (("null", "null (/healthz)"), ("poll", "poll of a decided thread"), ("validate", "redemption")):
        p50, p99 = (spread([getattr(run, point) / 1000 for run in runs[name]]).middle for point in ("p50", "p99"))
        yield Line(f"{_CALLERS:>3} callers, {what}", f"{spread(rates[name])}/s", f"p50 {p50:.2f} p99 {p99:.2f} ms")
    yield aimed("read.poll", f"{_CALLERS:>3} callers, poll / null (/healthz)", ratios(rates["poll"], rates["null"]))
    yield aimed(
        "read.validate",
        f"{_CALLERS:>3} callers, redemption / null (/healthz)",
        ratios(rates["validate"], rates["null"]),
    )


async def _redeemable(prepared: Prepared, number: int) -> list[str]:
    """So many bodies that redeem an approval each."""
    async with opened(settings_for(prepared.url)) as gate:
        caller = await gate.directory.caller(prepared.keys[0])
        asked = msgspec.convert(question(40.0), Ask)

        async def one(task: str) -> str:
            token = (await submit(gate, caller, task, asked, None)).token
            fields = {"task_id": task, "signature": token, "tool_name": asked.tool_name, "payload": asked.payload}
            return json.dumps(fields)

        made: list[str] = []
        for numbers in batched(range(number), _AT_ONCE):
            made += await asyncio.gather(*(one(f"task-{each}") for each in numbers))
        return made


def _texts(prepared: Prepared, server: Server, bodies: Iterator[str], seconds: int) -> str:
    path, key = "/api/agent/approvals/validate", prepared.keys[0]
    return "\0".join(post_text(server.port, path, key, next(bodies)) for _ in range(seconds * _MOST_PER_SECOND))


def _decided(prepared: Prepared, server: Server) -> str:
    """The text that reads a thread which a person approved."""
    port, key = server.port, prepared.keys[0]
    _, body = ask(port, request_template(port, key, 400.0) % (0, 1))
    thread = json.loads(body)["thread_id"]
    ask(port, post_text(port, "/bench/approvals", "", json.dumps([thread])))
    text = get_text(port, f"/api/agent/decisions?thread_id={thread}", key)
    status, body = ask(port, text)
    if status != 200 or json.loads(body)["status"] != "approved":
        raise BenchBroken(f"not a decided thread: {status} {body[:300]!r}")
    return text


def _check(database: Path, answered: int, unread: int) -> None:
    """Raises BenchBroken unless each redemption that was answered is on disk."""
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        found = connection.execute("SELECT COUNT(*) FROM requests WHERE redeemed_at IS NOT NULL").get
    if not isinstance(found, int) or not answered <= found <= answered + unread:
        raise BenchBroken(f"{answered} redemptions answered, {found} on disk, at most {unread} unread")
