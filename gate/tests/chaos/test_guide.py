"""The guide tells what there is."""

from __future__ import annotations

import re

from chaos.plan import KINDS
from gate.tests.docs.pages import blocks, page

GUIDE = page("docs/how-to/chaos.md")


def test_every_fault_is_in_the_guide_and_no_other() -> None:
    table = GUIDE.partition("## The faults")[2].partition("## The properties")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`([a-z-]+)`", row)) == sorted(KINDS)


def test_what_the_guide_sets_is_read_by_the_makefile() -> None:
    [commands] = blocks(GUIDE, "sh")
    recipe = page("Makefile").partition("chaos: ##")[2].partition("\n\n")[0]
    named = set(re.findall(r"\b([A-Z]+)=", commands))
    assert named == {"MINUTES", "SEED", "DATABASE", "FAULTS"}
    assert all(f"$({name})" in recipe for name in named)
    assert set(re.findall(r"FAULTS=(\S+)", commands)) == {"node-kill,clock-back"}
