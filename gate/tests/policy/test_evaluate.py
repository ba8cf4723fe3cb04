import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest

from stacksona_gate.policy.evaluate import CompiledPolicy, Question, Verdict
from stacksona_gate.policy.explain import explain
from stacksona_gate.policy.model import EMPTY_POLICY, Policy, Rule, ToolPolicy
from stacksona_gate.policy.numbers import number_of, plain
from stacksona_gate.policy.parse import parse_policy

REVIEW_OVER_10 = Rule("rul_1", "Over", "upper_limit", "n", "review", limit=Decimal(10))


def a_policy(*rules: Rule) -> CompiledPolicy:
    return CompiledPolicy(Policy(tools={"pay": ToolPolicy("pay", "allow", rules=rules)}))


def answer(rule: Rule, payload: Mapping[str, object]) -> Verdict:
    return a_policy(rule).evaluate(Question("pay", payload))


class Broken(UserDict[str, object]):
    """Fails when it is read, as a fault inside a rule would."""

    def __init__(self, fault: Callable[[], Exception]) -> None:
        super().__init__()
        self._fault = fault

    def get(self, key: str, default: object = None) -> object:
        raise self._fault()


@pytest.mark.parametrize("fault", [RecursionError, MemoryError, KeyError, UnicodeError, ZeroDivisionError])
def test_a_fault_inside_a_rule_asks_people(fault: Callable[[], Exception]) -> None:
    verdict = answer(REVIEW_OVER_10, Broken(fault))
    assert (verdict.status, verdict.reason_code) == ("pending_review", "rule_error")
    assert verdict.message == "n is not a number"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")]
)
def test_what_is_not_finite_is_no_number(value: object) -> None:
    assert answer(REVIEW_OVER_10, {"n": value}).reason_code == "rule_error"


@pytest.mark.parametrize(
    "value", [1j, b"5", object(), (5,), {5}, type("Int", (int,), {})(5), type("Text", (str,), {})("5")]
)
def test_what_json_does_not_have_is_no_number(value: object) -> None:
    assert answer(REVIEW_OVER_10, {"n": value}).reason_code == "rule_error"


def test_a_lone_surrogate_cannot_be_searched() -> None:
    rule = Rule("rul_1", "R", "regex", "t", "reject", when_missing="skip", pattern="x")
    verdict = answer(rule, {"t": "\ud800"})
    assert (verdict.reason_code, verdict.message) == ("rule_error", "t cannot be tested")


def test_a_run_of_combining_marks_asks_people_quickly() -> None:
    rule = Rule("rul_1", "R", "contains", "t", "reject", values=("fraud",))
    verdict = answer(rule, {"t": "fraud" + "\u0301\u0323" * 60_000})
    assert (verdict.status, verdict.reason_code) == ("pending_review", "rule_error")


@pytest.mark.parametrize(
    "rule",
    [
        Rule("rul_1", "R", "upper_limit", "n", "review"),
        Rule("rul_1", "R", "lower_limit", "n", "review", limit=Decimal("NaN")),
        Rule("rul_1", "R", "between", "n", "review", low=Decimal(0)),
        Rule("rul_1", "R", "contains", "n", "review"),
        Rule("rul_1", "R", "contains", "n", "review", values=("x", "\u200b")),
        Rule("rul_1", "R", "regex", "n", "review"),
        Rule("rul_1", "R", "regex", "n", "review", pattern="(?=x)"),
        Rule("rul_1", "R", "regex", "n", "review", pattern="\ud800"),
        Rule("rul_1", "R", "starts_with", "n", "review"),  # type: ignore[arg-type]
        Rule("rul_1", "R", "regex", "$else", "review", pattern="x"),
    ],
)
def test_a_rule_that_was_never_parsed_and_makes_no_sense_asks_people(rule: Rule) -> None:
    assert answer(rule, {"n": "5"}).reason_code == "rule_error"


