"""The direction of imports, the purity of the core and the size of files, as tests. Each check is shown to bite."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "gate/src"
OURS = "stacksona_gate"

# What each part may import of ours, beside itself. A part is a package, or a module at the top.
ALLOWED: dict[str, frozenset[str]] = {
    "domain": frozenset(),
    "policy": frozenset({"domain"}),
    "telemetry": frozenset(),
    "store": frozenset({"domain", "policy", "telemetry"}),
    "service": frozenset({"domain", "policy", "store.base", "telemetry"}),
    "delivery": frozenset({"domain", "service", "telemetry"}),
    "api": frozenset({"domain", "service", "telemetry"}),
    "web": frozenset({"domain", "service", "telemetry"}),
    "config": frozenset({"domain"}),
    "logs": frozenset({"config", "domain", "telemetry"}),
    "verify": frozenset({"domain"}),
    "cli": frozenset({"main", "delivery", "config", "logs", "service", "domain", "policy", "demo", "verify"}),
    "demo": frozenset({"service", "domain", "policy", "store.base"}),
}
WIRING = "main"
PURE = ("domain", "policy")
IMPURE_MODULES = frozenset(
    {"asyncio", "time", "random", "secrets", "os", "logging", "socket", "apsw", "starlette", "uvicorn"}
)
CLOCK_CALLS = frozenset({"now", "utcnow", "today", "time_ns"})
VAGUE_NAMES = frozenset({"utils", "helpers", "manager", "common"})
FILE_LINES, FUNCTION_LINES = 400, 50
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(source: Path = SOURCE) -> dict[str, str]:
    """Dotted name to text, of every module of ours."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


# Imports


