"""One change each to a real export, which every verifier must find."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

Json = dict[str, Any]
Change = Callable[[Json, list[Json]], None]


def _flip(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


def _change_a_field(header: Json, entries: list[Json]) -> None:
    entries[1]["leaf"] = entries[1]["leaf"].replace('"at":"2', '"at":"1', 1)


def _take_a_row_out(header: Json, entries: list[Json]) -> None:
    del entries[1]


def _swap_rows(header: Json, entries: list[Json]) -> None:
    entries[0], entries[1] = entries[1], entries[0]


def _change_a_value(header: Json, entries: list[Json]) -> None:
    entry = next(one for one in entries if any("value" in kept for kept in one["private"].values()))
    next(kept for kept in entry["private"].values() if "value" in kept)["value"] = "something else"


def _change_the_checkpoint(header: Json, entries: list[Json]) -> None:
    origin, size, root, *rest = header["checkpoint"].split("\n")
    header["checkpoint"] = "\n".join([origin, size, _flip(root), *rest])


def _say_less(header: Json, entries: list[Json]) -> None:
    header["entries"] -= 1
    entries.pop()
    header["size"] -= 1


CHANGES: Final[dict[str, Change]] = {
    "a changed field": _change_a_field,
    "a row taken out": _take_a_row_out,
    "swapped rows": _swap_rows,
    "another value": _change_a_value,
    "another root": _change_the_checkpoint,
    "a cut tail": _say_less,
}


def mutated(export: bytes, name: str) -> bytes:
    """The export with one change, in the form that it has."""
    change = CHANGES[name]
    if export.startswith(b"<"):
        match = re.search(rb'(<script[^>]*id="evidence"[^>]*>)(.*?)(</script>)', export, re.DOTALL)
        assert match is not None
        inner = mutated(match[2], name).replace(b"<", b"\\u003c")
        return export[: match.start(2)] + inner + export[match.end(2) :]
    lines = [json.loads(line) for line in export.splitlines()]
    if "log" in lines[0]:
        change(lines[0]["log"], lines[0]["entries"])
    else:
        header, *entries = lines
        change(header, entries)
        lines = [header, *entries]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
