"""Answers a question by a policy. Fails closed: a rule that cannot be tested never lets an action through.

The strictest match wins and the order of the rules never changes status or reason. From strongest to weakest:

1. a ``reject`` rule matched: ``reject``
2. a ``reject`` rule could not be tested: ``pending_review``, reason ``rule_error``
3. a ``review`` rule could not be tested: ``pending_review``, reason ``rule_error``
4. a ``review`` rule matched: ``pending_review``
5. an ``allow`` rule matched: ``allow``
6. the tool's default

Of several rules on the strongest level, the first in the file is the one named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from stacksona_gate.policy.folding import fold
from stacksona_gate.policy.messages import Outcome, Words, short, shown
from stacksona_gate.policy.model import Action, Policy, Rule, RuleType, ToolPolicy
from stacksona_gate.policy.numbers import number_of
from stacksona_gate.policy.patterns import compile_pattern

type Status = Literal["allow", "reject", "pending_review"]
type ReasonCode = Literal["rule", "default", "rule_error", "tool_unknown"]
type Read = Callable[[Question], object]
type Check = Callable[[Question], Outcome]
type Test = Callable[[object], bool | None]


class Question(Struct, frozen=True):
    """What is asked: one action of one tool.

    A msgspec struct, as the verdict is: every decision makes one of each, and a frozen dataclass takes eight times as
    long.

    ``payload`` is the parsed JSON object, ``risk_level`` the agent's own claim, ``workflow_name`` None when not sent.
    """

    tool_name: str
    payload: Mapping[str, object]
    risk_level: str = "medium"
    workflow_name: str | None = None


@dataclass(frozen=True, slots=True)
class RuleRef:
    """The rule that an answer names."""

    id: str
    name: str
    type: RuleType


@dataclass(frozen=True, slots=True)
class Checked:
    """What one rule found. ``wrong_type`` also stands for a test that failed in itself.

    ``skipped`` is a rule that is switched off, or whose parameter is missing and may be.
    """

    rule: RuleRef
    action: Action
    outcome: Outcome
    message: str


class Verdict(Struct, frozen=True):
    """The answer. Only ``allow`` lets the action run.

    ``rule`` is the rule that decided (for ``rule_error``: that could not be tested), ``tool`` the tool's policy, None
    for an unknown one. ``message`` is for people, at most 300 characters. ``trail`` is empty unless explained.
    """

    status: Status
    reason_code: ReasonCode
    message: str
    rule: RuleRef | None = None
    tool: ToolPolicy | None = None
    trail: tuple[Checked, ...] = ()


STATUS_OF: Mapping[Action, Status] = {"allow": "allow", "review": "pending_review", "reject": "reject"}


class CompiledPolicy:
    """A policy made ready for many questions. Immutable; safe to share between threads."""

    __slots__ = ("_tools", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._tools = {name: CompiledTool(tool) for name, tool in policy.tools.items()}

    def tool(self, name: str) -> ToolPolicy | None:
        """What the policy says about the tool ``name``; None where it says nothing."""
        return self.policy.tools.get(name)

    def rules(self, name: str) -> tuple[CompiledRule, ...]:
        """The rules of the tool ``name``, in the order of the file."""
        return self._tools[name].rules if name in self._tools else ()

    def evaluate(self, question: Question) -> Verdict:
        """The answer to ``question``, without a trail. The same question always gets the same answer."""
        tool = self._tools.get(question.tool_name)
        if tool is not None:
            return tool.evaluate(question)
        message = f"{shown(question.tool_name, 200)} has no policy yet"
        return Verdict(STATUS_OF[self.policy.unknown_tool], "tool_unknown", message)


class CompiledTool:
    """One tool's rules as functions."""

    __slots__ = ("_default", "rules", "tool")

    def __init__(self, tool: ToolPolicy) -> None:
        self.tool = tool
        self.rules = tuple(CompiledRule(rule) for rule in tool.rules)
        message = short(f"no rule matched; default of {shown(tool.name, 200)}: {tool.default}")
        self._default = Verdict(STATUS_OF[tool.default], "default", message, tool=tool)

    def evaluate(self, question: Question) -> Verdict:
        level, strongest = 0, None
        for rule in self.rules:
            outcome = rule.check(question)
            if outcome != "not_matched" and (weight := rule.weights.get(outcome, 0)) > level:
                level, strongest = weight, (rule, outcome)
        return self._default if strongest is None else self._decided(*strongest, question)

    def _decided(self, rule: CompiledRule, outcome: Outcome, question: Question) -> Verdict:
        message = rule.describe(outcome, question)
        if outcome == "matched":
            return Verdict(STATUS_OF[rule.rule.action], "rule", message, rule.ref, self.tool)
        return Verdict("pending_review", "rule_error", message, rule.ref, self.tool)