def imports(text: str) -> Iterator[str]:
    """Every imported name, dotted, wherever in the file: inside functions and type-checking blocks too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif is_dynamic_import(node):
            yield "a name made at run time"


def is_dynamic_import(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("import_module", "__import__")


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def part_of(module: str) -> str:
    """``stacksona_gate.api.agent.routes`` is of the part ``api``."""
    return module.partition(".")[2].partition(".")[0]


def import_violations(module: str, text: str) -> list[str]:
    """What ``module`` imports against the direction."""
    part = part_of(module)
    if part == WIRING:
        return []
    return [f"{module} imports {name}" for name in imports(text) if not may_import(part, name)]


def may_import(part: str, name: str) -> bool:
    if name.startswith((".", "a name")):
        return False
    if not within(name, OURS):
        return True
    open_to_it = {part, *ALLOWED.get(part, frozenset())} if part else set()
    return any(within(name, f"{OURS}.{other}") for other in open_to_it)


def cycles(texts: dict[str, str]) -> list[str]:
    """One line for each cycle of imports between modules."""
    graph = {module: targets(module, text, texts) for module, text in texts.items()}
    finished: set[str] = set()
    paths = [found for module in graph if (found := find_cycle(graph, module, [], finished))]
    return [" -> ".join(path) for path in {frozenset(path): path for path in reversed(paths)}.values()]


def targets(module: str, text: str, texts: dict[str, str]) -> set[str]:
    """The modules that an import loads: ``from a import b`` is ``a.b`` when that is a module, else ``a``."""
    loaded = set()
    for name in imports(text):
        candidates = (name, name.rpartition(".")[0])
        loaded.update([candidate for candidate in candidates if candidate in texts][:1])
    return loaded - {module}


def find_cycle(graph: dict[str, set[str]], module: str, path: list[str], finished: set[str]) -> list[str]:
    if module in path:
        return [*path[path.index(module) :], module]
    if module in finished:
        return []
    for target in sorted(graph[module]):
        if found := find_cycle(graph, target, [*path, module], finished):
            return found
    finished.add(module)
    return []


# Purity


def purity_violations(module: str, text: str) -> list[str]:
    """Clock, randomness and input or output in the parts that are values in, values out."""
    if part_of(module) not in PURE:
        return []
    impure = [name for name in imports(text) if name.split(".")[0] in IMPURE_MODULES]
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    clocks = [ast.unparse(call) for call in calls if ast.unparse(call).rpartition(".")[2] in CLOCK_CALLS]
    return [f"{module} uses {name}" for name in impure + clocks]


# Size


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code: not blank, not comment, not docstring."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in skipped]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return lines - docstring_lines(ast.parse(text))


def docstring_lines(tree: ast.Module) -> set[int]:
    """Strings that stand alone as a statement: docstrings, and those below an attribute."""
    lone = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    texts = [node for node in lone if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]
    return {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def size_violations(module: str, text: str) -> list[str]:
    lines = code_lines(text)
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function)]
    sizes = [(module, len(lines), FILE_LINES)]
    sizes += [(f"{module}.{node.name}", body_size(node, lines), FUNCTION_LINES) for node in functions]
    return [f"{name} has {size} lines of code" for name, size, limit in sizes if size > limit]


def body_size(function: Function, lines: set[int]) -> int:
    return len(lines & set(range(function.body[0].lineno, (function.end_lineno or 0) + 1)))


def vague_names(names: list[str]) -> list[str]:
    return [name for name in names if VAGUE_NAMES & set(name.split("."))]


# What holds of this checkout


def test_imports_point_inward() -> None:
    assert [line for module, text in modules().items() for line in import_violations(module, text)] == []


def test_no_modules_import_each_other() -> None:
    assert cycles(modules()) == []


def test_the_core_has_no_clock_no_chance_and_no_input_or_output() -> None:
    assert [line for module, text in modules().items() for line in purity_violations(module, text)] == []


def test_files_and_functions_are_small() -> None:
    assert [line for module, text in modules().items() for line in size_violations(module, text)] == []


def test_modules_are_named_after_what_they_hold() -> None:
    assert vague_names(list(modules())) == []


@pytest.mark.parametrize("folder", ["sdk", "integrations"])
def test_what_runs_beside_the_callers_never_imports_the_server(folder: str) -> None:
    texts = {str(path): path.read_text() for path in own_files(ROOT / folder)}
    assert [path for path, text in texts.items() if imports_the_server(text)] == []


def own_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.py") if not {".venv", "node_modules"} & set(path.parts))


def imports_the_server(text: str) -> bool:
    return any(within(name, OURS) for name in imports(text))


def test_the_modules_were_found() -> None:
    assert {f"{OURS}.domain.errors", f"{OURS}.api.protocol", OURS} <= set(modules())


# That the checks bite


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("domain.threads", "from stacksona_gate.policy.model import Rule"),
        ("domain.threads", "import stacksona_gate"),
        ("domain.threads", "import stacksona_gate.store.base"),
        ("domain.threads", "from stacksona_gate import store"),
        ("policy.parse", "from stacksona_gate.service import requests"),
        ("policy.parse", "from stacksona_gate.config import Settings"),
        ("store.sqlite", "from stacksona_gate.service.requests import submit"),
        ("service.requests", "from stacksona_gate.store import sqlite"),
        ("service.requests", "from stacksona_gate.store.sqlite import Sqlite"),
        ("service.requests", "from stacksona_gate.store.base_of_another import Sqlite"),
        ("service.requests", "import stacksona_gate.store"),
        ("service.requests", "def f() -> None:\n    from stacksona_gate.api import errors"),
        ("service.requests", "if TYPE_CHECKING:\n    from stacksona_gate.web import pages"),
        ("service.requests", "from ..api import errors"),
        ("service.requests", "import importlib\nimportlib.import_module('stacksona_gate.api')"),
        ("delivery.outbox", "from stacksona_gate.store.base import Store"),
        ("api.agent.routes", "from stacksona_gate.store.base import Store"),
        ("api.agent.routes", "from stacksona_gate.web import pages"),
        ("web.inbox", "from stacksona_gate.api import errors"),
        ("web.inbox", "from stacksona_gate.policy import model"),
        ("config", "from stacksona_gate.service import requests"),
        ("cli", "from stacksona_gate.store.sqlite import Sqlite"),
        ("newcomer.thing", "from stacksona_gate.domain import errors"),
        ("api.agent.routes", "from stacksona_gate.main import create"),
    ],
)
def test_an_import_against_the_direction_is_found(module: str, text: str) -> None:
    assert len(import_violations(f"{OURS}.{module}", text)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("domain.threads", "from stacksona_gate.domain.errors import Conflict\nimport datetime"),
        ("policy.parse", "from stacksona_gate.domain import errors"),
        ("service.requests", "from stacksona_gate.store.base import Store"),
        ("service.requests", "from stacksona_gate.store import base"),
        ("api.agent.routes", "from stacksona_gate.api import errors\nfrom starlette.routing import Route"),
        ("cli", "from stacksona_gate import main"),
        ("main", "from stacksona_gate.store.sqlite import Sqlite"),
        ("config", "import stacksona_gate_of_another"),
    ],
)
def test_an_import_with_the_direction_is_not(module: str, text: str) -> None:
    assert import_violations(f"{OURS}.{module}", text) == []


def test_a_cycle_is_found_through_three_modules_and_a_function() -> None:
    lines = {"a": "from p import b", "b": "def f() -> None:\n    import p.c", "c": "from p.a import name"}
    assert cycles({f"p.{name}": text for name, text in lines.items()}) == ["p.a -> p.b -> p.c -> p.a"]


def test_a_diamond_is_no_cycle() -> None:
    assert cycles({"a": "import b, c", "b": "import d", "c": "import d", "d": ""}) == []


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "import os.path",
        "from secrets import token_hex",
        "def f() -> None:\n    import logging",
        "from datetime import datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ndate.today()",
        "clock.time_ns()",
        "now()",
    ],
)
def test_a_clock_or_an_effect_in_the_core_is_found(text: str) -> None:
    assert len(purity_violations(f"{OURS}.domain.threads", text)) == 1
    assert len(purity_violations(f"{OURS}.policy.parse", text)) == 1
    assert purity_violations(f"{OURS}.service.requests", text) == []


def test_a_time_that_is_handed_in_is_not() -> None:
    text = "from datetime import datetime\ndef f(now: datetime) -> datetime:\n    return now + later(now)"
    assert purity_violations(f"{OURS}.domain.threads", text) == []


def test_a_long_file_is_found() -> None:
    assert size_violations("m", "x = 1\n" * 401) == ["m has 401 lines of code"]


def test_blank_lines_comments_and_docstrings_are_no_code() -> None:
    assert size_violations("m", '"""One.\n\nTwo."""\n# three\n\n' * 200 + "x = 1\n" * 400) == []


def test_a_long_function_is_found() -> None:
    text = "class C:\n    async def f(self) -> None:\n" + "        x = 1\n" * 51
    assert size_violations("m", text) == ["m.f has 51 lines of code"]


def test_a_long_function_is_found_beside_a_short_one_of_its_name() -> None:
    text = "class C:\n    def f(self) -> None:\n" + "        x = 1\n" * 51 + "class D:\n    def f(self) -> None: ...\n"
    assert size_violations("m", text) == ["m.f has 51 lines of code"]


def test_a_long_text_inside_code_counts() -> None:
    text = "def f() -> str:\n    return '''" + "\n" * 60 + "'''\n"
    assert size_violations("m", text) == ["m.f has 61 lines of code"]


def test_a_vague_name_is_found() -> None:
    assert vague_names([f"{OURS}.api.utils", f"{OURS}.common.x", f"{OURS}.managers"]) == [
        f"{OURS}.api.utils",
        f"{OURS}.common.x",
    ]


def test_an_import_of_the_server_is_found_in_a_client() -> None:
    assert imports_the_server("def f() -> None:\n    from stacksona_gate.domain import errors")
    assert not imports_the_server("import stacksona")
