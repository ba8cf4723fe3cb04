from stacksona_gate.policy.compare import compare
from stacksona_gate.policy.model import EMPTY_POLICY
from stacksona_gate.policy.parse import parse_policy

OLD = """
version: 1
tools:
  gone: {default: reject}
  pay:
    expires_in: 24h
    rules:
      - {name: Over, type: upper_limit, parameter: amount, limit: 250, action: review}
      - {name: Words, type: contains, parameter: reason, values: [fraud], action: reject}
      - {name: Old, type: regex, parameter: currency, pattern: ^x, action: reject}
"""
NEW = """
version: 1
unknown_tool: reject
tools:
  pay:
    default: allow
    strict_binding: true
    rules:
      - {name: Words, type: contains, parameter: reason, values: [fraud, theft], action: reject, when_missing: skip}
      - {name: Over, type: upper_limit, parameter: amount, limit: 500, action: review, enabled: false}
      - {name: New, type: between, parameter: n, low: 1, high: 2, action: allow}
  read: {approval_valid_for: 90}
"""


def test_equal_policies_have_no_changes() -> None:
    assert compare(parse_policy(OLD), parse_policy(OLD)) == ()


def test_every_change_has_its_line() -> None:
    assert [str(change) for change in compare(parse_policy(OLD), parse_policy(NEW))] == [
        "unknown_tool: review -> reject",
        "gone: tool removed, default reject",
        "pay: default: review -> allow",
        "pay: expires_in: 1d -> not set",
        "pay: strict_binding: false -> true",
        "pay: rule Old removed, type regex, parameter currency, pattern ^x, action reject",
        "pay: rule Words: values: fraud -> fraud, theft",
        "pay: rule Words: when_missing: review -> skip",
        "pay: rule Over: limit: 250 -> 500",
        "pay: rule Over: enabled: true -> false",
        "pay: rule New added, type between, parameter n, low 1, high 2, action allow",
        "pay: rules in another order, which changes no answer",
        "read: tool added, default review, approval_valid_for 90s",
    ]


def test_a_tool_that_is_added_brings_its_rules() -> None:
    changes = compare(EMPTY_POLICY, parse_policy(OLD))
    assert [(change.kind, change.tool, change.rule) for change in changes] == [
        ("added", "gone", None),
        ("added", "pay", None),
        ("added", "pay", "Over"),
        ("added", "pay", "Words"),
        ("added", "pay", "Old"),
    ]
