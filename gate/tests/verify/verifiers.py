"""Both verifiers as the same question: the gate's own, and the independent one."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from typer.testing import CliRunner

from stacksona_gate.cli import app

ROOT: Final = Path(__file__).parents[3]
SCRIPT: Final = ROOT / "conformance/audit/verify_export.py"


@dataclass(frozen=True)
class Verdict:
    code: int
    told: dict[str, Any]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_export", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SCRIPT: Final = loaded()


def ours(*arguments: str) -> Verdict:
    result = CliRunner().invoke(app, ["audit", "verify", *arguments, "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Verdict(result.exit_code, json.loads(result.stdout) if result.stdout else {})


def independent(*arguments: str) -> Verdict:
    with called_with(*arguments, "--json") as (said, errors):
        try:
            code = _SCRIPT.main()
        except SystemExit as ended:
            code = ended.code
    assert "Traceback" not in errors.getvalue()
    return Verdict(code, json.loads(said.getvalue()) if said.getvalue() else {})


@contextlib.contextmanager
def called_with(*arguments: str) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    before, said, errors = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = [str(SCRIPT), *arguments]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            yield said, errors
    finally:
        sys.argv = before
