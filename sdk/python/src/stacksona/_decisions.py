"""What the gate answers, read strictly: a field of another type or a status beyond the five is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from stacksona._errors import (
    AgentPaused,
    Cancelled,
    ChangesRequested,
    Expired,
    PendingReview,
    Rejected,
    UnexpectedAnswer,
)

STATUSES: Final = frozenset({"allow", "reject", "pending_review", "approved", "rejected"})
MAY_RUN: Final = frozenset({"allow", "approved"})
PENDING: Final = "pending_review"
_REJECTIONS: Final = {"expired": Expired, "cancelled": Cancelled, "agent_paused": AgentPaused}

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """The rule that answered."""

    id: str
    name: str
    type: str


@dataclass(frozen=True)
class Review:
    """What one person said: ``approve``, ``reject`` or ``request_changes``. ``at`` is RFC 3339."""

    verdict: str
    reviewer: str
    at: str


@dataclass(frozen=True)
class Decision:
    """The gate's answer. **Run the action only when** ``may_run`` **is true, and redeem the token first.**

    Times are RFC 3339, UTC. Fields that only a decision read back has are None or empty in the first answer.
    """

    status: str
    request_id: str
    task_id: str
    thread_id: str | None
    reason_code: str
    message: str
    rule: Rule | None
    policy_version: int
    payload_digest: str
    revision: int
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    expires_at: str | None = None
    review_url: str | None = None
    revision_requested: bool = False
    feedback: str | None = None
    approval_token: str | None = field(default=None, repr=False)
    approval_expires_at: str | None = None
    tool_name: str | None = None
    payload: dict[str, Any] | None = field(default=None, repr=False)
    """What was approved, or what stands to be; None in the first answer."""
    edited: bool = False
    created_at: str | None = None
    decided_at: str | None = None
    reviews: tuple[Review, ...] = ()
    approval_state: str | None = None
    """``open``, ``redeemed``, ``revoked`` or ``expired``."""
    redeemed_at: str | None = None
    etag: str | None = field(default=None, repr=False)

    @property
    def may_run(self) -> bool:
        """Whether it is ``allow`` or ``approved``."""
        return self.status in MAY_RUN

    @property
    def is_pending(self) -> bool:
        return self.status == PENDING


@dataclass(frozen=True)
class Redemption:
    """The one redemption of an approval. Run exactly ``payload``, once."""

    status: str
    request_id: str
    task_id: str
    thread_id: str | None
    tool_name: str
    payload_digest: str
    redeemed_at: str
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """A recorded outcome. ``flag`` says what is wrong with it, if anything is."""

    outcome_id: str
    flag: str | None


class GatedRun(NamedTuple):
    """What became of an action: ``executed`` is true when it ran, and then ``result`` is what it gave."""

    decision: Decision
    executed: bool
    result: Any


class Fields:
    """An answer's members by type. Raises UnexpectedAnswer for one that is missing or of another type."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        return self._of(name, str)

    def text_or_none(self, name: str) -> str | None:
        return None if self._members.get(name) is None else self._of(name, str)

    def whole(self, name: str) -> int:
        return self._of(name, int)

    def flag(self, name: str) -> bool:
        """False when it is not there."""
        return self._of(name, bool) if name in self._members else False

    def object_or_none(self, name: str) -> dict[str, Any] | None:
        return None if self._members.get(name) is None else self._of(name, dict)

    def rows(self, name: str) -> list[Any]:
        """Empty when it is not there."""
        return self._of(name, list) if name in self._members else []

    def _of(self, name: str, kind: type[T]) -> T:
        value = self._members.get(name)
        if type(value) is not kind:
            raise UnexpectedAnswer(f"the answer's {name} is not what the gate answers: nothing may run on it")
        return value