class CompiledRule:
    """One rule as a function from a question to an outcome. ``weights`` ranks the outcomes that count."""

    __slots__ = ("_read", "_words", "check", "ref", "rule", "weights")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.ref = RuleRef(rule.id, rule.name, rule.type)
        self.weights = _WEIGHTS[rule.action]
        self._read = _reader(rule.parameter)
        self._words = Words(rule)
        self.check = _check(rule, self._read)

    def describe(self, outcome: Outcome, question: Question) -> str:
        """What this rule found, for people."""
        if not self.rule.enabled:
            return "the rule is switched off"
        try:
            value = self._read(question)
        except Exception:
            value = None
        return self._words.describe(outcome, value)


_WEIGHTS: Mapping[Action, Mapping[Outcome, int]] = {
    "reject": {"matched": 5, "missing": 4, "wrong_type": 4},
    "review": {"missing": 3, "wrong_type": 3, "matched": 2},
    "allow": {"matched": 1},
}
_MISSING = object()
_NOT_AN_OBJECT = object()


def _reader(parameter: str) -> Read:
    if parameter.startswith("$"):
        return _SPECIAL.get(parameter, lambda _question: _NOT_AN_OBJECT)
    first, *rest = parameter.split(".")
    if not rest:
        return lambda question: question.payload.get(first, _MISSING)
    return lambda question: _walk(question.payload.get(first, _MISSING), rest)


def _walk(node: object, keys: list[str]) -> object:
    for key in keys:
        if node is _MISSING:
            return _MISSING
        # A list, a text or null in the way is there and of the wrong type: never skipped as missing.
        if not isinstance(node, Mapping):
            return _NOT_AN_OBJECT
        node = node.get(key, _MISSING)
    return node


def _workflow_name(question: Question) -> object:
    return _MISSING if question.workflow_name is None else question.workflow_name


_SPECIAL: Mapping[str, Read] = {
    "$risk_level": lambda question: question.risk_level,
    "$workflow_name": _workflow_name,
}


def _check(rule: Rule, read: Read) -> Check:
    if not rule.enabled:
        return lambda _question: "skipped"
    # What the agent says about itself may tighten an answer and never loosen it.
    if rule.parameter.startswith("$") and rule.action == "allow":
        return lambda _question: "wrong_type"
    try:
        test = _TESTS[rule.type](rule)
    except Exception:
        return lambda _question: "wrong_type"
    return _guarded(test, read, "skipped" if rule.when_missing == "skip" else "missing")


def _guarded(test: Test, read: Read, on_missing: Outcome) -> Check:
    def check(question: Question) -> Outcome:
        try:
            value = read(question)
            found = None if value is _MISSING else test(value)
        except Exception:
            # Whatever went wrong, the rule has not said that the action is harmless.
            return "wrong_type"
        if found is None:
            return on_missing if value is _MISSING else "wrong_type"
        return "matched" if found else "not_matched"

    return check


def _upper_limit(rule: Rule) -> Test:
    limit = _bound(rule.limit)
    return lambda value: None if (number := number_of(value)) is None else number > limit


def _lower_limit(rule: Rule) -> Test:
    limit = _bound(rule.limit)
    return lambda value: None if (number := number_of(value)) is None else number < limit


def _between(rule: Rule) -> Test:
    low, high = _bound(rule.low), _bound(rule.high)
    return lambda value: None if (number := number_of(value)) is None else low <= number <= high


def _contains(rule: Rule) -> Test:
    wanted = tuple(fold(value) for value in rule.values)
    if not all(wanted) or not wanted:
        raise ValueError("an empty value is in every text")

    def test(value: object) -> bool | None:
        if not isinstance(value, str):
            return None
        text = fold(value)
        for candidate in wanted:  # noqa: SIM110 - a generator for any() takes twice as long
            if candidate in text:
                return True
        return False

    return test


def _regex(rule: Rule) -> Test:
    if not rule.pattern:
        raise ValueError("an empty pattern is in every text")
    found = compile_pattern(rule.pattern)
    return lambda value: found(value) if isinstance(value, str) else None


def _bound(limit: Decimal | None) -> Decimal:
    if limit is None or not limit.is_finite():
        raise ValueError("a limit is a finite decimal")
    return limit


_TESTS: Mapping[RuleType, Callable[[Rule], Test]] = {
    "upper_limit": _upper_limit,
    "lower_limit": _lower_limit,
    "between": _between,
    "contains": _contains,
    "regex": _regex,
}
