"""What the gate answers: the decision object, its headers and its ETag."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from stacksona_gate.domain.requests import Opinion, Request, Review
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none

RETRY_AFTER: Final = 5
"""Seconds that a caller who does not long-poll should let pass."""

EMPTY_OBJECT: Final = "{}"


class Answer(msgspec.Struct, frozen=True):
    """A decision on its way out. ``body`` is JSON without the token."""

    status: str
    thread_id: str | None
    body: bytes
    token: str | None
    request: Request


def decision_object(request: Request, *, public_url: str, warnings: tuple[str, ...] = ()) -> dict[str, object]:
    """The fields that every decision answer has."""
    answer: dict[str, object] = {"status": request.status, "request_id": request.id, "task_id": request.task_id}
    if request.thread_id is not None:
        answer["thread_id"] = request.thread_id
    answer["reason_code"] = request.reason_code
    answer["message"] = request.message
    answer["rule"] = None if request.rule is None else msgspec.Raw(request.rule.encode())
    answer["policy_version"] = request.policy_version
    answer["payload_digest"] = request.payload_digest
    answer["revision"] = request.revision
    if request.is_pending:
        answer["expires_at"] = rfc3339_or_none(request.expires_at)
        answer["review_url"] = f"{public_url}/inbox/{request.thread_id}"
        answer["revision_requested"] = request.revision_requested
    answer["metadata"] = {} if request.metadata == EMPTY_OBJECT else msgspec.Raw(request.metadata.encode())
    answer["warnings"] = warnings
    return answer


def polled_decision(
    request: Request, reviews: Iterable[Opinion | Review], *, public_url: str, state: str | None
) -> dict[str, object]:
    """The decision object of a read: what was asked at first, and what has become of it."""
    answer = decision_object(request, public_url=public_url)
    answer["decision"] = request.status
    answer["tool_name"] = request.tool_name
    answer["created_at"] = rfc3339(request.created_at)
    answer["decided_at"] = rfc3339_or_none(request.decided_at)
    answer["reviews"] = [
        {"verdict": review.verdict, "reviewer": review.reviewer, "at": rfc3339(review.created_at)}
        for review in reviews
        if review.revision == request.revision
    ]
    if request.erased_at is None:
        answer["payload"] = msgspec.Raw(request.payload.encode())
    else:
        # An empty payload would pass for what was approved.
        answer["erased"] = True
    answer["edited"] = request.edited
    if request.revision_requested:
        answer["feedback"] = request.feedback
    if state is not None:
        answer["approval_state"] = state
        answer["redeemed_at"] = rfc3339_or_none(request.redeemed_at)
    return answer


def etag(request: Request) -> str:
    """Changes whenever the decision does, and not when a token is signed afresh or redeemed."""
    facts = f"{request.id}|{request.status}|{request.reason_code}|{request.revision}|{request.revision_requested:d}|"
    facts += f"{request.decided_at}|{request.edited:d}|{request.message}|{request.feedback}|{request.payload_digest}"
    return '"' + sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:32] + '"'
