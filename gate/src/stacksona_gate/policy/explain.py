"""Why an answer is what it is: for the inbox, the audit log and ``policy test``."""

from __future__ import annotations

from msgspec.structs import replace

from stacksona_gate.policy.evaluate import Checked, CompiledPolicy, CompiledRule, Question, Verdict


def explain(compiled: CompiledPolicy, question: Question) -> Verdict:
    """The verdict of ``compiled.evaluate(question)`` with its ``trail``: every rule in the order of the file."""
    trail = tuple(_checked(rule, question) for rule in compiled.rules(question.tool_name))
    return replace(compiled.evaluate(question), trail=trail)


def _checked(rule: CompiledRule, question: Question) -> Checked:
    outcome = rule.check(question)
    return Checked(rule.ref, rule.rule.action, outcome, rule.describe(outcome, question))
