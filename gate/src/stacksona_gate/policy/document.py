"""Reads YAML (and so JSON) strictly, with the line and column of everything that is wrong.

One text has one reading here: no aliases, tags, duplicate keys or loosely written booleans and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import NoReturn, Protocol

import yaml

from stacksona_gate.domain.errors import FieldError, Invalid
from stacksona_gate.policy.messages import shown
from stacksona_gate.policy.numbers import MAX_NUMBER_TEXT

MAX_TEXT_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_PROBLEMS = 1_000
MAX_NAME = 200

STRING, BOOLEAN, NULL = (f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "null"))

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class PolicyError(Invalid):
    """The text is no policy (or no case file). ``errors`` has every cause: its key path, line, column, what to do."""

    code = "policy_invalid"


class Mark(Protocol):
    """A position, counted from 0, as PyYAML gives it."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Position:
    """A position of our own."""

    line: int = 0
    column: int = 0


START = Position()


class Problems:
    """What is wrong so far, collected so that one look shows all of it."""

    def __init__(self) -> None:
        self._found: list[tuple[int, int, FieldError]] = []

    def add(self, mark: Mark | None, path: str, message: str) -> None:
        """Notes one problem. Raises ``PolicyError`` once there are too many to be worth reading on."""
        mark = mark or START
        line, column = mark.line + 1, mark.column + 1
        self._found.append((line, column, FieldError(path, f"line {line}, column {column}: {message}")))
        if len(self._found) >= MAX_PROBLEMS:
            self.raise_any()

    def raise_any(self) -> None:
        """Raises ``PolicyError`` with all problems in the order of the text; returns when there are none."""
        if self._found:
            raise self._error()

    def refuse(self, mark: Mark | None, message: str) -> NoReturn:
        """Notes a problem after which nothing more can be read, and raises."""
        self.add(mark, "", message)
        raise self._error()

    def _error(self) -> PolicyError:
        errors = tuple(error for _, _, error in sorted(self._found, key=lambda found: found[:2]))
        first = f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors, the first is"
        return PolicyError(f"{count}: {first}", errors=errors)


def read_document(text: str, problems: Problems) -> Field:
    """The document in ``text`` as its top field. Raises ``PolicyError`` where it cannot be read at all."""
    text = text.removeprefix("\ufeff")
    _check_text(text, problems)
    try:
        _check_events(text, problems)
        problems.raise_any()
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        problems.refuse(_mark_of(error), f"this is not YAML: {_reason(error)}; correct it here or just before")
    if node is None:
        problems.refuse(START, "the text is empty; begin with version: 1")
    return Field("", node, problems)


def _check_text(text: str, problems: Problems) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        problems.refuse(_position(text, error.start), "half of a surrogate pair; write the character itself")
    if size > MAX_TEXT_BYTES:
        problems.refuse(START, f"the text has {size} bytes; keep it under {MAX_TEXT_BYTES}")
    # YAML ends a line at some of these and JSON does not: the text would have two readings.
    if odd := _UNSEEN.search(text):
        code = f"\\u{ord(odd[0]):04x}"
        problems.refuse(_position(text, odd.start()), f'an invisible character; write it as "{code}" in double quotes')


def _check_events(text: str, problems: Problems) -> None:
    # Before composing: an alias multiplies what is read, and composing recurses with the depth.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        _check_event(event, problems)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            problems.refuse(event.start_mark, f"nested deeper than {MAX_DEPTH}; make it flatter")


def _check_event(event: yaml.Event, problems: Problems) -> None:
    mark, anchor, tag = event.start_mark, getattr(event, "anchor", None), getattr(event, "tag", None)
    if isinstance(event, yaml.AliasEvent):
        problems.add(mark, "", f"alias *{shown(str(anchor))}; write the value out")
    elif anchor:
        problems.add(mark, "", f"anchor &{shown(anchor)}; remove it and write values out")
    if tag:
        problems.add(mark, "", f"tag {shown(tag)}; remove it, quotes make a text")


def _position(text: str, index: int) -> Position:
    return Position(text.count("\n", 0, index), index - text.rfind("\n", 0, index) - 1)


def _mark_of(error: yaml.YAMLError) -> Mark | None:
    return getattr(error, "problem_mark", None)


def _reason(error: yaml.YAMLError) -> str:
    return shown(str(getattr(error, "problem", None) or error), 200)


