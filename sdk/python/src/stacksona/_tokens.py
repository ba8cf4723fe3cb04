"""Approval tokens on the tool's side, without a call to the gate. Needs ``cryptography``: ``stacksona[verify]``.

Taken apart as the gate's own reader does, and stopped at the first thing that is not so. A good token is authentic;
that it was not used before is known to the gate alone.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stacksona._canonical import canonicalize, digest_of, read_object
from stacksona._errors import ApprovalInvalid, ConfigurationError, InvalidRequest

ALGORITHM: Final = "Ed25519"
TYPE: Final = "gate-approval+jwt"
TOKEN_MOST: Final = 4096
LEEWAY: Final = 30.0

_TEXTS: Final = ("iss", "aud", "sub", "jti", "tenant", "task_id", "request_id", "payload_digest")
_NUMBERS: Final = ("iat", "exp", "revision", "policy_version", "approved_by")


@dataclass(frozen=True)
class Approval:
    """What a token says. ``id`` is its ``jti``: one per approval, however often the token is signed afresh.

    ``issued_at`` and ``expires_at`` are seconds since 1970 UTC. ``approved_by`` counts people; 0: a rule allowed it.
    """

    id: str
    issuer: str
    tool_name: str
    agent_id: str
    tenant: str
    task_id: str
    request_id: str
    thread_id: str | None
    revision: int
    payload_digest: str
    policy_version: int
    approved_by: int
    issued_at: int
    expires_at: int


def verify_approval(
    token: str,
    jwks: Mapping[str, Any],
    *,
    tool: str,
    payload: Mapping[str, Any],
    issuer: str | None = None,
    now: float | None = None,
    leeway: float = LEEWAY,
) -> Approval:
    """Checks that a token approves ``tool`` with exactly ``payload``. Raises ApprovalInvalid for everything else.

    ``jwks``: the gate's ``/.well-known/jwks.json``, fetched from the gate that you trust. ``tool`` is the tool's own
    literal name. ``issuer``: the installation's id, worth pinning when the keys come from a cache. ``now``: seconds
    since 1970 UTC, by default the clock's; ``leeway``: seconds that the two clocks may differ.

    **It does not know whether the approval was used.** Redeem with ``validate_approval`` wherever the gate can be
    reached; else refuse an ``id`` that was seen before, until ``expires_at``, in a store that all your processes share.
    """
    claims = _claims(_signed(token, jwks))
    if issuer is not None and claims["iss"] != issuer:
        raise ApprovalInvalid("it was issued by another installation")
    if claims["aud"] != tool:
        raise ApprovalInvalid("it is for another tool")
    if (time.time() if now is None else now) >= claims["exp"] + leeway:
        raise ApprovalInvalid("it has expired")
    if claims["payload_digest"] != _digest(payload):
        raise ApprovalInvalid("it is for another payload")
    return _approval(claims)


def _signed(token: object, jwks: object) -> bytes:
    """The claims' bytes, once the signature is good."""
    parts = token.split(".") if isinstance(token, str) and len(token) <= TOKEN_MOST and token.isascii() else []
    if len(parts) != 3:
        raise ApprovalInvalid("it is not a token")
    header = _object(_decoded(parts[0]))
    if header.keys() != {"alg", "typ", "kid"} or (header["alg"], header["typ"]) != (ALGORITHM, TYPE):
        raise ApprovalInvalid("it is not an approval token: its algorithm or its type is another")
    _verify(_public(jwks, header["kid"]), _decoded(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    return _decoded(parts[1])


def _public(jwks: object, kid: object) -> bytes:
    rows = jwks.get("keys") if isinstance(jwks, Mapping) else None
    keys = [key for key in rows if isinstance(key, Mapping)] if isinstance(rows, list) else []
    found = [key for key in keys if isinstance(kid, str) and key.get("kid") == kid]
    if len(found) != 1:
        raise ApprovalInvalid("its key is not one of the gate's")
    key = found[0]
    kind = (key.get("kty"), key.get("crv"), key.get("alg", ALGORITHM), key.get("use", "sig"))
    if kind != ("OKP", ALGORITHM, ALGORITHM, "sig"):
        raise ApprovalInvalid("its key is of another kind")
    return _decoded(str(key.get("x", "")))


def _verify(public: bytes, signature: bytes, signed: bytes) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise ConfigurationError("verifying tokens needs cryptography: install stacksona[verify]") from None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise ApprovalInvalid("its signature is not good") from None


def _claims(raw: bytes) -> dict[str, Any]:
    claims = _object(raw)
    if claims.keys() - {"thread_id"} != {*_TEXTS, *_NUMBERS}:
        raise ApprovalInvalid("its claims are not those of an approval")
    texts = [claims[name] for name in _TEXTS] + [claims.get("thread_id") or ""]
    if not all(type(one) is str for one in texts) or not all(type(claims[name]) is int for name in _NUMBERS):
        raise ApprovalInvalid("its claims are not those of an approval")
    return claims


def _approval(claims: dict[str, Any]) -> Approval:
    return Approval(
        id=claims["jti"],
        issuer=claims["iss"],
        tool_name=claims["aud"],
        agent_id=claims["sub"],
        tenant=claims["tenant"],
        task_id=claims["task_id"],
        request_id=claims["request_id"],
        thread_id=claims.get("thread_id"),
        revision=claims["revision"],
        payload_digest=claims["payload_digest"],
        policy_version=claims["policy_version"],
        approved_by=claims["approved_by"],
        issued_at=claims["iat"],
        expires_at=claims["exp"],
    )


def _digest(payload: Mapping[str, Any]) -> str:
    try:
        return digest_of(canonicalize(dict(payload), "payload"))
    except (InvalidRequest, TypeError, ValueError):
        raise ApprovalInvalid("the payload is nothing that can be approved") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return read_object(raw)
    except ValueError:
        raise ApprovalInvalid("it is not a token") from None


def _decoded(text: str) -> bytes:
    """Base 64 as RFC 7515 writes it, in its one spelling: two spellings would be two tokens."""
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ApprovalInvalid("it is not a token") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ApprovalInvalid("it is not a token")
    return raw
