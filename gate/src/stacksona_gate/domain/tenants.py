"""Workspaces: their names, what limits hold for them, and the operator's keys that make them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from stacksona_gate.domain.errors import FieldError, Forbidden, Invalid

OPERATOR_KEY_PREFIX: Final = "so_"
LIMIT_MOST: Final = 1_000_000_000
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class TenantLimits(Struct, frozen=True, omit_defaults=True):
    """None: the installation's default holds; 0: no limit."""

    requests_per_second: int | None = None
    """Calls of all its agents and verifiers together."""
    pending_threads: int | None = None
    """Threads that wait for people at once."""
    stored_requests: int | None = None
    """Requests kept with their content."""
    stored_megabytes: int | None = None
    """Content of requests and attachments, in units of 1,000,000 bytes as they rest encrypted."""


NO_LIMITS: Final = TenantLimits()
LIMITS: Final = TenantLimits.__struct_fields__


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """A key of the installation's operator. Only the hash of what was shown is kept."""

    id: str
    name: str
    hash: str
    hint: str
    created_at: int
    revoked_at: int | None


def in_force(own: TenantLimits, standard: TenantLimits) -> TenantLimits:
    """What holds for a workspace; None where nothing limits it."""
    return TenantLimits(**{name: _chosen(getattr(own, name), getattr(standard, name)) for name in LIMITS})


def _chosen(own: int | None, standard: int | None) -> int | None:
    """0 is no limit, also where there is a standard one."""
    return (standard if own is None else own) or None


def read_limits(text: str) -> TenantLimits:
    """A workspace's own limits as they are kept; a text that was damaged has none: the installation's hold."""
    try:
        return msgspec.json.decode(text, type=TenantLimits)
    except msgspec.MsgspecError:
        return NO_LIMITS


def checked_limits(limits: TenantLimits) -> TenantLimits:
    """Raises Invalid."""
    for name in LIMITS:
        value = getattr(limits, name)
        if value is not None and not 0 <= value <= LIMIT_MOST:
            told = f"0 (no limit) to {LIMIT_MOST:,}, or null for the installation's default"
            raise Invalid(f"{name} is {told}", errors=(FieldError(name, told),))
    return limits


def checked_tenant_name(name: str) -> str:
    """A name that fits into an address and a form. Raises Invalid."""
    if _NAME.fullmatch(name) is None:
        told = "1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or a number"
        raise Invalid(f"the name of a workspace has {told}", errors=(FieldError("name", told),))
    return name


def suspended() -> Forbidden:
    """What everybody in a suspended workspace is told."""
    return Forbidden(
        "this workspace is suspended: nothing is decided in it until the installation's operator resumes it",
        code="workspace_suspended",
    )