@dataclass(frozen=True, slots=True)
class Field:
    """One place in the document: its key path and what stands there. Readers note problems and give None."""

    path: str
    node: yaml.Node
    problems: Problems

    def fail(self, message: str) -> None:
        self.problems.add(self.node.start_mark, self.path, message)

    def section(self, known: Collection[str] | None = None) -> Section:
        """The keys of a mapping; ``known`` are the only ones allowed, None allows all."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("write a mapping here, lines of key: value ({} for an empty one)")
            return Section(self, {}, complete=False)
        entries: dict[str, Field] = {}
        for key, value in self.node.value:
            self._enter(entries, key, value, known)
        return Section(self, entries)

    def items(self) -> list[Field]:
        """The items of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("write a list here, lines of - item ([] for an empty one)")
            return []
        return [Field(f"{self.path}[{index}]", node, self.problems) for index, node in enumerate(self.node.value)]

    def scalar(self) -> str | None:
        """The characters of a single value, quoted or not."""
        if isinstance(self.node, yaml.ScalarNode):
            return str(self.node.value)
        self.fail("write a single value here")
        return None

    def text(self, limit: int) -> str | None:
        """A text of 1 to ``limit`` characters. What YAML takes for something else has to be quoted."""
        text = self.scalar()
        if text is None:
            return None
        if self.node.tag != STRING:
            self.fail(f'YAML does not read {shown(text) or "nothing"} as text; write it in quotes: "{shown(text)}"')
            return None
        if 0 < len(text) <= limit:
            return text
        self.fail(f"write 1 to {limit} characters here, not {len(text)}" if text else "write a text here, not nothing")
        return None

    def choice[T: str](self, options: tuple[T, ...]) -> T | None:
        """One of ``options``."""
        text = self.scalar()
        for option in options:
            if option == text:
                return option
        if text is not None:
            self.fail(
                f"{shown(text) or 'nothing'} is not possible here; write {' or '.join(options)}{_likely(text, options)}"
            )
        return None

    def boolean(self) -> bool | None:
        """``true`` or ``false``, unquoted: not yes, on or True."""
        text = self.scalar()
        if self.node.tag == BOOLEAN and text in ("true", "false"):
            return text == "true"
        if text is not None:
            self.fail(f"{shown(text) or 'nothing'} is not true or false; write one of these without quotes")
        return None

    def decimal(self) -> Decimal | None:
        """A plain decimal, exactly as written."""
        text = self.scalar()
        if text is not None and len(text) <= MAX_NUMBER_TEXT and _DECIMAL.fullmatch(text):
            return Decimal(text)
        if text is not None:
            self.fail(
                f"{shown(text) or 'nothing'} is not a plain decimal; write digits with at most one point,"
                f" like 250 or 0.01, on at most {MAX_NUMBER_TEXT} characters"
            )
        return None

    def seconds(self, low: int, high: int) -> int | None:
        """A duration of ``low`` to ``high`` seconds: whole seconds, or a number with s, m, h or d."""
        text = self.scalar()
        if text is None:
            return None
        match = _DURATION.fullmatch(text)
        seconds = int(match[1]) * _SECONDS[match[2]] if match else None
        if seconds is not None and low <= seconds <= high:
            return seconds
        wanted = f"{low} to {high} whole seconds, or like 30s, 15m, 24h, 30d"
        self.fail(f"{shown(text) or 'nothing'} is not a duration that is possible here; write {wanted}")
        return None

    def _enter(
        self, entries: dict[str, Field], key: yaml.Node, value: yaml.Node, known: Collection[str] | None
    ) -> None:
        if not isinstance(key, yaml.ScalarNode) or key.tag != STRING:
            self.problems.add(key.start_mark, self.path, f"{_what(key)} is not a text as a key; write it in quotes")
            return
        name = str(key.value)
        path = f"{self.path}.{shown(name, MAX_NAME)}" if self.path else shown(name, MAX_NAME)
        if known is not None and name not in known:
            advice = _likely(name, known) or f"; the keys here are {', '.join(known)}"
            self.problems.add(key.start_mark, path, f"unknown key {shown(name)}{advice}")
        elif name in entries:
            self.problems.add(key.start_mark, path, f"the key {shown(name)} is here a second time; keep one")
        else:
            entries[name] = Field(path, value, self.problems)


@dataclass(frozen=True, slots=True)
class Section:
    """The keys of one mapping. ``complete`` is False where it could not be read, so that nothing more is missed."""

    field: Field
    entries: Mapping[str, Field]
    complete: bool = True

    def find(self, key: str) -> Field | None:
        return self.entries.get(key)

    def need(self, key: str, example: str) -> Field | None:
        """The field ``key``; without it a problem that shows ``example``."""
        found = self.entries.get(key)
        if found is None and self.complete:
            path = f"{self.field.path}.{key}" if self.field.path else key
            self.field.problems.add(self.field.node.start_mark, path, f"{key} is not here; add {key}: {example}")
        return found


def _likely(word: str, options: Collection[str]) -> str:
    close = get_close_matches(word, options, n=1) if len(word) <= MAX_NAME else []
    return f"; did you mean {close[0]}?" if close else ""


def _what(key: yaml.Node) -> str:
    return shown(str(key.value)) or "nothing" if isinstance(key, yaml.ScalarNode) else "a list or mapping"
