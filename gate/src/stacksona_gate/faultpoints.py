"""Crashes at a named point, for tests alone: the process kills itself when it gets there.

Points: ``decision.before_commit``, ``decision.after_commit``, ``delivery.claimed``, ``delivery.sent`` (answered, not
recorded), ``delivery.recorded``, ``seal.before_commit``, ``seal.after_commit``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

POINT = "STACKSONA_FAULT_POINT"
COUNT = "STACKSONA_FAULT_COUNT"
ALLOWED = "STACKSONA_FAULT_POINTS_ALLOWED"


def fault_points(environ: Mapping[str, str] | None = None) -> Callable[[str], None] | None:
    """What to call at each point; None, as always outside tests, where none is named or they are not allowed.

    ``STACKSONA_FAULT_COUNT``: at which arrival at the point it happens, 1 unless set.
    """
    source = os.environ if environ is None else environ
    point = source.get(POINT)
    if not point or source.get(ALLOWED) != "tests":
        return None
    left = int(source.get(COUNT, "1"))

    def reached(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
