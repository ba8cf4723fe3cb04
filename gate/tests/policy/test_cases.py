import pytest

from stacksona_gate.domain.errors import Invalid
from stacksona_gate.policy.cases import Case, read_cases, run_cases
from stacksona_gate.policy.parse import PolicyError, parse_policy


def a_case(rest: str) -> Case:
    return read_cases(f"cases:\n  - {{name: it works, tool: pay, expect: {{status: allow}}, {rest}}}\n").cases[0]


def error_of(text: str) -> tuple[str, str]:
    with pytest.raises(PolicyError) as refused:
        read_cases(text)
    return refused.value.errors[0].field, refused.value.errors[0].message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-0", 0),
        ("0.10", 0.1),
        ("1e5", 100_000.0),
        ('"5"', "5"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("word", "word"),
        ("''", ""),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("9007199254740991", 2**53 - 1),
    ],
)
def test_a_payload_is_read_as_json_is(text: str, value: object) -> None:
    read = a_case(f"payload: {{v: {text}}}").question.payload["v"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "True",
        "~",
        "",
        "0x10",
        "010",
        "1_000",
        "1:30",
        ".inf",
        "2026-01-01",
        "9007199254740992",
        "0.1000000000000000055",
    ],
)
def test_what_json_would_not_say_so_is_refused(text: str) -> None:
    field, message = error_of(
        f"cases:\n  - {{name: odd, tool: pay, expect: {{status: allow}}, payload: {{v: {text}}}}}\n"
    )
    assert field == 'cases[0] "odd".payload.v'
    assert message.startswith("line 2, column ")


def test_an_error_names_position_and_case() -> None:
    text = "cases:\n  - name: first\n    tool: pay\n    expect: {status: approved}\n"
    field, message = error_of(text)
    assert field == 'cases[0] "first".expect.status'
    assert message.startswith(
        "line 4, column 22: approved is not possible here; write allow or reject or pending_review"
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("cases: {}", "cases"),
        ("version: 1", "cases"),
        ("cases: [5]", "cases[0]"),
        ("cases: [{}]", "cases[0].name"),
        ("cases: [{? [name] : x}]", "cases[0].name"),
        ("policy: {version: 2}\ncases: []", "policy.version"),
        ("cases: [{name: x, tool: pay, expect: {status: allow}, risk_level: none}]", 'cases[0] "x".risk_level'),
        ("cases: [{name: x, tool: pay, expect: {}}]", 'cases[0] "x".expect.status'),
        (
            "cases: [{name: x, tool: pay, expect: {status: allow, reason_code: expired}}]",
            'cases[0] "x".expect.reason_code',
        ),
        ("cases: [{name: x, tool: pay, payload: [], expect: {status: allow}}]", 'cases[0] "x".payload'),
        ("cases: [{name: x, tool: pay, payload: {a: 1, a: 2}, expect: {status: allow}}]", 'cases[0] "x".payload.a'),
    ],
)
def test_a_case_file_that_cannot_be_meant_is_refused(text: str, field: str) -> None:
    assert error_of(text)[0] == field


def test_a_case_says_everything_that_is_not_as_expected() -> None:
    cases = read_cases(
        "policy: {version: 1}\n"
        "cases:\n"
        "  - {name: wrong, tool: pay, expect: {status: allow, reason_code: rule, rule: R, message: fine}}\n"
    )
    (result,) = run_cases(cases)
    assert not result.passed
    assert (result.name, result.line) == ("wrong", 3)
    assert result.differences == (
        "status: expected allow, got pending_review",
        "reason_code: expected rule, got tool_unknown",
        "rule: expected R, got none",
        "message: expected fine, got pay has no policy yet",
    )


def test_a_policy_that_is_given_goes_before_the_one_in_the_file() -> None:
    cases = read_cases("policy: {version: 1}\ncases: [{name: x, tool: pay, expect: {status: allow}}]")
    policy = parse_policy("version: 1\ntools: {pay: {default: allow}}")
    assert [result.passed for result in run_cases(cases, policy)] == [True]
    assert [result.passed for result in run_cases(cases)] == [False]


def test_cases_without_any_policy_cannot_be_run() -> None:
    with pytest.raises(Invalid, match="has no policy"):
        run_cases(read_cases("cases: []"))


def test_a_case_can_say_risk_and_workflow() -> None:
    question = a_case("risk_level: high, workflow_name: nightly").question
    assert (question.risk_level, question.workflow_name, question.payload) == ("high", "nightly", {})
