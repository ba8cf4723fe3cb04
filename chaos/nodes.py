"""Gates as processes of their own."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.proxy import Proxy
from chaos.shim import Shim

COMMAND: Final = str(Path(sys.executable).with_name("stacksona-gate"))
ROOT_SECRET: Final = "the root secret of databases that faults are made for"
LOOK_SECONDS: Final = 0.25
START_SECONDS: Final = 120.0
END_SECONDS: Final = 45.0


@dataclass(eq=False)
class Node:
    """One gate. Callers reach it through ``front``, it reaches PostgreSQL through ``back``."""

    number: int
    port: int
    database: str
    log: Path
    shim: Shim
    front: Proxy
    back: Proxy | None
    process: subprocess.Popen[bytes] | None = None
    is_wanted: bool = False
    """Whether it is to run: if not, the faults have it down."""
    starts: int = 0
    crashes: list[str] = field(default_factory=list)
    """How it ended by itself after it had served."""
    _has_served: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever starts or ends it: what one of them looked at holds until it is done."""

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self._lock:
            self._start()

    def _start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STACKSONA_")}
        settings = {
            "STACKSONA_SECRET_KEY": ROOT_SECRET,
            "STACKSONA_ALLOWED_NETWORKS": "127.0.0.0/8",
            "STACKSONA_LOG_LEVEL": "warning",
        }
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--port", str(self.port), "--database", self.database],
                stdout=output,
                stderr=output,
                env=clean | settings | self.shim.environment(),
            )
        self.is_wanted, self._has_served = True, False
        self.starts += 1

    def look(self) -> None:
        """Starts it again when it is gone and ought to be there, as whoever supervises it would."""
        with self._lock:
            if self.is_wanted and not self.is_running:
                if self._has_served and self.process is not None:
                    self.crashes.append(f"{self.name} ended by itself with {self.process.returncode}")
                self._start()
        if self.is_running and not self._has_served:
            self._has_served = answers(self.port)

    def kill(self) -> None:
        with self._lock:
            self.is_wanted = False
            if self.is_running and self.process is not None:
                self.process.kill()
                self.process.wait(END_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        if self.is_running and self.process is not None:
            self.process.send_signal(number)

    def end(self) -> int | None:
        """As a stop by its supervisor. The exit code; None when it was not running."""
        with self._lock:
            self.is_wanted = False
            if self.process is None or not self.is_running:
                return None
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(END_SECONDS)
                return -int(signal.SIGKILL)


def answers(port: int, path: str = "/healthz") -> bool:
    """Whether a call is answered with 200 within a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def supervise(nodes: list[Node]) -> None:
    """Until it is cancelled."""
    while True:
        for node in nodes:
            await asyncio.to_thread(node.look)
        await asyncio.sleep(LOOK_SECONDS)


async def until_ready(nodes: list[Node], seconds: float = START_SECONDS) -> list[str]:
    """Waits until every node could decide. Names those that could not in time."""
    end = time.monotonic() + seconds
    late = list(nodes)
    while late and time.monotonic() < end:
        ready = [await asyncio.to_thread(answers, node.port, "/readyz") for node in late]
        late = [node for node, is_ready in zip(late, ready, strict=True) if not is_ready]
        if late:
            await asyncio.sleep(LOOK_SECONDS)
    return [node.name for node in late]


def end_all(nodes: list[Node]) -> None:
    """Whatever state they are in: also those that were stopped."""
    for node in nodes:
        with suppress(ProcessLookupError):
            node.signal(signal.SIGCONT)
        node.kill()
