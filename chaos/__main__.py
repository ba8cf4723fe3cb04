"""Kills, cuts, fills and stops what a gate stands on while it is used, and checks what was told against what is there.

usage: python -m chaos [--seed N] [--minutes M] [--database NAME] [--faults a,b] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from chaos.checks.checker import check
from chaos.ending import run_until_told
from chaos.plan import KINDS, kinds_for, plan
from chaos.report import Verdict, keep, lines, too_little
from chaos.run import Ran, run
from chaos.sabotage import ALL, SABOTAGES, sabotage
from chaos.world import World, WorldBroken, world

MINUTES_MOST: Final = 120.0
NODES_MOST: Final = 4
DATABASES: Final = ["sqlite", "postgresql", "pair"]
SEVERAL: Final = {"both": DATABASES[:2], "all": DATABASES}
SEEDS: Final = 1_000_000
NEED_SHIM: Final = ("clock", "sync", "disk")


def main() -> int:
    given = _arguments().parse_args()
    seed = random.randrange(SEEDS) if given.seed is None else given.seed
    databases = SEVERAL.get(given.database, [given.database])
    worst = 0
    for database in databases:
        worst = max(worst, one(database, seed, given))
    return worst


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, help="the same seed, the same faults; by default another one each time")
    parser.add_argument("--minutes", type=_minutes, default=3.0, help=f"of load, up to {MINUTES_MOST:g}; by default 3")
    parser.add_argument("--database", choices=[*DATABASES, "both", "all"], default="postgresql")
    parser.add_argument("--nodes", type=int, choices=range(1, NODES_MOST + 1), default=2)
    parser.add_argument("--faults", default="", help=f"only these, by commas: {', '.join(KINDS)}")
    parser.add_argument("--out", type=Path, help="a folder for the history and the report; by default a new one")
    parser.add_argument(
        "--sabotage", choices=[ALL, *SABOTAGES], help="break the database by hand: the checks must see it"
    )
    return parser


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= MINUTES_MOST:
        raise argparse.ArgumentTypeError(f"more than 0, at most {MINUTES_MOST:g}")
    return minutes


def one(database: str, seed: int, given: argparse.Namespace) -> int:
    """A run on one database. The exit code: 0 green, 1 broken or too little, 2 it could not be put up."""
    base = given.out or Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    out = base / database
    out.mkdir(parents=True, exist_ok=True)
    named = [name for name in given.faults.split(",") if name]
    kinds = kinds_for(database, named)
    begun = time.monotonic()
    try:
        ran, kinds = run_until_told(_ran(database, seed, kinds, out, given))
    except WorldBroken as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    verdict = Verdict(check(ran.history, ran.final), too_little(ran, kinds, given.minutes))
    settings = {"seed": seed, "database": database, "minutes": given.minutes, "nodes": given.nodes, "kinds": kinds}
    conditions = [f"{name}: {value}" for name, value in settings.items()]
    told = lines(ran, verdict, [*conditions, f"took: {time.monotonic() - begun:.0f} s"])
    keep(out, told, ran, verdict, settings)
    print("\n".join(told))
    print(f"\n{'GREEN' if verdict.is_green else 'RED'}  seed {seed}, {database}: everything is in {out}")
    return 0 if verdict.is_green else 1


async def _ran(
    database: str, seed: int, kinds: list[str], out: Path, given: argparse.Namespace
) -> tuple[Ran, list[str]]:
    seconds = given.minutes * 60
    async with world(database, out, str(seed), nodes=given.nodes) as made:
        if not made.has_shim:
            kinds = [kind for kind in kinds if not kind.startswith(NEED_SHIM)]
            print("chaos: no C compiler: disks and clocks are left alone", file=sys.stderr)

        async def beside(made: World) -> None:
            if given.sabotage:
                await sabotage(made, given.sabotage)

        ran = await run(made, out, plan(seed, seconds, kinds, given.nodes), str(seed), seconds, beside)
    return ran, kinds


if __name__ == "__main__":
    sys.exit(main())
