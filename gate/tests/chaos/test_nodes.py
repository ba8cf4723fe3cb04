"""A gate that is supervised, and ended meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chaos.nodes import Node
from chaos.proxy import Proxy
from chaos.shim import Shim
from gate.tests.ports import free_port

MOMENT: Final = 1.0
"""Seconds: who is not kept waiting is done by then."""


class Looked(Node):
    """Something happens just after somebody saw that it does not run."""

    then: Callable[[], None] | None = None

    @property
    def is_running(self) -> bool:
        running, then, self.then = super().is_running, self.then, None
        if then is not None:
            then()
        return running


def test_a_node_that_is_killed_while_somebody_looks_after_it_stays_down(tmp_path: Path) -> None:
    port = free_port()
    shim = Shim(None, tmp_path / "shim", tmp_path)
    url = f"sqlite:///{tmp_path / 'gate.db'}"
    node = Looked(0, port, url, tmp_path / "log", shim, Proxy(free_port(), port), None, is_wanted=True)
    killing = threading.Thread(target=node.kill)

    def kill() -> None:
        killing.start()
        killing.join(MOMENT)

    node.then = kill
    node.look()
    killing.join()
    assert (node.is_wanted, node.is_running) == (False, False)
