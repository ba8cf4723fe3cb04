"""Deliveries of the gate, checked by the Standard Webhooks scheme (``v1``: HMAC with SHA-256).

A good delivery is a reason to look, never a permission: read the decision back with the agent's key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stacksona._canonical import read_object
from stacksona._errors import ConfigurationError, WebhookRefused

PREFIX: Final = "whsec_"
VERSION: Final = "v1,"
TOLERANCE: Final = 300.0
BODY_MOST: Final = 1024 * 1024
SIGNATURES_MOST: Final = 20

_SECONDS: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class WebhookEvent:
    """One delivery. ``id`` is the same on every attempt of it: one that was seen before may be left alone.

    ``event`` is ``decision.approved``, ``decision.rejected`` or ``decision.revision_requested``, or another that later
    versions have; ``data`` is the whole body.
    """

    id: str
    sent_at: int
    event: str
    thread_id: str | None
    request_id: str | None
    task_id: str | None
    data: dict[str, Any] = field(repr=False)


class WebhookVerifier:
    """Checks deliveries with the agent's ``whsec_…`` secret; with two while it is being replaced."""

    def __init__(self, *secrets: str, tolerance: float = TOLERANCE, clock: Callable[[], float] = time.time) -> None:
        """``tolerance``: seconds that the sender's clock may be off. Raises ConfigurationError for a bad secret."""
        if not secrets:
            raise ConfigurationError("nothing to verify with: pass the secret")
        self._keys = [_key(secret) for secret in secrets]
        self._tolerance = tolerance
        self._clock = clock

    def __repr__(self) -> str:
        return f"WebhookVerifier({len(self._keys)} secrets)"

    def verify(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> WebhookEvent:
        """The delivery, when one of the secrets signed it within the tolerance. ``body``: its bytes as they came.

        Raises WebhookRefused and nothing else, whatever it is given.
        """
        try:
            webhook_id, sent_at = self._signed(headers, body)
            return _event(webhook_id, sent_at, read_object(body))
        except WebhookRefused:
            raise
        except Exception:
            raise WebhookRefused("it cannot be read as a delivery") from None

    def verify_signature(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> str:
        """The delivery's id, when it is signed well, whatever its body says. Raises WebhookRefused and nothing else."""
        try:
            return self._signed(headers, body)[0]
        except WebhookRefused:
            raise
        except Exception:
            raise WebhookRefused("it cannot be read as a delivery") from None

    def _signed(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: object) -> tuple[str, int]:
        given = _headers(headers)
        if not isinstance(body, bytes) or len(body) > BODY_MOST:
            raise WebhookRefused("the body is not bytes, or too many of them")
        webhook_id, sent, signatures = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        if not webhook_id or not signatures or not _SECONDS.fullmatch(sent):
            raise WebhookRefused("webhook-id, webhook-timestamp or webhook-signature is missing or malformed")
        if abs(self._clock() - int(sent)) > self._tolerance:
            raise WebhookRefused("its time is too far off: an old delivery, or a clock that is wrong")
        if not self._is_signed(f"{webhook_id}.{sent}.".encode() + body, signatures):
            raise WebhookRefused("no signature matches: another secret, or the body was changed")
        return webhook_id, int(sent)

    def _is_signed(self, signed: bytes, signatures: str) -> bool:
        """Compares every pair to its end: the time taken says nothing about which one matched."""
        made = [
            VERSION.encode() + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in self._keys
        ]
        given = [one.encode("utf-8", "replace") for one in signatures.split(" ")[:SIGNATURES_MOST]]
        equal = [hmac.compare_digest(ours, theirs) for ours in made for theirs in given]
        return any(equal)


def _headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """By lower-case name. A name that is there twice could be read in two ways."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    given = {str(name).lower(): value for name, value in pairs if str(name).lower().startswith("webhook-")}
    if len(given) != sum(str(name).lower().startswith("webhook-") for name, _ in pairs):
        raise WebhookRefused("a webhook header is there twice")
    return given


def _event(webhook_id: str, sent_at: int, data: dict[str, Any]) -> WebhookEvent:
    texts = {name: data.get(name) for name in ("event", "thread_id", "request_id", "task_id")}
    event = texts.pop("event")
    if not isinstance(event, str) or not all(one is None or isinstance(one, str) for one in texts.values()):
        raise WebhookRefused("the body is not an event of the gate")
    return WebhookEvent(webhook_id, sent_at, event, texts["thread_id"], texts["request_id"], texts["task_id"], data)


def _key(secret: object) -> bytes:
    """Raises ConfigurationError, which does not show the secret."""
    encoded = secret.removeprefix(PREFIX).rstrip("=") if isinstance(secret, str) else ""
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigurationError("the secret is not whsec_ and base 64")
    return key
