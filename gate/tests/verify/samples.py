"""Writes the sample exports in conformance/audit. From the root of the checkout: python -m gate.tests.verify.samples"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gate.tests.verify.logs import KEY, erased, jsonl, log_of, page, redacted

FOLDER: Final = Path(__file__).parents[3] / "conformance/audit"


def samples() -> dict[str, bytes]:
    """The files by name: a log of 12 entries, saved when it had 5."""
    log = log_of(12)
    return {
        "whole.jsonl": jsonl(erased(redacted(log.export(), 3), 8, "address")),
        "thread.html": page(redacted(log.thread(1, **log.since(5)), 2)),
        "checkpoint": log.checkpoint(5).note.encode(),
        "log.vkey": f"{KEY}\n".encode(),
    }


if __name__ == "__main__":
    for name, content in samples().items():
        (FOLDER / name).write_bytes(content)
