"""The values beside a leaf: disclosed ones against their commitments, withheld and erased ones counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stacksona_gate.domain.audit import holds
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.reading import quote

_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(slots=True)
class Counted:
    """How many values were disclosed, withheld (``redacted``) and ``erased``."""

    disclosed: int = 0
    redacted: int = 0
    erased: int = 0


def check_private(private: Mapping[str, object], leaf: Mapping[str, object], counted: Counted) -> list[str]:
    """What is wrong with an entry's private values, by its leaf's commitments."""
    commitments = leaf.get("commitments")
    if not isinstance(commitments, dict) or not all(map(_is_commitment, commitments.values())):
        return ["the leaf's commitments are not hashes by name"]
    counted.erased += len(commitments.keys() - private.keys())
    return [
        f"the private value {quote(name)} {problem}"
        for name, value in private.items()
        if (problem := _problem(value, commitments.get(name), counted)) is not None
    ]


def _is_commitment(value: object) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _problem(value: object, commitment: str | None, counted: Counted) -> str | None:
    if commitment is None:
        return "is committed to nowhere in the leaf"
    if not isinstance(value, dict):
        return "is neither disclosed nor redacted"
    if value.get("redacted") is True and value.keys() <= {"redacted", "shown"}:
        counted.redacted += 1
        return None
    if value.keys() != {"salt", "value"} or not _is_commitment(value["salt"]):
        return "is neither disclosed nor redacted"
    counted.disclosed += 1
    return None if _holds(commitment, value["salt"], value["value"]) else "is not what the leaf committed to"


def _holds(commitment: str, salt: str, value: object) -> bool:
    try:
        return holds(commitment, salt, value)
    except Invalid:
        return False
