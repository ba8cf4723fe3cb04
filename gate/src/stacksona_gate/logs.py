"""Log lines on standard error. Payloads, keys and queries are in none of them: nobody passes them here."""

from __future__ import annotations

import logging
import sys
from typing import Final

import msgspec

from stacksona_gate.config import Settings
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.telemetry.trace import CURRENT

_ENCODER: Final = msgspec.json.Encoder()
_CONSOLE: Final = "%(asctime)s %(levelname)-7s %(name)s  %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``timestamp`` (RFC 3339), ``level``, ``logger``, ``event``, what its writer adds,
    ``exception``, and where it belongs: ``http_request_id``, ``trace_id``, ``span_id`` and ids of what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": rfc3339(int(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        trace = CURRENT.get()
        if trace is not None:
            line |= trace.fields()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line).decode("utf-8", "replace")


def configure_logging(settings: Settings) -> None:
    """Sends every logger's lines to standard error in the form and from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(_CONSOLE))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
