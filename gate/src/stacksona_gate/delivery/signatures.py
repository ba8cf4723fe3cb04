"""Signatures of webhooks by the Standard Webhooks scheme (symmetric, ``v1``), over its own library.

The library is loaded with the first signature. Its traps are kept in here: it mis-signs moments that are not UTC, takes
its own clock when it verifies, drops characters of a malformed secret, and raises four kinds of errors.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from stacksona_gate.domain.times import SECOND

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how a secret begins
TOLERANCE: Final = 300 * SECOND
"""Microseconds that a timestamp may differ from the receiver's clock, either way."""
VERSION: Final = "v1,"

_SECONDS: Final = re.compile(r"[0-9]{1,12}")

MALFORMED_SECRET: Final = "the secret is not whsec_ and base 64"  # noqa: S105
MISSING: Final = "webhook-id, webhook-timestamp and webhook-signature are not all there"
NO_TIME: Final = "webhook-timestamp is not a number of seconds"
TOO_OLD: Final = "webhook-timestamp is over five minutes old"
TOO_NEW: Final = "webhook-timestamp is over five minutes ahead"
NO_MATCH: Final = "no signature matches: another secret, or the body was changed"
NO_TEXT: Final = "the body is not UTF-8"


def signed_headers(secrets: Sequence[str], webhook_id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery: one signature per secret, so that either verifies while a secret is replaced.

    ``at``: microseconds since 1970 UTC, signed in whole seconds. ``body``: UTF-8. Raises ValueError when there is no
    secret, one is malformed, or the body is not UTF-8; the message holds neither.
    """
    if not secrets:
        raise ValueError("nothing to sign with")
    signatures = [_signature(secret, webhook_id, at // SECOND, _text(body)) for secret in secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at // SECOND),
        "webhook-signature": " ".join(signatures),
    }


def verified(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: int) -> bool:
    """Whether one of the signatures is by one of the secrets, and its time within five minutes of ``now``.

    ``now``: microseconds since 1970 UTC. Header names in any case. Never raises.
    """
    return objection(secrets, headers, body, now) is None


def objection(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: int) -> str | None:
    """Why a delivery is not ``verified``, in one of the phrases of this module; None when it is. Never raises."""
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = given.get("webhook-id"), given.get("webhook-timestamp")
    signatures = given.get("webhook-signature")
    if not (webhook_id and timestamp and signatures):
        return MISSING
    if not _SECONDS.fullmatch(timestamp):
        return NO_TIME
    late = now - int(timestamp) * SECOND
    if abs(late) > TOLERANCE:
        return TOO_OLD if late > 0 else TOO_NEW
    try:
        expected = [_signature(secret, webhook_id, int(timestamp), _text(body)) for secret in secrets]
    except ValueError as error:
        return str(error)
    return None if _any_equal(expected, signatures.split(" ")) else NO_MATCH


def is_secret(text: str) -> bool:
    """Whether it can sign: ``whsec_``, which may be missing, and base 64 of at least one byte."""
    encoded = text.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        return bool(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except (binascii.Error, ValueError):
        return False


def _signature(secret: str, webhook_id: str, seconds: int, text: str) -> str:
    """``v1,…``. Raises ValueError."""
    from standardwebhooks import Webhook

    if not is_secret(secret):
        raise ValueError(MALFORMED_SECRET)
    try:
        return Webhook(secret).sign(webhook_id, datetime.fromtimestamp(seconds, UTC), text)
    except (UnicodeError, OverflowError):
        raise ValueError(NO_MATCH) from None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ValueError(NO_TEXT) from None


def _any_equal(expected: Sequence[str], given: Sequence[str]) -> bool:
    """Compares every pair to its end, so that the time taken says nothing about which one matched."""
    equal = [hmac.compare_digest(one.encode(), other.encode("utf-8", "replace")) for one in expected for other in given]
    return any(equal)
