"""Faults under load, by a seed; a checker reads what happened. ``python -m chaos --help``."""
