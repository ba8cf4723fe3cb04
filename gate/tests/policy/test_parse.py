import json
from decimal import Decimal

import pytest

from stacksona_gate.domain.errors import Invalid
from stacksona_gate.policy.model import EMPTY_POLICY, Rule, ToolPolicy, rule_id
from stacksona_gate.policy.parse import PolicyError, dump_policy, parse_policy, policy_document

LIMIT = "name: R, type: upper_limit, parameter: amount, action: review"


def a_rule(rule: str) -> Rule:
    return parse_policy(f"version: 1\ntools:\n  pay:\n    rules:\n      - {{{rule}}}\n").tools["pay"].rules[0]


def a_tool(tool: str) -> ToolPolicy:
    return parse_policy(f"version: 1\ntools:\n  pay: {{{tool}}}\n").tools["pay"]


def errors_of(text: str) -> dict[str, str]:
    with pytest.raises(PolicyError) as refused:
        parse_policy(text)
    return {error.field: error.message for error in refused.value.errors}


def errors_of_rule(rule: str) -> dict[str, str]:
    found = errors_of(f"version: 1\ntools:\n  pay:\n    rules:\n      - {{{rule}}}\n")
    return {field.removeprefix("tools.pay.rules[0]").removeprefix("."): message for field, message in found.items()}


def test_a_short_policy_is_read_with_its_defaults() -> None:
    assert parse_policy("version: 1") == EMPTY_POLICY
    assert a_tool("") == ToolPolicy("pay", "review", None, None, False, ())


def test_a_rule_has_an_id_made_of_tool_and_name() -> None:
    rule = a_rule(f"{LIMIT}, limit: 250")
    assert rule.id == rule_id("pay", "R") == "rul_4f049d3ce6376530"
    assert rule == Rule(rule.id, "R", "upper_limit", "amount", "review", limit=Decimal(250))


def test_json_is_read_like_yaml() -> None:
    policy = parse_policy("version: 1\ntools: {pay: {default: allow, rules: [{" + LIMIT + ", limit: 0.10}]}}")
    assert parse_policy(json.dumps(policy_document(policy))) == policy


def test_a_byte_order_mark_before_the_text_does_no_harm() -> None:
    assert parse_policy("\ufeffversion: 1\nunknown_tool: reject").unknown_tool == "reject"


@pytest.mark.parametrize("text", ["0.1", '"0.1"', "'0.1'"])
def test_a_limit_is_exactly_what_is_written(text: str) -> None:
    assert a_rule(f"{LIMIT}, limit: {text}").limit == Decimal("0.1")


@pytest.mark.parametrize(
    "text",
    ["1_000", "0x1F", "010", "1:30", ".inf", ".nan", "1e3", "+5", ".5", "5.", "١", "", "~", "'1\\n'", "[1]", "1" * 65],
)
def test_a_limit_that_is_no_plain_decimal_is_refused(text: str) -> None:
    assert "limit" in errors_of_rule(f"{LIMIT}, limit: {text}")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ('"15m"', 900), ("24h", 86_400), ("30d", 2_592_000)]
)
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: int) -> None:
    assert a_tool(f"expires_in: {text}").expires_in == seconds


@pytest.mark.parametrize("text", ["29", "2592001", "31d", "1w", "-60", "1.5h", "1 h", "", "true", "9" * 400])
def test_a_duration_out_of_range_or_form_is_refused(text: str) -> None:
    found = errors_of(f"version: 1\ntools: {{pay: {{expires_in: {text}}}}}")
    assert "write 30 to 2592000 whole seconds" in found["tools.pay.expires_in"]


def test_a_duration_is_one_value() -> None:
    assert list(errors_of("version: 1\ntools: {pay: {expires_in: [60]}}")) == ["tools.pay.expires_in"]


def test_an_approval_is_valid_for_a_minute_at_least() -> None:
    assert a_tool("approval_valid_for: 60").approval_valid_for == 60
    assert list(errors_of("version: 1\ntools: {pay: {approval_valid_for: 59}}")) == ["tools.pay.approval_valid_for"]


@pytest.mark.parametrize("text", ["yes", "on", "True", "TRUE", '"true"', "1", "~", "[true]"])
def test_only_true_and_false_are_booleans(text: str) -> None:
    assert list(errors_of(f"version: 1\ntools: {{pay: {{strict_binding: {text}}}}}")) == ["tools.pay.strict_binding"]


