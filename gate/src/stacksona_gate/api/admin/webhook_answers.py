"""Webhooks as people's programs see them: where they go, what became of each, what admins are told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stacksona_gate.api.admin.bodies import WebhookUrl
from stacksona_gate.api.review.answers import as_is
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.domain.webhooks import DEAD, PENDING, Attempt, Delivery, Endpoint, Notice, why_dead
from stacksona_gate.service.deliveries import DeliveryView

State = Literal["pending", "delivered", "superseded", "dead"]


class SecretRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the secret before signs beside the new one: seconds, a day unless said otherwise."""

    overlap: Annotated[int, Meta(ge=0, le=2_592_000)] = 86_400


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """Which deliveries to send again: the newest dead ones, of one agent (id or name, or `workspace`) or of all."""

    state: Literal["dead"]
    agent: Annotated[str, Meta(max_length=200)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class WorkspaceWebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where what happens in the workspace is sent."""

    url: WebhookUrl


class WorkspaceWebhook(msgspec.Struct, kw_only=True):
    """The workspace's own webhook; `url` null: there is none. `secret` is shown when it is made, and never again."""

    url: str | None
    failing_since: str | None = None
    switched_off_at: str | None = None
    switched_off_because: str | None = None
    secret: str | msgspec.UnsetType = msgspec.UNSET


class WebhookSecret(msgspec.Struct):
    """A new secret, shown now and never again."""

    webhook_secret: str
    previous_until: str | None


class AttemptAnswer(msgspec.Struct):
    """One call. `duration_ms` in milliseconds; `answer` is the first 1,024 bytes of what the receiver said."""

    number: int
    at: str
    duration_ms: float
    status: int | None
    error: str | None
    answer: str


class DeliveryAnswer(msgspec.Struct, kw_only=True):
    """An event for one endpoint. `id` is the `webhook-id` of every attempt. `endpoint_id` is an agent's id, or
    `workspace`."""

    id: str
    endpoint_id: str
    request_id: str | None
    thread_id: str | None
    event: str
    state: State
    reason: str | None
    attempts_begun: int
    created_at: str
    next_attempt_at: str | None
    finished_at: str | None


class DeliveryDetails(DeliveryAnswer, kw_only=True):
    """A delivery with its attempts, oldest first."""

    attempts: list[AttemptAnswer]


class DeliveryList(msgspec.Struct):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryAnswer]
    next_cursor: str | None


class Replayed(msgspec.Struct):
    """How many deliveries are sent again."""

    replayed: int


class NoticeAnswer(msgspec.Struct):
    """Something that admins are told until one of them takes it off the list."""

    id: str
    kind: str
    text: str
    objects: Any
    created_at: str
    dismissed_at: str | None


class NoticeList(msgspec.Struct):
    """Open notices, newest first, up to 100."""

    notices: list[NoticeAnswer]


def delivery_fields(delivery: Delivery) -> dict[str, Any]:
    """The fields of a DeliveryAnswer."""
    same = ("id", "endpoint_id", "request_id", "thread_id", "event", "state")
    return {
        **{name: getattr(delivery, name) for name in same},
        "reason": why_dead(delivery) if delivery.state == DEAD else None,
        "attempts_begun": delivery.attempts,
        "created_at": rfc3339(delivery.created_at),
        "next_attempt_at": _next(delivery),
        "finished_at": rfc3339_or_none(delivery.finished_at),
    }


def _next(delivery: Delivery) -> str | None:
    if delivery.state != PENDING or delivery.leased_until is not None:
        return None
    return rfc3339(delivery.due_at or delivery.created_at)


def delivery_answer(delivery: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(**delivery_fields(delivery))


def delivery_details(view: DeliveryView) -> DeliveryDetails:
    attempts = [_attempt(attempt) for attempt in view.attempts]
    return DeliveryDetails(**delivery_fields(view.delivery), attempts=attempts)


def _attempt(one: Attempt) -> AttemptAnswer:
    return AttemptAnswer(one.attempt, rfc3339(one.at), one.duration / 1000, one.status, one.error, one.answer)


def notice_answer(notice: Notice) -> NoticeAnswer:
    return NoticeAnswer(
        notice.id,
        notice.kind,
        notice.text,
        as_is(notice.objects),
        rfc3339(notice.created_at),
        rfc3339_or_none(notice.dismissed_at),
    )


def workspace_webhook(endpoint: Endpoint | None, secret: str | None = None) -> WorkspaceWebhook:
    shown = msgspec.UNSET if secret is None else secret
    if endpoint is None or endpoint.url is None:
        return WorkspaceWebhook(url=None)
    return WorkspaceWebhook(
        url=endpoint.url,
        failing_since=rfc3339_or_none(endpoint.failing_since),
        switched_off_at=rfc3339_or_none(endpoint.switched_off_at),
        switched_off_because=endpoint.switched_off_because,
        secret=shown,
    )
