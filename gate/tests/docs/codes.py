"""Every error code that the source can give, with its HTTP status, found by reading the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stacksona_gate.domain import errors
from stacksona_gate.domain.errors import HTTP_STATUS as STATUS

SOURCE: Final = Path(__file__).parents[2] / "src/stacksona_gate"
KINDS: Final[dict[str, str]] = {
    name: one.kind
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.GateError) and one.kind in STATUS
}
"""Names of the exception classes, and their kinds."""
PAGES_ONLY: Final = frozenset({"sign_in_needed"})
"""Never answered: the pages send the browser to sign in."""


def codes_by_status() -> list[tuple[int, list[str]]]:
    """Statuses in order, each with its codes in order."""
    found: dict[int, set[str]] = {}
    for status, code in set(_found()):
        found.setdefault(status, set()).add(code)
    return [(status, sorted(codes)) for status, codes in sorted(found.items())]


def _found() -> Iterator[tuple[int, str]]:
    for kind, status in STATUS.items():
        yield status, kind  # the code of an error that says no other
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield from _of_call(node)
            elif isinstance(node, ast.ClassDef):
                yield from _of_class(node)


def _of_call(node: ast.Call) -> Iterator[tuple[int, str]]:
    name = getattr(node.func, "id", "")
    if name == "problem" and _texts(node.args[1]):
        status = node.args[0]
        assert isinstance(status, ast.Constant)
        yield int(str(status.value)), _texts(node.args[1])
    for keyword in node.keywords:
        if keyword.arg == "code" and name in KINDS and _texts(keyword.value):
            yield STATUS[KINDS[name]], _texts(keyword.value)


def _of_class(node: ast.ClassDef) -> Iterator[tuple[int, str]]:
    """A class of errors with a code of its own, as ``class PolicyError(Invalid): code = …``."""
    bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in KINDS]
    for statement in node.body if bases else ():
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[-1], ast.Name):
            code = _texts(statement.value)
            if statement.targets[-1].id == "code" and code not in PAGES_ONLY:
                yield STATUS[KINDS[bases[0]]], code


def _texts(node: ast.expr) -> str:
    """A literal's text, an f-string's with ``<name>`` for what is put in, ``""`` for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "<field>" for part in node.values)
    return ""
