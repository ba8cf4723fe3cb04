"""Decisions as they were told last, so that the next one who asks is told without decrypting and writing them anew.

Nothing is told from memory alone: the rows are read each time, and what is kept counts only while they are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from stacksona_gate.domain.decisions import Answer, etag, polled_decision
from stacksona_gate.domain.requests import Opinion, Request, Review, approval_state
from stacksona_gate.domain.times import SECOND
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.keyring import Keyring
from stacksona_gate.store.base import Change, Reading, Tx

ANSWERS_MOST: Final = 2048
BODY_MOST: Final = 8 * 1024
"""Bytes of a body that is kept: a few long payloads must not fill the memory."""
_ENCODER: Final = msgspec.json.Encoder()


class Polled(msgspec.Struct):
    """A decision as it is now. ``etag`` covers the decision, not the token."""

    answer: Answer
    etag: str
    sent: object = None
    """What the API made of it, kept with it."""


@dataclass(slots=True)
class State:
    """What a decision says, and how it was told last."""

    request: Request
    reviews: tuple[Opinion | Review, ...]
    generation: int
    """The agent's; -1: it is gone."""
    reading: Reading | None = None
    """The rows that this stands for; None where it is not to be kept."""
    told: Polled | None = None
    approval: str | None = None
    """What ``told`` says about the approval."""
    signer: Keyring | None = None
    second: int = 0
    """When ``signer`` signed its token."""
    _etag: str = ""

    @property
    def etag(self) -> str:
        self._etag = self._etag or etag(self.request)
        return self._etag


class KeptAnswers:
    """The newest answers. Each is one reading's; whatever changes in the database makes another reading."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], State] = {}

    def changed(self, changes: Sequence[Change]) -> None:
        """A store's watcher: what nobody will be told again is not remembered, erased texts above all."""
        for change in changes:
            self._states.pop((change.tenant_id, change.request_id), None)

    @property
    def count(self) -> int:
        return len(self._states)

    def open(self, tx: Tx, tenant_id: str, reading: Reading) -> State:
        """What a reading says, from memory where it is the same one as last time."""
        kept = self._states.get((tenant_id, reading.request_id))
        if kept is not None and kept.reading == reading:
            return kept
        return State(*tx.readings.open(reading), reading.generation, reading)

    def tell(self, state: State, keyring: Keyring, env: Environment) -> Polled:
        """The answer. Its token is signed anew for each second: within one, claims and signature are the same bytes."""
        now = env.now()
        approval = approval_state(state.request, state.generation, now)
        if state.told is None or state.approval != approval:
            state.told, state.approval, state.signer = _written(state, approval, env.public_url), approval, None
            self._keep(state)
        if approval == "open" and (state.signer is not keyring or state.second != now // SECOND):
            answer = msgspec.structs.replace(state.told.answer, token=keyring.sign(state.request, now))
            state.told = Polled(answer, state.etag)
            state.signer, state.second = keyring, now // SECOND
        return state.told

    def _keep(self, state: State) -> None:
        if state.reading is None or state.told is None or len(state.told.answer.body) > BODY_MOST:
            return
        key = (state.request.tenant_id, state.request.id)
        self._states.pop(key, None)
        if len(self._states) >= ANSWERS_MOST:
            del self._states[next(iter(self._states))]
        self._states[key] = state


def _written(state: State, approval: str | None, public_url: str) -> Polled:
    """Without a token."""
    request = state.request
    body = _ENCODER.encode(polled_decision(request, state.reviews, public_url=public_url, state=approval))
    return Polled(Answer(request.status, request.thread_id, body, None, request), state.etag)
