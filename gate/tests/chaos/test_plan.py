"""Which faults happen is a function of the seed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from chaos.plan import KINDS, Fault, kinds_for, plan


def overlapping(faults: list[Fault]) -> list[tuple[Fault, Fault]]:
    return [(one, two) for one in faults for two in faults if one.number < two.number and two.at < one.end]


def test_the_same_seed_is_the_same_faults() -> None:
    assert plan(7, 600, kinds_for("postgresql"), 2) == plan(7, 600, kinds_for("postgresql"), 2)


def test_another_seed_is_other_faults() -> None:
    assert plan(7, 600, kinds_for("postgresql"), 2) != plan(8, 600, kinds_for("postgresql"), 2)


@pytest.mark.parametrize("seed", range(200))
def test_three_minutes_are_enough_for_every_fault(seed: int) -> None:
    planned = plan(seed, 180, kinds_for("postgresql"), 2)
    assert {fault.kind for fault in planned} == set(kinds_for("postgresql"))


@pytest.mark.parametrize("seed", range(20))
def test_two_faults_of_one_group_never_overlap(seed: int) -> None:
    groups = [(KINDS[one.kind].group, KINDS[two.kind].group) for one, two in overlapping(plan(seed, 1800, [*KINDS], 3))]
    assert groups
    assert all(one != two for one, two in groups)


@pytest.mark.parametrize("seed", range(20))
def test_all_is_over_in_time_and_in_order(seed: int) -> None:
    planned = plan(seed, 300, [*KINDS], 2)
    assert all(fault.end <= 300 for fault in planned)
    assert all(one.at <= two.at for one, two in pairwise(planned))
    assert {fault.target for fault in planned} == {0, 1}


def test_an_sqlite_file_has_no_server_to_kill() -> None:
    assert "database-kill" not in kinds_for("sqlite")
    assert kinds_for("sqlite", ["node-kill", "database-kill"]) == ["node-kill"]


def test_a_fault_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError):
        kinds_for("sqlite", ["node-kil"])