def test_all_errors_come_at_once_and_in_the_order_of_the_text() -> None:
    found = errors_of(
        "version: 2\ntools:\n  pay:\n    defualt: allow\n    rules:\n"
        "      - {name: R, type: upper_limit, parameter: amount, limit: 5_000, action: alow}\n"
    )
    assert list(found) == ["version", "tools.pay.defualt", "tools.pay.rules[0].limit", "tools.pay.rules[0].action"]
    assert found["tools.pay.rules[0].limit"].startswith("line 6, column 64: 5_000 is not a plain decimal; write")
    assert found["tools.pay.defualt"].endswith("did you mean default?")


def test_the_error_says_how_many_there_are_and_the_first() -> None:
    with pytest.raises(Invalid, match="2 errors, the first is: unknown: line 1, column 1") as refused:
        parse_policy("unknown: 1")
    assert (refused.value.code, refused.value.kind) == ("policy_invalid", "invalid")


def test_a_huge_key_does_not_make_a_huge_error() -> None:
    (field,) = set(errors_of("version: 1\n? " + "k" * 100_000 + "\n: 1"))
    assert len(field) == 200


def test_reading_stops_after_a_thousand_errors() -> None:
    assert len(errors_of("version: 1\n" + "".join(f"key{index}: 1\n" for index in range(2_000)))) == 1_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text is empty"),
        ("# nothing\n", "the text is empty"),
        ("a: [", "this is not YAML"),
        ("version: 1\n---\nversion: 1", "this is not YAML"),
        ("a: b\0", "line 1, column 5: an invisible character"),
        ('a: "\ufeff"', "an invisible character"),
        ("version: 1\n%a: b\n", "this is not YAML"),
        ("- 1", "write a mapping here"),
        ("version: 1\nversion: 1", "a second time"),
        ('version: 1\n"version": 1', "a second time"),
        ("version: 1\ntools: &t {}", "anchor &t"),
        ("version: 1\ntools: *t", "alias *t"),
        ("version: !!int 1", "tag tag:yaml.org,2002:int"),
        ("version: ! 1", "tag !"),
        ("version: 1\n1: 1", "1 is not a text as a key"),
        ("version: 1\n<<: {version: 1}", "is not a text as a key"),
        ("version: 1\n? [a]\n: 1", "a list or mapping is not a text as a key"),
        ("version: 1\n?\n: 1", "nothing is not a text as a key"),
        ("[" * 33, "nested deeper than 32"),
        ("{a: " * 33, "nested deeper than 32"),
        ("[" * 400_000, "nested deeper than 32"),
        ("version: 1 #" + "é" * 500_000, "keep it under 1000000"),
        ("version: 1\n# \ud800", "line 2, column 3: half of a surrogate pair"),
        ('a:\n  "x\u2028y"', "line 2, column 5: an invisible character"),
        ("version:", "only version 1"),
        ("version: 1\nunknown_tool: allow", "allow is not possible here; write review or reject"),
        ("version: 1\ntools:", "write a mapping here"),
        ("version: 1\ntools: {pay: {rules: {}}}", "write a list here"),
        ("version: 1\ntools: {pay: {default: [allow]}}", "write a single value here"),
        ("version: 1\ntools: {pay it: {}}", "pay it is no tool name"),
        ("version: 1\ntools: {'': {}}", "is no tool name"),
        (f"version: 1\ntools: {{{'p' * 201}: {{}}}}", "is no tool name"),
        ("version: 1\ntools: {'pay\\n': {}}", "is no tool name"),
    ],
)
def test_a_text_with_two_readings_or_none_is_refused(text: str, said: str) -> None:
    assert any(said in message for message in errors_of(text).values())


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        ("", "name", "name is not here; add name: a few words"),
        ("type: upper_limt", "type", "did you mean upper_limit?"),
        (f"{LIMIT}", "limit", "add limit: 250"),
        ("name: R, type: between, parameter: a, action: review", "high", "add high: 50"),
        ("name: R, type: between, parameter: a, action: review, low: 2, high: 1", "low", "low 2 is over high 1"),
        ("name: R, type: contains, parameter: a, action: review", "values", "add values"),
        ("name: R, type: contains, parameter: a, action: review, values: []", "values", "at least one"),
        ("name: R, type: contains, parameter: a, action: review, values: x", "values", "write a list here"),
        ("name: R, type: contains, parameter: a, action: review, values: ['']", "values[0]", "not nothing"),
        ("name: R, type: contains, parameter: a, action: review, values: [no]", "values[0]", 'quotes: "no"'),
        ('name: R, type: contains, parameter: a, action: review, values: ["\\u200b"]', "values[0]", "in every text"),
        ("name: R, type: regex, parameter: a, action: review", "pattern", "add pattern"),
        ("name: R, type: regex, parameter: a, action: review, pattern: ''", "pattern", "not nothing"),
        ("name: R, type: regex, parameter: a, action: review, pattern: '(?=x)'", "pattern", "RE2 refuses this pattern"),
        ("name: R, type: regex, parameter: a, action: review, pattern: '(a)\\1'", "pattern", "invalid escape sequence"),
        ("name: R, type: regex, parameter: a, action: review, pattern: '\\pL{500}'", "pattern", "too large"),
        (f"name: R, type: regex, parameter: a, action: review, pattern: {'a' * 1001}", "pattern", "1 to 1000"),
        (f"{LIMIT}, limit: 1, pattern: a", "pattern", "pattern does not belong to upper_limit, which has limit"),
        (f"{LIMIT}, limit: 1, paramter: a", "paramter", "did you mean parameter?"),
        (f"{LIMIT}, limit: 1, zzz: a", "zzz", "the keys here are name, type"),
        (f"{LIMIT}, limit: 1, when_missing: allow", "when_missing", "write review or skip"),
        (f"{LIMIT}, limit: 1, enabled: off", "enabled", "off is not true or false"),
        ("name: 5, type: regex", "name", 'write it in quotes: "5"'),
        ("name: [R], type: regex", "name", "write a single value here"),
        ("name: 'R ', type: regex", "name", "no spaces at the ends"),
        ('name: "R\\u202e", type: regex', "name", "no control characters"),
        (f"name: {'n' * 201}, type: regex", "name", "1 to 200 characters"),
        ("name: R, parameter: a..b", "parameter", "a key of the path is empty"),
        ("name: R, parameter: .a", "parameter", "a key of the path is empty"),
        ("name: R, parameter: $risk", "parameter", "write $risk_level or $workflow_name"),
        ("name: R, parameter: $risk_level, action: allow", "parameter", "cannot allow"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: str, field: str, said: str) -> None:
    assert said in errors_of_rule(rule)[field]


