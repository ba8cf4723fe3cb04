"""Policy tests as files: questions with the answers that are expected of a policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from stacksona_gate.domain.errors import Invalid, Malformed
from stacksona_gate.domain.reading import read_number
from stacksona_gate.policy.document import BOOLEAN, MAX_NAME, NULL, STRING, Field, Problems, Section, read_document
from stacksona_gate.policy.evaluate import CompiledPolicy, Question, ReasonCode, Status, Verdict
from stacksona_gate.policy.explain import explain
from stacksona_gate.policy.messages import MAX_MESSAGE, shown
from stacksona_gate.policy.model import Policy
from stacksona_gate.policy.parse import policy_from

_FILE_KEYS = ("version", "policy", "cases")
_CASE_KEYS = ("name", "tool", "payload", "risk_level", "workflow_name", "expect")
_EXPECT_KEYS = ("status", "reason_code", "rule", "message")
_STATUSES: tuple[Status, ...] = ("allow", "reject", "pending_review")
_REASONS: tuple[ReasonCode, ...] = ("rule", "default", "rule_error", "tool_unknown")
_RISK_LEVELS = ("low", "medium", "high", "critical")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case expects; None where it does not care. ``rule`` is a rule's name."""

    status: Status
    reason_code: ReasonCode | None = None
    rule: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its expected answer. ``line`` is where it begins in its file."""

    name: str
    line: int
    question: Question
    expected: Expected


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of one file and the policy in it, None where the file has none."""

    policy: Policy | None
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case. ``differences`` has a line for everything that was not as expected."""

    name: str
    line: int
    verdict: Verdict
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def read_cases(text: str) -> CaseFile:
    """The case file that ``text`` says. Raises ``PolicyError`` with everything that is wrong, cases by name."""
    problems = Problems()
    keys = read_document(text, problems).section(_FILE_KEYS)
    policy, cases = keys.find("policy"), keys.need("cases", "[{name: …, tool: …, expect: {status: …}}]")
    read = CaseFile(
        policy=policy_from(policy) if policy else None,
        cases=tuple(_case(item) for item in cases.items()) if cases else (),
    )
    problems.raise_any()
    return read


def run_cases(casefile: CaseFile, policy: Policy | None = None) -> list[CaseResult]:
    """Asks every case. ``policy`` goes before the one in the file; ``Invalid`` is raised where there is neither."""
    chosen = policy if policy is not None else casefile.policy
    if chosen is None:
        raise Invalid("the case file has no policy; add policy: to it or name a policy file")
    compiled = CompiledPolicy(chosen)
    return [_run(compiled, case) for case in casefile.cases]


def _run(compiled: CompiledPolicy, case: Case) -> CaseResult:
    verdict = explain(compiled, case.question)
    return CaseResult(case.name, case.line, verdict, tuple(_differences(case.expected, verdict)))


def _differences(expected: Expected, verdict: Verdict) -> list[str]:
    pairs = {
        "status": (expected.status, verdict.status),
        "reason_code": (expected.reason_code, verdict.reason_code),
        "rule": (expected.rule, verdict.rule.name if verdict.rule else None),
        "message": (expected.message, verdict.message),
    }
    return [
        f"{key}: expected {shown(want, MAX_MESSAGE)}, got {shown(got or 'none', MAX_MESSAGE)}"
        for key, (want, got) in pairs.items()
        if want is not None and want != got
    ]


def _case(field: Field) -> Case:
    field = _named(field)
    keys = field.section(_CASE_KEYS)
    name, expect = keys.need("name", "what it shows"), keys.need("expect", "{status: allow}")
    return Case(
        name=(name.text(MAX_NAME) if name else None) or "",
        line=field.node.start_mark.line + 1,
        question=_question(keys),
        expected=_expected(expect.section(_EXPECT_KEYS)) if expect else Expected("reject"),
    )


def _named(field: Field) -> Field:
    """``field`` with the case's name in its path, so that every problem below says which case it is in."""
    if not isinstance(field.node, yaml.MappingNode):
        return field
    names = [value.value for key, value in field.node.value if key.value == "name" and isinstance(value.value, str)]
    return Field(f'{field.path} "{shown(names[0])}"', field.node, field.problems) if names else field


def _question(keys: Section) -> Question:
    tool, payload = keys.need("tool", "issue_refund"), keys.find("payload")
    risk, workflow = keys.find("risk_level"), keys.find("workflow_name")
    return Question(
        tool_name=(tool.text(MAX_NAME) if tool else None) or "",
        payload=_object(payload) if payload else {},
        risk_level=(risk.choice(_RISK_LEVELS) if risk else None) or "medium",
        workflow_name=workflow.text(MAX_NAME) if workflow else None,
    )


def _expected(keys: Section) -> Expected:
    status, reason = keys.need("status", "allow"), keys.find("reason_code")
    rule, message = keys.find("rule"), keys.find("message")
    return Expected(
        status=(status.choice(_STATUSES) if status else None) or "reject",
        reason_code=reason.choice(_REASONS) if reason else None,
        rule=rule.text(MAX_NAME) if rule else None,
        message=message.text(MAX_MESSAGE) if message else None,
    )


def _object(field: Field) -> Mapping[str, object]:
    return {name: _json(value) for name, value in field.section().entries.items()}


def _json(field: Field) -> object:
    if isinstance(field.node, yaml.MappingNode):
        return _object(field)
    if isinstance(field.node, yaml.SequenceNode):
        return [_json(item) for item in field.items()]
    return _json_scalar(field, field.scalar() or "")


def _json_scalar(field: Field, text: str) -> object:
    plain = isinstance(field.node, yaml.ScalarNode) and not field.node.style
    if plain and _JSON_NUMBER.fullmatch(text):
        return _number(field, text)
    if field.node.tag == STRING:
        return text
    if field.node.tag == BOOLEAN and text in ("true", "false"):
        return text == "true"
    if field.node.tag != NULL or text != "null":
        field.fail(f"{shown(text) or 'nothing'} is nothing that JSON has; write true, false, null, a number or quotes")
    return None


def _number(field: Field, text: str) -> int | float | None:
    try:
        return read_number(text)
    except Malformed as refused:
        field.fail(f"the gate refuses this number: {shown(refused.detail, 200)}")
        return None
