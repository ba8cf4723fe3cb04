"""All properties, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from chaos.checks import bounds, decisions, evidence, redemptions
from chaos.checks.violations import Violation
from chaos.final import FinalState
from chaos.history import History

Property = Callable[[History, FinalState], Iterator[Violation]]

PROPERTIES: Final[dict[str, Property]] = {
    check.__name__: check
    for check in (
        decisions.acknowledged_survives,
        decisions.allow_rests_on_a_row,
        decisions.told_never_changes,
        decisions.retries_get_the_first_decision,
        decisions.nothing_means_nothing,
        decisions.every_decision_is_recorded_once,
        redemptions.at_most_one_redemption,
        redemptions.redemptions_are_recorded,
        redemptions.none_after_a_pause,
        redemptions.executed_only_after_redemption,
        evidence.webhooks_arrive,
        evidence.log_extends_every_checkpoint,
        evidence.log_is_whole,
        bounds.tightened_rules_hold,
        bounds.replaced_keys_are_refused,
        bounds.held_answers_leave,
        bounds.writes_resume,
        bounds.nodes_do_not_fail,
    )
}


def check(history: History, final: FinalState) -> dict[str, list[Violation]]:
    """What each property finds; an empty list where it holds."""
    return {name: list(holds(history, final)) for name, holds in PROPERTIES.items()}
