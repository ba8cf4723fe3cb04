"""Measures everything and writes the tables and the chart of docs/benchmarks.md from what is kept in bench/results.

usage: python -m bench.page [--short] [--write-only] [names…]

What stands between markers on the page is written anew; every word around them stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from bench import __main__ as gate
from bench.chart import Bar, draw, short
from bench.findings import Taken, load
from bench.peers import __main__ as beside
from bench.peers.contestants import PEERS
from bench.peers.measure import CELLS, POLICIES
from bench.processes import ROOT, raise_file_limit
from bench.report import HEAD, Finding
from bench.speed import AIMS, Aim

PAGE: Final = ROOT / "docs" / "benchmarks.md"
CHART: Final = ROOT / "docs" / "images" / "benchmarks.svg"
_WORKS: Final = {
    "decide": "decision / job enqueued",
    "cycle": "ask, approve, act",
    "wake": "approval to go-ahead",
    "judge": "five rules",
}
_COLUMNS: Final = (
    "Beside",
    "Work",
    "Callers",
    "The peer",
    "The gate in process",
    "The gate over HTTP",
    "Gate / peer, in process",
    "Gate / peer, over HTTP",
    "Peer's rows on disk",
)
_TITLE: Final = "How many times as fast as each peer the gate is, by work and number of callers"


def write() -> None:
    """The page and the chart from what is kept. Blocks without results stay as they are."""
    kept = load()
    findings = {each.name: each for taken in kept.values() for each in taken.findings}
    blocks = {"speed": "\n".join(_speed(kept, findings))}
    if "peers" in kept:
        CHART.write_text(draw(list(_bars(findings)), _TITLE))
        blocks["peers"] = "\n".join(_peers(kept["peers"], findings))
    if printed := _printed(kept):
        blocks["bench"] = printed
    text = PAGE.read_text()
    for name, block in blocks.items():
        text = replaced(text, name, block)
    PAGE.write_text(text)


def replaced(text: str, name: str, block: str) -> str:
    """The page with another block between the markers of that name. Raises LookupError when they are not there."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise LookupError(f"no markers named {name} on the page")
    return pattern.sub(lambda match: f"{match[1]}{block}\n{match[2]}", text)


def _speed(kept: Mapping[str, Taken], findings: Mapping[str, Finding]) -> Iterator[str]:
    yield "| Work | Target | Measured | Met? |"
    yield "|---|---|---|---|"
    for aim in AIMS:
        yield _aim_row(aim, findings.get(aim.finding))
    used = {aim.finding for aim in AIMS}
    yield ""
    for taken in kept.values():
        if used & {each.name for each in taken.findings}:
            yield f"- {_conditions(taken)}"


def _aim_row(aim: Aim, finding: Finding | None) -> str:
    if finding is None:
        return f"| {aim.work} | {aim.told} | not measured yet | |"
    met = "yes" if finding.is_met else "**no**"
    return f"| {aim.work} | {aim.told} | {_with_range(finding)} | {met} |"


def _with_range(finding: Finding) -> str:
    alone = finding.low == finding.high
    return f"{finding.value:.3g}" if alone else f"{finding.value:.3g} ({finding.low:.3g} to {finding.high:.3g})"


def _conditions(taken: Taken) -> str:
    """One line: what was measured when, on what."""
    return f"`{taken.measurement}`, {taken.length} run of {taken.date}: {'; '.join(taken.conditions)}."


def _peers(taken: Taken, findings: Mapping[str, Finding]) -> Iterator[str]:
    yield f"![{_TITLE}; the table below has the same figures](images/{CHART.name})"
    yield ""
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|---" * len(_COLUMNS) + "|"
    for shown, work, callers, library, server in _pairs(findings):
        yield _peer_row(shown, work, callers, library, server)
    names = {peer.name: peer.shown for peer in PEERS} | dict(POLICIES)
    for name, why in taken.missing.items():
        yield f"| {names[name]} | {why} | | | | | | | |"
    yield ""
    yield _conditions(taken)


type _Pair = tuple[str, str, int, Finding, Finding | None]


def _pairs(findings: Mapping[str, Finding]) -> Iterator[_Pair]:
    """Every peer's works, in the order of the table."""
    for peer in PEERS:
        for work, callers in CELLS:
            library = findings.get(f"peer.{peer.name}.{work}.{callers}.library")
            if library is not None:
                yield peer.shown, work, callers, library, findings.get(f"peer.{peer.name}.{work}.{callers}.server")
    for name, shown in POLICIES:
        if f"peer.{name}.judge" in findings:
            yield shown, "judge", 1, findings[f"peer.{name}.judge"], None


def _bars(findings: Mapping[str, Finding]) -> Iterator[Bar]:
    for shown, work, callers, library, server in _pairs(findings):
        many = "" if work == "judge" else f", {callers} caller{'s' * (callers > 1)}"
        yield Bar(f"{shown}: {_WORKS[work]}{many}", library, server)


def _peer_row(shown: str, work: str, callers: int, library: Finding, server: Finding | None) -> str:
    cells = [shown, _WORKS[work], str(callers), _figure(work, library, "peer"), _figure(work, library, "gate")]
    cells += (
        ["", _ratio(library), ""]
        if server is None
        else [_figure(work, server, "gate"), _ratio(library), _ratio(server)]
    )
    rows = library.detail.get("peer_rows")
    return "| " + " | ".join([*cells, "" if rows is None else f"{float(rows):,.0f}"]) + " |"


def _figure(work: str, finding: Finding, whose: str) -> str:
    if work == "wake":
        p50, p99 = (float(finding.detail[f"{whose}_p{part}"]) for part in (50, 99))
        return f"p50 {short(p50)}, p99 {short(p99)} ms"
    return f"{float(finding.detail[f'{whose}_rate']):,.0f}/s"


def _ratio(finding: Finding) -> str:
    return f"{short(finding.value)} ({short(finding.low)} to {short(finding.high)})"


def _printed(kept: Mapping[str, Taken]) -> str:
    """What full runs printed; empty when there are none."""
    full = [kept[name] for name in gate.MEASUREMENTS if name in kept and kept[name].length == "full"]
    if not full:
        return ""
    rows = [line for taken in full for line in taken.printed]
    told = [f"{taken.measurement}, {taken.date}: {'; '.join(taken.conditions)}" for taken in full]
    return "\n".join(["```text", HEAD, *rows, "", *told, "```"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.page", description=__doc__)
    parser.add_argument("names", nargs="*", help="peers, or measurements of the gate; all when left out")
    parser.add_argument("--short", action="store_true", help="fewer and shorter runs, ten million requests left out")
    parser.add_argument("--write-only", action="store_true", help="measure nothing: the page from what is kept")
    given = parser.parse_args()
    failed = False
    if not given.write_only:
        raise_file_limit()
        names = given.names or [*(gate.ALWAYS if given.short else gate.MEASUREMENTS), "peers"]
        own = [name for name in names if name != "peers"]
        failed = bool(own) and bool(gate.run(own, quick=given.short, keep=True))
        failed |= "peers" in names and bool(beside.measured(quick=given.short))
    write()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
