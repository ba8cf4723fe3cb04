"""The outermost group: errors as lines on standard error, and the settings in the help."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import typer
from typer.core import TyperGroup

from stacksona_gate.config import Settings, variable
from stacksona_gate.domain.errors import GateError


class Shell(TyperGroup):
    """Says what is wrong in a line, exit code 1; usage errors stay the framework's, exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        with refusals_told():
            return super().invoke(ctx)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Settings, from the environment"):
            formatter.write_dl(settings_table())


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turns expected errors into lines on standard error and exit code 1."""
    try:
        yield
    except GateError as error:
        refuse(error.detail)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        refuse(f"{error.filename or 'the system says'}: {error.strerror or error}")


def refuse(message: str) -> None:
    """Never returns."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def settings_table() -> list[tuple[str, str]]:
    """Every setting's variable, and what it means."""
    return [(variable(setting.name), _described(setting.metadata["description"], setting.default)) for setting in _ALL]


def _described(description: str, default: object) -> str:
    return f"{description} [{default}]" if default else description


_ALL = fields(Settings)


def group(help_text: str, *, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A group of commands; plain text, so that output is the same for people, pipes and logs."""
    made = single(help_text, cls=cls)
    made.callback()(lambda: None)  # also with one command in it, a group stays a group
    return made


def single(help_text: str, *, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """For one command on its own."""
    return typer.Typer(
        cls=cls,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
