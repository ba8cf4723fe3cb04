"""Dify's apps, as the settings have them: which forms may be sent, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from stacksona_bridge.reading import read_json

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NODE: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ACTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,19}")
_TOOL: Final = re.compile(r"[A-Za-z0-9._:/\-]{1,200}")
WAKE: Final = {"pause": "decided"}
"""The node and the action of the templates: a form that decides nothing."""


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Human Input node that the gate decides for.

    ``payload``: names of the form's inputs that are the action's arguments. ``reject`` may be missing: a refusal then
    leaves the form to expire.
    """

    tool: str
    approve: str
    reject: str | None = None
    payload: tuple[str, ...] = ()
    subject: str | None = None
    expires_in: int | None = None


class _App(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    callers: tuple[str, ...] = ()
    nodes: dict[str, Node] = {}
    wake: dict[str, str] = msgspec.field(default_factory=lambda: dict(WAKE))


@dataclass(frozen=True)
class App:
    """``wake``: nodes whose form wakes the run and decides nothing, each with its one action."""

    name: str
    key: str = field(repr=False)
    callers: tuple[str, ...]
    nodes: Mapping[str, Node]
    wake: Mapping[str, str]


def read_apps(text: str) -> dict[str, App]:
    """Raises Malformed for what is no JSON with one reading, ValueError for what it says. Neither shows a key."""
    raw = read_json(text.encode())
    if not isinstance(raw, dict):
        raise ValueError("it is an object of apps by name")
    apps = {name: _app(name, value) for name, value in raw.items()}
    if len({app.key for app in apps.values()}) != len(apps):
        raise ValueError("two apps have the same key")
    return apps


def _app(name: str, raw: Any) -> App:
    if not _NAME.fullmatch(name):
        raise ValueError("an app's name is 1 to 64 of A-Z a-z 0-9 _ -")
    try:
        read = msgspec.convert(raw, _App)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from None
    if not read.key.isascii() or not read.key.isprintable() or " " in read.key or not read.key:
        raise ValueError(f"{name}: the key is not one of Dify")
    for node_id, node in read.nodes.items():
        _check_node(name, node_id, node)
    _check_wake(name, read)
    return App(name, read.key, read.callers, read.nodes, read.wake)


def _check_node(app: str, node_id: str, node: Node) -> None:
    actions = [node.approve] if node.reject is None else [node.approve, node.reject]
    if not _NODE.fullmatch(node_id) or not _TOOL.fullmatch(node.tool):
        raise ValueError(f"{app}: a node has an id of Dify and a tool's name")
    if not all(map(_ACTION.fullmatch, actions)) or node.approve == node.reject:
        raise ValueError(f"{app}, {node_id}: approve and reject are two different actions of the form")
    if node.expires_in is not None and not 30 <= node.expires_in <= 2_592_000:
        raise ValueError(f"{app}, {node_id}: expires_in is 30 to 2592000 seconds")


def _check_wake(app: str, read: _App) -> None:
    """A node that decides must not be reachable by whoever can name it."""
    if set(read.wake) & set(read.nodes):
        raise ValueError(f"{app}: a node is kept by the gate or woken by anybody, not both")
    if not all(_NODE.fullmatch(node) and _ACTION.fullmatch(action) for node, action in read.wake.items()):
        raise ValueError(f"{app}: wake is an object of node ids, each with one action of its form")
