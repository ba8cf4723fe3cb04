"""Servers as processes of their own, started, waited for and ended by the measurement that needs them."""

from __future__ import annotations

import http.client
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

from bench.report import BenchBroken
from bench.waiting import until

ROOT: Final = Path(__file__).resolve().parent.parent
_DISK: Final = Path("/var/tmp")  # noqa: S108 - unlike /tmp never in memory, where a sync would cost nothing

_REST_SECONDS: Final = 0.35
"""How long nothing is computed by what is at rest: longer than the gate's rounds of sealing and of copying the
write-ahead log into the file."""
_REST_SHARE: Final = 0.1
"""Of one processor: what rounds that find nothing to do may take."""
_REST_MOST: Final = 120.0


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder on disk for one run's files. Who ends the run (SIGTERM) gets everything taken down that it put up."""
    signal.signal(signal.SIGTERM, _end)
    folder = Path(tempfile.mkdtemp(prefix="stacksona-bench-", dir=_DISK if _DISK.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


@dataclass(frozen=True, slots=True)
class Server:
    """A running gate."""

    port: int
    process: subprocess.Popen[bytes]

    def resident_bytes(self) -> int:
        """Memory that the process holds (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def undone(self) -> float:
        """Writes that wait for the store, and entries that wait for the sealer, as the gate tells. Webhooks do not
        count: where nothing is sent they stay, and where they are sent the processor tells."""
        return self.told("store_waiting", "log_unsealed")

    def told(self, *names: str) -> float:
        """The gate's metrics of these names, with all their labels, added up. Raises BenchBroken where it has none."""
        wanted = {f"stacksona_gate_{name}" for name in names}
        found = [line.rpartition(" ") for line in self._metrics().splitlines() if re.split("[ {]", line)[0] in wanted]
        if not found:
            raise BenchBroken(f"the gate tells nothing of {', '.join(names)}")
        return sum(float(value) for _, _, value in found)

    def wait_for_load(self, callers: int, before: float) -> None:
        """Returns when so many callers can have been answered since ``decisions_total`` was ``before``."""
        wanted = before + callers
        until(lambda: self.told("decisions_total") >= wanted, "the load", seconds=30, every=0.02)

    def _metrics(self) -> str:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()


class Busy(Protocol):
    """What may still be at work when its callers are gone."""

    def cpu_seconds(self) -> float: ...

    def undone(self) -> float: ...


def settle(*all_of: Busy) -> None:
    """Between two windows, so that the tail of one is not counted in the next: returns when none of them computes and
    nothing is undone. Raises BenchBroken when that does not come."""
    since, before = time.perf_counter(), sum(each.cpu_seconds() for each in all_of)

    def is_at_rest() -> bool:
        nonlocal since, before
        now = time.perf_counter()
        if now - since < _REST_SECONDS:
            return False
        computed = sum(each.cpu_seconds() for each in all_of)
        used, since, before = (computed - before) / (now - since), now, computed
        return used <= _REST_SHARE * len(all_of) and not sum(each.undone() for each in all_of)

    until(is_at_rest, "rest", seconds=_REST_MOST, every=_REST_SECONDS)


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far, all its threads together (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(
    database: Path | str, *, store_nothing: bool = False, send_nothing: bool = False, tell_nothing: bool = False
) -> Iterator[Server]:
    """The gate on a database, a file or an address, until the block ends. ``send_nothing``: webhooks stay in the
    outbox. ``tell_nothing``: other nodes hear of no commit."""
    port = free_port()
    url = f"sqlite:///{database}" if isinstance(database, Path) else database
    command = [sys.executable, "-m", "bench.serving", url, str(port)]
    command += ["--store-nothing"] * store_nothing + ["--send-nothing"] * send_nothing
    command += ["--tell-nothing"] * tell_nothing
    with running(command) as process:
        wait_until_healthy(port, process)
        yield Server(port, process)


@contextmanager
def running(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(port: int, process: subprocess.Popen[bytes], *, seconds: float = 60.0) -> None:
    """Returns with the first 200 of /healthz. Raises BenchBroken."""

    def is_up() -> bool:
        require_running(process, "the server")
        return _is_healthy(port)

    until(is_up, "the server", seconds=seconds, every=0.002)


def require_running(process: subprocess.Popen[bytes], what: str) -> None:
    """Raises BenchBroken for a process that has ended."""
    if process.poll() is not None:
        raise BenchBroken(f"{what} did not come up: exit status {process.returncode}")


def _is_healthy(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_file_limit() -> int:
    """As many open files as this process may have, its children too. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
