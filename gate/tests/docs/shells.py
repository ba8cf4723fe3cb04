"""Commands of the guides, run as they stand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gate.tests.cli.processes import COMMAND
from gate.tests.docs.pages import blocks, page


def block(name: str, *parts: str) -> str:
    """The one block of a page that has these parts."""
    (found,) = (text for text in blocks(page(name), "sh") if all(part in text for part in parts))
    return found


def shell(
    text: str,
    folder: Path,
    named: Mapping[str, str],
    *,
    programs: Path | None = None,
    fails: int = 0,
    user: Mapping[str, Any] | None = None,
) -> str:
    """What it printed. ``named``: environment variables; ``programs``: a folder that is looked in first; ``user``: as
    whom it runs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STACKSONA_", "PG"))}
    places = [*([str(programs)] if programs else []), str(Path(COMMAND).parent), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-euc", text],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env=clean | dict(named) | {"PATH": ":".join(places), "LC_ALL": "C"},
        **(user or {}),
    )
    assert done.returncode == fails, done
    return str(done.stdout)
