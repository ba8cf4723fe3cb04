"""The command line, ``stacksona-gate``."""

from __future__ import annotations

from stacksona_gate.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """The entry point."""
    app()
