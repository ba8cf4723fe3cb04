"""Writes the reference pages that are made from the code. From the root of the checkout:

.venv/bin/python -m gate.tests.docs.reference
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from gate.tests.docs import sentences
from gate.tests.docs.codes import codes_by_status
from typer.main import get_command

from stacksona_gate.api.admin.routes import ADMIN_OPERATIONS
from stacksona_gate.api.agent.routes import OPERATIONS as AGENT_OPERATIONS
from stacksona_gate.api.docs import DOCS_OPERATIONS
from stacksona_gate.api.errors import TITLES
from stacksona_gate.api.installation.routes import INSTALLATION_OPERATIONS
from stacksona_gate.api.metrics import described
from stacksona_gate.api.openapi import first_sentence, path_of
from stacksona_gate.api.operations import OPERATIONS
from stacksona_gate.api.review.routes import REVIEW_OPERATIONS
from stacksona_gate.api.routing import Operation
from stacksona_gate.cli.app import COMMANDS, app
from stacksona_gate.config import Settings, variable
from stacksona_gate.domain.approvals import REFUSALS
from stacksona_gate.domain.audit import EVENTS
from stacksona_gate.domain.errors import HTTP_STATUS as STATUS

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = ROOT / "docs/reference"
MADE: Final = "<!-- Made from the code by gate/tests/docs/reference.py. Do not edit. -->"
AREAS: Final[tuple[tuple[str, str, tuple[Operation, ...]], ...]] = (
    ("Agent API", "Key of an agent (`sg_…`); redeeming also takes a verifier's (`sv_…`).", tuple(AGENT_OPERATIONS)),
    ("Review API", "Personal token (`sp_…`) or a signed-in session.", tuple(REVIEW_OPERATIONS)),
    ("Admin API", "Personal token of an admin (`sp_…`) or an admin's session.", tuple(ADMIN_OPERATIONS)),
    ("Operator's API", "Key of the installation's operator (`so_…`).", tuple(INSTALLATION_OPERATIONS)),
    ("Around it", "No key, except where it says so.", (*OPERATIONS, *DOCS_OPERATIONS)),
)


def settings_page() -> str:
    rows = [
        (f"`{variable(one.name)}`", f"`{one.default}`" if one.default != "" else "", one.metadata["description"])
        for one in fields(Settings)
    ]
    return _page("Settings", sentences.SETTINGS, _table(("variable", "default", "meaning"), rows))


def command_line_page() -> str:
    top = _parameters(get_command(app))
    return _page("Command line", sentences.COMMAND_LINE, "## Options before the command", top, *_commands())


def _commands() -> Iterator[str]:
    for name, (load, _) in COMMANDS.items():
        command = get_command(load())
        inner: dict[str, Any] = getattr(command, "commands", {})
        if not inner:
            yield from _command(name, command)
        for inner_name, one in inner.items():
            yield from _command(f"{name} {inner_name}", one)


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## `{name}`"
    yield inspect.cleandoc(command.help or "")
    yield _parameters(command)


def _parameters(command: Any) -> str:
    rows = [_parameter(one) for one in command.params]
    return _table(("argument or option", "meaning"), rows) if rows else ""


def _parameter(one: Any) -> tuple[str, str]:
    if one.param_type_name == "argument":
        return f"`{one.metavar}`", one.help
    names = ", ".join((*one.opts, *one.secondary_opts))
    value = "" if one.is_flag else f" {_metavar(one)}"
    default = f" Default: `{one.default}`." if _tells(one) else ""
    required = " Required." if one.required else ""
    return f"`{names}{value}`", f"{one.help}{default}{required}"


def _metavar(one: Any) -> str:
    annotation = one.type_descriptor.annotation
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    return one.metavar or ("N" if annotation is int else "TEXT")


def _tells(one: Any) -> bool:
    """Whether the default says more than that there is none."""
    return isinstance(one.default, str | int) and not one.is_flag and one.default not in ("", 0)


def audit_events_page() -> str:
    rows = [(f"`{event}`", sentences.EVENTS[event]) for event in sorted(EVENTS)]
    return _page("Audit events", sentences.AUDIT, "## Events", _table(("event", "meaning"), rows), sentences.LEAF)


def errors_page() -> str:
    kinds = [(str(status), TITLES[status], f"`{kind}`") for kind, status in STATUS.items()]
    kinds += [(str(status), TITLES[status], "") for status in TITLES if status not in STATUS.values()]
    codes = [(str(status), f"`{code}`", sentences.CODES[code]) for status, found in codes_by_status() for code in found]
    refusals = [(f"`{reason}`", sentences.REASONS[reason]) for reason in sorted(REFUSALS)]
    return _page(
        "Errors",
        sentences.ERRORS,
        "## Statuses and kinds",
        _table(("status", "title", "kind"), sorted(kinds)),
        "## Codes",
        sentences.CODES_ABOUT,
        _table(("status", "code", "meaning"), codes),
        "## Refused redemptions",
        sentences.REFUSED,
        _table(("reason", "meaning"), refusals),
    )


def metrics_page() -> str:
    rows = [
        (f"`{name}`", about.kind, ", ".join(f"`{one}`" for one in about.labels), about.of, f"{about.help}.")
        for name, about in described()
    ]
    table = _table(("metric", "type", "labels", "of", "meaning"), rows)
    return _page("Metrics", sentences.METRICS, "## Metrics", table, sentences.METRICS_LABELS)


def api_page() -> str:
    return _page("HTTP API", sentences.API, *(part for area in AREAS for part in _area(*area)))


def _area(title: str, about: str, operations: Iterable[Operation]) -> Sequence[str]:
    rows = [(f"`{one.method} {path_of(one)}`", _about(one), str(one.status)) for one in operations]
    return (f"## {title}", about, _table(("operation", "what it does", "answer"), rows))


def _about(operation: Operation) -> str:
    forms = ". JSON or form" if operation.forms else ""
    return first_sentence(inspect.cleandoc(operation.handler.__doc__ or "")) + forms


def _page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", MADE, *(part.strip() for part in parts if part.strip()))) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join((f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {line} |" for line in lines)))


GENERATED: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "command-line.md": command_line_page,
    "audit-events.md": audit_events_page,
    "errors.md": errors_page,
    "api.md": api_page,
    "metrics.md": metrics_page,
}


def main() -> None:
    for name, make in GENERATED.items():
        (PAGES / name).write_text(make())


if __name__ == "__main__":
    main()