def test_a_run_of_combining_marks_is_no_value() -> None:
    marks = "\u0301" * 300
    rule = f"name: R, type: contains, parameter: a, action: review, values: [a{marks}]"
    assert "combining marks in a row" in errors_of_rule(rule)["values[0]"]


def test_a_rule_that_is_no_mapping_has_one_error() -> None:
    assert list(errors_of("version: 1\ntools: {pay: {rules: [3]}}")) == ["tools.pay.rules[0]"]


def test_two_rules_of_a_tool_have_two_names() -> None:
    rule = f"{{{LIMIT}, limit: 1}}"
    assert (
        "already has a rule R"
        in errors_of(f"version: 1\ntools: {{pay: {{rules: [{rule}, {rule}]}}}}")["tools.pay.rules[1]"]
    )
    assert len(parse_policy(f"version: 1\ntools: {{a: {{rules: [{rule}]}}, b: {{rules: [{rule}]}}}}").tools) == 2


def test_more_than_ten_thousand_rules_are_refused() -> None:
    rules = "".join(
        f"{{name: r{index}, type: lower_limit, parameter: a, limit: 1, action: review}}, " for index in range(10_001)
    )
    assert "more than 10000 rules" in errors_of(f"version: 1\ntools:\n pay:\n  rules: [{rules}]")[""]


def test_a_dump_is_short_and_written_one_way() -> None:
    text = (
        "version: 1\nunknown_tool: review\ntools:\n  pay:\n    default: review\n    expires_in: 90s\n"
        "    approval_valid_for: 1d\n    strict_binding: true\n    rules:\n"
        '      - {name: "No", type: contains, parameter: a, values: [x, "\\u200bé"], action: reject,'
        " when_missing: skip, enabled: false}\n"
        "      - {name: B, type: between, parameter: $risk_level, low: -0.10, high: 5, action: review}\n"
    )
    assert dump_policy(parse_policy(text)) == text


def test_a_dump_of_nothing_is_read_as_nothing() -> None:
    assert dump_policy(EMPTY_POLICY) == "version: 1\nunknown_tool: review\ntools: {}\n"
    assert parse_policy(dump_policy(EMPTY_POLICY)) == EMPTY_POLICY
