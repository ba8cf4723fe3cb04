"""The connection's settings, and the client made from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from stacksona import ConfigurationError, Forbidden, Gate, GateUnavailable, NotFound, Unauthenticated

TIMEOUT_MOST: Final = 10.0
PATIENCE: Final = 30
CHECK_MOST: Final = 10
"""Seconds that saving a connection may take."""
NOBODYS_THREAD: Final = "THR-" + "0" * 26
EVERY_TOOL: Final = "*"

_PATIENCE: Final = re.compile(r"[0-9]{1,3}")


def gate_of(credentials: Mapping[str, Any], patience_most: int = 120) -> Gate:
    """A client to be closed. Raises ConfigurationError, which shows no key.

    Empty settings are refused here: the client would take them from this process's environment.
    """
    url, key = (str(credentials.get(name) or "").strip() for name in ("gate_url", "api_key"))
    if not url or not key:
        raise ConfigurationError("the connection lacks the gate's URL or the agent's key")
    patience = min(patience_of(credentials), patience_most)
    return Gate(url, key, patience=patience, timeout=min(TIMEOUT_MOST, patience))


def patience_of(credentials: Mapping[str, Any]) -> int:
    """Seconds. Raises ConfigurationError."""
    text = str(credentials.get("patience") or PATIENCE).strip()
    if not _PATIENCE.fullmatch(text) or not 1 <= int(text) <= 120:
        raise ConfigurationError("patience is whole seconds from 1 to 120")
    return int(text)


def check(credentials: Mapping[str, Any]) -> None:
    """Asks the live gate for a thread that is nobody's, which changes nothing there.

    Raises GateError: for a key that is none of an agent's, and for whatever answers without being a gate.
    """
    allowed_tools(credentials)
    with gate_of(credentials, CHECK_MOST) as gate:
        try:
            gate.get_decision(thread_id=NOBODYS_THREAD)
        except NotFound:
            return
        except Unauthenticated:
            raise Unauthenticated("the gate does not know this key: it must be the key of an agent (sg_…)") from None
        except Forbidden as error:
            raise Forbidden(f"the gate refuses this key: {error}") from None
        except GateUnavailable as error:
            raise GateUnavailable(f"{error}. Can Dify's plugins reach this address?") from None


def allowed_tools(credentials: Mapping[str, Any]) -> frozenset[str]:
    """The names in the connection. Raises ConfigurationError when there is none."""
    names = frozenset(name.strip() for name in str(credentials.get("tools") or "").split(",")) - {""}
    if not names:
        raise ConfigurationError("the connection names no tools: nothing may be asked about")
    return names


def allowed_tool(credentials: Mapping[str, Any], given: str | None) -> str:
    """The tool that is asked about; the connection's only one when none is given.

    A model can add parameters to its call that override what the operator set in the node, ``tool_name`` among them:
    so the connection, which no model reaches, has the last word. Raises ConfigurationError.
    """
    names = allowed_tools(credentials)
    if given is None and len(names) == 1 and EVERY_TOOL not in names:
        return next(iter(names))
    if given is None:
        raise ConfigurationError("tool_name is missing: type the name of the gate's tool")
    if given not in names and EVERY_TOOL not in names:
        raise ConfigurationError("this connection may not ask about that tool: its settings do not name it")
    return given
