"""A plugin under Dify's own SDK, over its local transport: lines of JSON on standard input and output, no daemon."""

from __future__ import annotations

import io
import json
import os
import queue
import secrets
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from integrations.dify import pack

PYTHON: Final = Path(__file__).parent / ".venv" / "bin" / "python"
PATIENCE: Final = 60.0

Json = dict[str, Any]


class PluginFault(Exception):
    """The call ended with an error, which fails the node. ``seen``: what came before it."""

    def __init__(self, error: Json, seen: list[Json]) -> None:
        super().__init__(f"{error.get('error_type')}: {error.get('message')}")
        self.error = error
        self.kind = str(error.get("error_type"))
        self.message = str(error.get("message"))
        self.seen = seen


def unpacked(source: str, folder: Path) -> Path:
    """The package's files, as Dify's daemon lays them out."""
    with zipfile.ZipFile(io.BytesIO(pack.packed(pack.contents(source)))) as archive:
        archive.extractall(folder)
    return folder


class LocalPlugin:
    """The process. Calls may come from many threads at once."""

    def __init__(self, folder: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STACKSONA_")}
        self._process = subprocess.Popen(
            [PYTHON, "-m", "main"],
            cwd=folder,
            env=clean | {"INSTALL_METHOD": "local", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed: list[str] = []
        self._manifest: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
        self._sessions: dict[str, queue.SimpleQueue[Json]] = {}
        self._lock = threading.Lock()
        self._readers = [threading.Thread(target=one, daemon=True) for one in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()
        manifest = self._manifest.get(timeout=PATIENCE)
        assert manifest is not None, "".join(self.printed)
        self.manifest = manifest

    def __enter__(self) -> LocalPlugin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.printed.append(line)
            if not line.strip():
                continue
            message = json.loads(line)
            if "event" not in message:
                self._manifest.put(message)
            elif message["event"] == "session":
                self._sessions[message["session_id"]].put(message["data"])
        self._manifest.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.printed.extend(self._process.stderr)

    def begin(self, data: Json, **session: str) -> Iterator[Json]:
        """What comes back, as it comes. ``session``: what Dify names beside the call, such as ``message_id``."""
        session_id = secrets.token_hex(16)
        answers: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._sessions[session_id] = answers
        line = json.dumps({"session_id": session_id, "event": "request", "data": data, **session})
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return self._answers(answers)

    def _answers(self, answers: queue.SimpleQueue[Json]) -> Iterator[Json]:
        seen: list[Json] = []
        while True:
            message = answers.get(timeout=PATIENCE)
            if message["type"] == "end":
                return
            if message["type"] == "error":
                raise PluginFault(message["data"], seen)
            seen.append(message["data"])
            yield message["data"]

    def call(self, data: Json, **session: str) -> list[Json]:
        """All that comes back. Raises PluginFault."""
        return list(self.begin(data, **session))


def invocation(tool: str, credentials: Json, parameters: Json) -> Json:
    """A tool's call, as Dify sends it."""
    return {
        "type": "tool",
        "action": "invoke_tool",
        "user_id": "somebody",
        "provider": "stacksona_gate",
        "tool": tool,
        "credentials": credentials,
        "tool_parameters": parameters,
    }


def variables(messages: list[Json]) -> Json:
    """What the next node can read."""
    found = [one["message"] for one in messages if one["type"] == "variable"]
    return {one["variable_name"]: one["variable_value"] for one in found}
