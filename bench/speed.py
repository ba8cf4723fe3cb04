"""The speeds that the gate sets itself: which finding each is read from, and in which words it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.report import Finding, Line, Spread, Target


@dataclass(frozen=True, slots=True)
class Aim:
    """A work and its target. ``finding`` is the name under which a measurement keeps what it found."""

    work: str
    finding: str
    target: Target
    told: str


def _least(work: str, finding: str, value: float, against: str) -> Aim:
    return Aim(work, finding, Target("least", value), f"at least {value:g} of {against}")


def _most(work: str, finding: str, value: float, unit: str) -> Aim:
    return Aim(work, finding, Target("most", value), f"at most {value:g} {unit}")


def _growth(shown: str, name: str) -> tuple[Aim, ...]:
    """Of one database, with a million requests and with ten."""
    one, ten = f"{shown}, 1,000,000 requests stored", f"{shown}, 10,000,000 requests stored"
    return (
        _least(f"Decisions, {one}", f"growth.rate.{name}.1m", 0.85, "an empty database"),
        _least(f"Decisions, {ten}", f"growth.rate.{name}.10m", 0.75, "an empty database"),
        _most(f"First page of the inbox, {one}", f"growth.inbox.{name}.1m", 50, "ms (p95)"),
        _most(f"First page of the inbox, {ten}", f"growth.inbox.{name}.10m", 50, "ms (p95)"),
        _most(f"Memory, {one}", f"growth.memory.{name}.1m", 1.1, "times that with none"),
        _most(f"Memory, {ten}", f"growth.memory.{name}.10m", 1.1, "times that with none"),
    )


AIMS: Final = (
    _least("Durable decision, SQLite, 64 callers", "decision.sqlite.unstored", 0.45, "the same endpoint unstored"),
    _least("Durable decision, SQLite, 64 callers", "decision.sqlite.null", 0.22, "the null endpoint"),
    _most("p99 of a durable decision, SQLite, 64 callers", "decision.sqlite.p99", 3, "times p50"),
    _least("Durable decision, PostgreSQL, 64 callers", "decision.postgresql.unstored", 0.3, "unstored"),
    _most("p99 of a durable decision, PostgreSQL, 64 callers", "decision.postgresql.p99", 3, "times p50"),
    _least("Two nodes on two cores, PostgreSQL", "decision.postgresql.two_nodes", 1, "one node"),
    _least("One hot tenant, PostgreSQL", "decision.postgresql.hot_tenant", 0.8, "fifty tenants"),
    _least("Poll of a decided thread", "read.poll", 0.5, "the null endpoint"),
    _least("Redemption of an approval (validate)", "read.validate", 0.3, "the null endpoint"),
    _most("Click to wake, same node", "wake.same_node", 20, "ms (p99)"),
    _most("Click to wake, another node", "wake.other_node", 250, "ms (p99)"),
    *_growth("SQLite", "sqlite"),
    *_growth("PostgreSQL", "postgresql"),
    _most("5,000 long-polls, memory of each", "held.memory", 16, "KB"),
    _most("p99 of a quiet workspace beside one that floods, SQLite", "noisy.sqlite.p99", 1.5, "times that alone"),
    _most(
        "p99 of a quiet workspace beside one that floods, PostgreSQL", "noisy.postgresql.p99", 1.5, "times that alone"
    ),
    _least("Decisions beside 5,000 long-polls", "held.decisions", 0.8, "the same without them"),
)


def aimed(finding: str, what: str, measured: Spread, shown: str = "", **detail: float | str) -> Line:
    """A row of a measurement's table that is kept too, against its target where it has one."""
    aim = next((aim for aim in AIMS if aim.finding == finding), None)
    target = None if aim is None else aim.target
    kept = Finding(finding, what, measured.middle, measured.least, measured.most, target=target, detail=detail)
    return Line(what, shown or str(measured), "" if aim is None else aim.told, kept.is_met, kept)
