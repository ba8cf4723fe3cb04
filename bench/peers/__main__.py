"""Measures the gate beside its peers and keeps the findings. usage: python -m bench.peers [--short]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bench.findings import machine, save
from bench.peers.contestants import PEERS
from bench.peers.measure import POLICIES, measure
from bench.peers.processes import versions
from bench.processes import raise_file_limit, workspace
from bench.report import BenchBroken, conditions

_PACKAGES: Final = [*dict.fromkeys(peer.package for peer in PEERS), *(package for _, package in POLICIES)]


def run(folder: Path, *, quick: bool) -> None:
    """Raises BenchBroken."""
    before = conditions(folder)
    findings, missing, told = measure(folder, quick=quick)
    packages = [f"{name} {version}" for name, version in versions(_PACKAGES).items()]
    length = "short" if quick else "full"
    save("peers", findings, [machine(), *before, *told, *packages], length=length, missing=missing)
    for name, why in missing.items():
        print(f"peers: {name}: {why}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    given = parser.parse_args()
    raise_file_limit()
    return measured(quick=given.short)


def measured(*, quick: bool) -> int:
    """Measures and keeps; 1 when the run proves nothing."""
    try:
        with workspace() as folder:
            run(folder, quick=quick)
    except BenchBroken as error:
        print(f"BROKEN peers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