def read_decision(members: Mapping[str, Any], etag: str | None = None) -> Decision:
    """Raises UnexpectedAnswer."""
    fields = Fields(members)
    status = fields.text("status")
    if status not in STATUSES:
        raise UnexpectedAnswer("the status is none of the five that the gate gives: nothing may run on it")
    if members.get("decision", status) != status:
        raise UnexpectedAnswer("the answer contradicts itself: nothing may run on it")
    rule = fields.object_or_none("rule")
    decision = Decision(
        status=status,
        request_id=fields.text("request_id"),
        task_id=fields.text("task_id"),
        thread_id=fields.text_or_none("thread_id"),
        reason_code=fields.text("reason_code"),
        message=fields.text("message"),
        rule=None if rule is None else _rule(Fields(rule)),
        policy_version=fields.whole("policy_version"),
        payload_digest=fields.text("payload_digest"),
        revision=fields.whole("revision"),
        metadata=fields.object_or_none("metadata") or {},
        warnings=tuple(str(one) for one in fields.rows("warnings")),
        expires_at=fields.text_or_none("expires_at"),
        review_url=fields.text_or_none("review_url"),
        revision_requested=fields.flag("revision_requested"),
        feedback=fields.text_or_none("feedback"),
        approval_token=fields.text_or_none("approval_token"),
        approval_expires_at=fields.text_or_none("approval_expires_at"),
        tool_name=fields.text_or_none("tool_name"),
        payload=fields.object_or_none("payload"),
        edited=fields.flag("edited"),
        created_at=fields.text_or_none("created_at"),
        decided_at=fields.text_or_none("decided_at"),
        reviews=tuple(_review(one) for one in fields.rows("reviews")),
        approval_state=fields.text_or_none("approval_state"),
        redeemed_at=fields.text_or_none("redeemed_at"),
        etag=etag,
    )
    if decision.thread_id is None and status in (PENDING, "approved", "rejected"):
        raise UnexpectedAnswer("people decide in a thread, and the answer names none: nothing may run on it")
    return decision


def read_redemption(members: Mapping[str, Any]) -> Redemption:
    """Raises UnexpectedAnswer, for anything but ``"valid": true`` too."""
    fields = Fields(members)
    if members.get("valid") is not True or members.get("status") not in MAY_RUN:
        raise UnexpectedAnswer("the redemption's answer does not say that it is valid: nothing may run on it")
    payload = fields.object_or_none("payload")
    if payload is None:
        raise UnexpectedAnswer("the redemption's answer has no payload: nothing may run on it")
    return Redemption(
        status=fields.text("status"),
        request_id=fields.text("request_id"),
        task_id=fields.text("task_id"),
        thread_id=fields.text_or_none("thread_id"),
        tool_name=fields.text("tool_name"),
        payload_digest=fields.text("payload_digest"),
        redeemed_at=fields.text("redeemed_at"),
        payload=payload,
    )


def rejection(decision: Decision) -> Rejected:
    """The error for a decision that says no."""
    words = f": {_shown(decision.message)}" if decision.message else ""
    error = _REJECTIONS.get(decision.reason_code, Rejected)(
        f"{decision.status} ({_shown(decision.reason_code)}){words}"
    )
    error.decision = decision
    return error


def waiting(decision: Decision) -> PendingReview:
    """The error for a decision that people have yet to make."""
    kind = ChangesRequested if decision.revision_requested else PendingReview
    what = "a reviewer asks for changes" if decision.revision_requested else "people have not decided yet"
    error = kind(f"{what}; come back with the thread {decision.thread_id}")
    error.decision = decision
    return error


def _rule(fields: Fields) -> Rule:
    return Rule(fields.text("id"), fields.text("name"), fields.text("type"))


def _review(row: object) -> Review:
    fields = Fields(row if isinstance(row, dict) else {})
    return Review(fields.text("verdict"), fields.text("reviewer"), fields.text("at"))


def _shown(text: str) -> str:
    """What others wrote, without what a terminal would act on."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:500])
