"""What agents do after a decision: polling decided threads and redeeming approvals, against the null endpoint.

A thread that is polled again within the second is told the same bytes, and one of the 2,048 told last need not be
decrypted again. So it is polled in several ways, and each is named: one thread over and over; a thousand in turn, which
all fit; ten thousand in turn, of which none does, and each answer is opened and signed; and a thousand that were
rejected, whose answers have no token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Final

import apsw
import msgspec

from bench.client import ask
from bench.loader import Loader, Run, find_wrk
from bench.prepare import ADMIN_EMAIL, Prepared, get_text, post_text, prepare, question, settings_for
from bench.processes import Server, serving, settle
from bench.report import BenchBroken, Line, ratios, spread
from bench.speed import aimed
from stacksona_gate.domain.ids import FIRST_TENANT
from stacksona_gate.main import opened
from stacksona_gate.service import reviews
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.requests import Ask, submit
from stacksona_gate.store.base import Tx

_CALLERS: Final = 64
_AT_ONCE: Final = 64
_MOST_PER_SECOND: Final = 8000
"""So many approvals are made for each second of redeeming; the run breaks when they do not last."""
_SOME: Final = 1000
_MANY: Final = 10_048
"""A multiple of those that are decided at once."""
_NAMES: Final = {
    "null": "null (/healthz)",
    "poll": "poll of one approved thread",
    "poll_1000": "poll of 1,000 approved threads in turn",
    "poll_10000": "poll of 10,000 approved threads in turn",
    "poll_rejected": "poll of 1,000 rejected threads in turn",
    "validate": "redemption",
}
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
  count = count % #texts + 1
  return texts[count]
end
"""


class TurnLoader(Loader):
    """Sends its texts in turn, and begins again after the last one. They are separated by zero bytes."""

    def _wrk_command(self, port: int, file: Path) -> list[str]:
        command = super()._wrk_command(port, file)
        Path(command[command.index("-s") + 1]).write_text(_SCRIPT)
        return command


def measure(folder: Path, loader: Loader, *, quick: bool) -> list[Line]:
    """Raises BenchBroken."""
    if find_wrk() is None:
        raise BenchBroken("reads are driven by wrk: install it")
    rounds, seconds = (2, 1) if quick else (5, 2)
    prepared = prepare(folder, "reads")
    bodies = iter(asyncio.run(_redeemable(prepared, (rounds + 1) * seconds * _MOST_PER_SECOND)))
    approved, rejected = asyncio.run(_threads(prepared))
    in_turn = TurnLoader(folder)
    with serving(prepared.path) as server:
        polls = {
            "poll": _polls(prepared, server, approved[:1]),
            "poll_1000": _polls(prepared, server, approved[:_SOME]),
            "poll_10000": _polls(prepared, server, approved),
            "poll_rejected": _polls(prepared, server, rejected),
        }
        _require_status(server, polls["poll"], "approved")
        _require_status(server, polls["poll_rejected"].partition("\0")[0], "rejected")
        runs: dict[str, list[_Costed]] = {name: [] for name in ("null", *polls, "validate")}
        for turn in range(rounds + 1):  # the first is to warm up
            names = [*runs]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                text = polls.get(name) or get_text(server.port, "/healthz")
                if name == "validate":
                    text = _texts(prepared, server, bodies, seconds)
                runs[name].append(_costed(server, in_turn, text, seconds))
                settle(server)
    redeemed = sum(each.run.answers for each in runs["validate"])
    _check(prepared.path, redeemed, (rounds + 1) * _CALLERS)
    print(f"\nreads: {rounds} rounds of {seconds} s; {redeemed:,} approvals redeemed, as many are on disk")
    return list(_lines({name: each[1:] for name, each in runs.items()}))


@dataclass(frozen=True, slots=True)
class _Costed:
    """A run, and the microseconds of the server's processor that each answer took."""

    run: Run
    cost: float


def _costed(server: Server, loader: Loader, text: str, seconds: int) -> _Costed:
    before = server.cpu_seconds()
    run = loader.run(server.port, text, _CALLERS, seconds)
    return _Costed(run, (server.cpu_seconds() - before) / run.answers * 1e6)


def _lines(runs: dict[str, list[_Costed]]) -> Iterator[Line]:
    rates = {name: [each.run.rate for each in some] for name, some in runs.items()}
    costs = {name: [each.cost for each in some] for name, some in runs.items()}
    for name, what in _NAMES.items():
        p50, p99 = (spread([getattr(each.run, p) / 1000 for each in runs[name]]).middle for p in ("p50", "p99"))
        cpu = f"CPU {spread(costs[name]).middle:.0f} µs"
        yield Line(
            f"{_CALLERS:>3} callers, {what}", f"{spread(rates[name])}/s, {cpu}", f"p50 {p50:.2f} p99 {p99:.2f} ms"
        )
    for name, what in [*_NAMES.items()][1:]:
        middle = spread(costs["null"]).middle / spread(costs[name]).middle
        label = f"{_CALLERS:>3} callers, {what} / null"
        yield aimed(f"read.{name}", label, ratios(rates[name], rates["null"]), by_cpu=round(middle, 3))


async def _threads(prepared: Prepared) -> tuple[list[str], list[str]]:
    """Ids of threads that a person approved, and of some that were rejected."""
    async with opened(settings_for(prepared.url)) as gate:
        ids = await _asked(gate, prepared.keys[0], _MANY + _SOME)
        user = await gate.store.read(lambda tx: tx.people.find_user_by_email(FIRST_TENANT, ADMIN_EMAIL))
        assert user is not None

        def decide(tx: Tx, thread_id: str, verdict: str) -> None:
            reviews.review(tx, gate.env, user, thread_id, reviews.Verdict(verdict, "as the policy says", 1))

        for number, some in enumerate(batched(ids, _AT_ONCE)):
            verdict = "approve" if number * _AT_ONCE < _MANY else "reject"
            await asyncio.gather(*(gate.store.write(lambda tx, i=i: decide(tx, i, verdict)) for i in some))  # type: ignore[misc] # noqa: B023
    return ids[:_MANY], ids[_MANY:]


async def _asked(gate: Gate, key: str, number: int) -> list[str]:
    """Threads that wait for people."""
    caller, asked = await gate.directory.caller(key), msgspec.convert(question(400.0), Ask)
    ids: list[str] = []
    for numbers in batched(range(number), _AT_ONCE):
        opened_now = await asyncio.gather(*(submit(gate, caller, f"thread-{i}", asked, None) for i in numbers))
        ids += [answer.thread_id for answer in opened_now if answer.thread_id is not None]
    return ids


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


def _polls(prepared: Prepared, server: Server, threads: Sequence[str]) -> str:
    return "\0".join(
        get_text(server.port, f"/api/agent/decisions?thread_id={thread}", prepared.keys[0]) for thread in threads
    )


def _require_status(server: Server, text: str, wanted: str) -> None:
    status, body = ask(server.port, text)
    if status != 200 or json.loads(body)["status"] != wanted:
        raise BenchBroken(f"not a thread that was {wanted}: {status} {body[:300]!r}")


def _check(database: Path, answered: int, unread: int) -> None:
    """Raises BenchBroken unless each redemption that was answered is on disk."""
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        found = connection.execute("SELECT COUNT(*) FROM requests WHERE redeemed_at IS NOT NULL").get
    if not isinstance(found, int) or not answered <= found <= answered + unread:
        raise BenchBroken(f"{answered} redemptions answered, {found} on disk, at most {unread} unread")