def test_an_agents_own_claim_never_allows_even_when_the_rule_was_never_parsed() -> None:
    rule = Rule("rul_1", "R", "regex", "$risk_level", "allow", pattern="low")
    tool = ToolPolicy("pay", "reject", rules=(rule,))
    verdict = CompiledPolicy(Policy(tools={"pay": tool})).evaluate(Question("pay", {}, "low"))
    assert (verdict.status, verdict.reason_code) == ("reject", "default")


def test_a_verdict_names_rule_and_tool() -> None:
    verdict = answer(REVIEW_OVER_10, {"n": 11})
    assert verdict.rule is not None
    assert verdict.tool is not None
    assert (verdict.rule.id, verdict.rule.name, verdict.rule.type) == ("rul_1", "Over", "upper_limit")
    assert verdict.tool.name == "pay"


def test_a_compiled_policy_finds_its_tools() -> None:
    compiled = a_policy(REVIEW_OVER_10)
    tool = compiled.tool("pay")
    assert tool is not None
    assert tool.rules == (REVIEW_OVER_10,)
    assert compiled.tool("other") is None
    assert compiled.rules("other") == ()


def test_an_explanation_has_every_rule_in_the_order_of_the_file() -> None:
    compiled = CompiledPolicy(parse_policy(EVERY_OUTCOME))
    trail = explain(compiled, Question("pay", {"n": 11, "t": "a fraud", "x": None})).trail
    assert [(checked.rule.name, checked.outcome, checked.message) for checked in trail] == [
        ("Over", "matched", "n 11 is over 10"),
        ("Under", "not_matched", "n 11 is not under 5"),
        ("Within", "not_matched", "n 11 is not between 1 and 2"),
        ("Found", "matched", 't contains "fraud"'),
        ("Not found", "not_matched", "t contains none of the 2 values"),
        ("Pattern", "not_matched", "t does not match the pattern of rule Pattern"),
        ("Gone", "missing", "y.z is missing"),
        ("Waved", "skipped", "y is missing"),
        ("Disabled", "skipped", "the rule is switched off"),
        ("Null", "wrong_type", "x is not text"),
    ]


EVERY_OUTCOME = """
version: 1
tools:
  pay:
    rules:
      - {name: Over, type: upper_limit, parameter: n, limit: 10, action: review}
      - {name: Under, type: lower_limit, parameter: n, limit: 5, action: allow}
      - {name: Within, type: between, parameter: n, low: 1, high: 2, action: allow}
      - {name: Found, type: contains, parameter: t, values: [x, fraud], action: review}
      - {name: Not found, type: contains, parameter: t, values: [y, z], action: review}
      - {name: Pattern, type: regex, parameter: t, pattern: ^f, action: review}
      - {name: Gone, type: regex, parameter: y.z, pattern: ^f, action: review}
      - {name: Waved, type: regex, parameter: y, pattern: ^f, action: reject, when_missing: skip}
      - {name: Disabled, type: regex, parameter: x, pattern: ^f, action: reject, enabled: false}
      - {name: "Null", type: regex, parameter: x, pattern: ^f, action: reject}
"""


def test_an_explanation_of_an_unknown_tool_has_no_trail() -> None:
    question = Question("pay", {})
    assert explain(CompiledPolicy(EMPTY_POLICY), question) == CompiledPolicy(EMPTY_POLICY).evaluate(question)


def test_a_number_is_shown_without_exponent_unless_it_is_endless() -> None:
    assert plain(Decimal("1E+3")) == "1000"
    assert plain(Decimal("1E+999999")) == "1E+999999"
    assert number_of(1e22) == Decimal("1E+22")


def test_an_integer_too_long_to_write_is_still_compared() -> None:
    huge = 10 ** (sys.get_int_max_str_digits() + 1)
    verdict = answer(REVIEW_OVER_10, {"n": huge})
    assert (verdict.status, verdict.reason_code) == ("pending_review", "rule")
    assert len(verdict.message) <= 300
