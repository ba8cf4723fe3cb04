import json
import random
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

from hypothesis import given, strategies as st
from msgspec import structs

from stacksona_gate.policy.compare import compare
from stacksona_gate.policy.evaluate import CompiledPolicy, Question
from stacksona_gate.policy.explain import explain
from stacksona_gate.policy.folding import fold
from stacksona_gate.policy.model import ACTIONS, RULE_TYPES, Policy, Rule, ToolPolicy, rule_id
from stacksona_gate.policy.parse import dump_policy, parse_policy, policy_document

LOOSENESS = {"reject": 0, "pending_review": 1, "allow": 2}

decimals = st.decimals(-1_000, 1_000, allow_nan=False, allow_infinity=False, places=2)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
values = words.filter(lambda text: bool(fold(text)))
lines = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cf"]), min_size=1, max_size=12).filter(
    lambda text: text == text.strip()
)
tool_names = st.text("AZaz09._:/-", min_size=1, max_size=8)
parameters = st.sampled_from(["a", "b", "a.b", "$risk_level", "$workflow_name"])
payload_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2_000, 2_000) | st.floats() | st.text(max_size=8) | decimals.map(str),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
questions = st.builds(
    Question,
    st.just("pay"),
    st.dictionaries(st.sampled_from(["a", "b", "a.b"]), payload_values, max_size=3),
    st.sampled_from(["low", "medium", "high", "critical"]),
    st.none() | st.text(max_size=8),
)


@st.composite
def rules(draw: st.DrawFn, tool: str = "pay") -> Rule:
    name, parameter, type_ = draw(lines), draw(parameters), draw(st.sampled_from(RULE_TYPES))
    action = draw(st.sampled_from(["review", "reject"] if parameter.startswith("$") else ACTIONS))
    low, high = sorted((draw(decimals), draw(decimals)))
    return Rule(
        rule_id(tool, name),
        name,
        type_,
        parameter,
        action,  # type: ignore[arg-type]
        draw(st.sampled_from(["review", "skip"])),
        draw(st.booleans()),
        limit=low if type_ in ("upper_limit", "lower_limit") else None,
        low=low if type_ == "between" else None,
        high=high if type_ == "between" else None,
        values=tuple(draw(st.lists(values, min_size=1, max_size=3))) if type_ == "contains" else (),
        pattern=draw(st.sampled_from(["a", "^[0-9]+$", '"\\\\\t', "\x85\u2028"])) if type_ == "regex" else None,
    )


@st.composite
def tools(draw: st.DrawFn) -> ToolPolicy:
    name = draw(tool_names)
    return ToolPolicy(
        name,
        draw(st.sampled_from(ACTIONS)),
        draw(st.none() | st.integers(30, 2_592_000)),
        draw(st.none() | st.integers(60, 2_592_000)),
        draw(st.booleans()),
        tuple(draw(st.lists(rules(name), max_size=4, unique_by=lambda rule: rule.name))),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    drawn = {tool.name: tool for tool in draw(st.lists(tools(), max_size=3))}
    return Policy(draw(st.sampled_from(["review", "reject"])), MappingProxyType(drawn))


def a_policy(some: list[Rule]) -> CompiledPolicy:
    return CompiledPolicy(Policy(tools={"pay": ToolPolicy("pay", "allow", rules=tuple(some))}))


some_rules = st.lists(rules(), max_size=6, unique_by=lambda rule: rule.name)


@given(policies())
def test_a_dump_is_read_as_the_same_policy_and_dumped_alike(policy: Policy) -> None:
    text = dump_policy(policy)
    assert parse_policy(text) == policy
    assert dump_policy(parse_policy(text)) == text


@given(policies())
def test_a_document_in_json_is_read_as_the_same_policy(policy: Policy) -> None:
    quoted = json.dumps(policy_document(policy), ensure_ascii=False)
    escaped = "".join(
        character
        if character.isprintable()
        else f"\\u{ord(character):04x}"
        if ord(character) < 65_536
        else f"\\U{ord(character):08x}"
        for character in quoted
    )
    assert parse_policy(escaped) == policy


@given(policies(), policies())
def test_policies_compare_as_equal_exactly_when_they_are(old: Policy, new: Policy) -> None:
    assert compare(old, old) == ()
    assert (compare(old, new) == ()) == (old == new)


@given(some_rules, questions, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_changes_neither_status_nor_reason(
    some: list[Rule], question: Question, chance: random.Random
) -> None:
    before = a_policy(some).evaluate(question)
    chance.shuffle(some)
    after = a_policy(some).evaluate(question)
    assert (after.status, after.reason_code) == (before.status, before.reason_code)


@given(some_rules, questions)
def test_an_explanation_has_the_same_verdict(some: list[Rule], question: Question) -> None:
    compiled = a_policy(some)
    explained = explain(compiled, question)
    assert structs.replace(explained, trail=()) == compiled.evaluate(question)
    assert [checked.rule.name for checked in explained.trail] == [rule.name for rule in some]


@given(some_rules, rules(), questions)
def test_one_more_review_or_reject_rule_never_loosens_an_answer(
    some: list[Rule], more: Rule, question: Question
) -> None:
    stricter = replace(more, action="reject" if more.action == "allow" else more.action, enabled=True)
    before, after = a_policy(some).evaluate(question), a_policy([*some, stricter]).evaluate(question)
    assert LOOSENESS[after.status] <= LOOSENESS[before.status]


@given(some_rules, questions)
def test_an_allow_means_that_no_stricter_rule_matched_or_failed(some: list[Rule], question: Question) -> None:
    explained = explain(a_policy(some), question)
    if explained.status == "allow":
        strict = [checked.outcome for checked in explained.trail if checked.action != "allow"]
        assert set(strict) <= {"not_matched", "skipped"}


@given(some_rules, questions)
def test_a_message_is_short_and_hides_nothing(some: list[Rule], question: Question) -> None:
    explained = explain(a_policy(some), question)
    for message in (explained.message, *(checked.message for checked in explained.trail)):
        assert 0 < len(message) <= 300
        assert "\n" not in message


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6))
def test_a_decimal_as_text_is_compared_exactly(number: Decimal) -> None:
    rule = Rule("rul_1", "R", "between", "a", "reject", low=number, high=number)
    verdict = a_policy([rule]).evaluate(Question("pay", {"a": format(number, "f")}))
    assert verdict.status == "reject"


@given(st.text(max_size=300))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    try:
        parse_policy("version: 1\ntools: " + text)
    except Exception as error:
        assert type(error).__name__ == "PolicyError"  # noqa: PT017 - both outcomes are fine, others are not
