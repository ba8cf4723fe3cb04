"""Signing and reading approval tokens."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import nacl.bindings
import nacl.exceptions
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from stacksona_gate.domain.approvals import TOKEN_ALGORITHM, TOKEN_LASTS, TOKEN_TYPE, Claims, token_claims
from stacksona_gate.domain.errors import Unavailable
from stacksona_gate.domain.requests import Request
from stacksona_gate.domain.times import HOUR, SECOND
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.secrets import RootSecret
from stacksona_gate.store.base import SigningKey

PUBLISHED_AFTER: Final = TOKEN_LASTS + HOUR
"""Microseconds a retired key stays in the key set: longer than any token it signed."""
TOKEN_MOST: Final = 4096
PURPOSE: Final = "signing key "

_ENCODER: Final = msgspec.json.Encoder()


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    """A token's claims as they are on the wire."""

    iss: str
    aud: str
    sub: str
    jti: str
    iat: int
    exp: int
    tenant: str
    task_id: str
    request_id: str
    revision: int
    payload_digest: str
    policy_version: int
    approved_by: int
    thread_id: str | None = None


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: str
    typ: str
    kid: str


_CLAIMS: Final = msgspec.json.Decoder(_Wire)
_HEADERS: Final = msgspec.json.Decoder(_Header)


class BadToken(Exception):
    """Not a token of this installation."""


class UnknownKey(BadToken):
    """Signed with a key that is not among those known here."""


@dataclass(frozen=True, slots=True)
class _Signer:
    kid: str
    secret: bytes
    """Seed and public half, as libsodium takes them: it signs in two thirds of OpenSSL's time."""
    head: bytes
    """The first part of every token it signs."""

    def sign(self, message: bytes) -> bytes:
        return nacl.bindings.crypto_sign(message, self.secret)[: nacl.bindings.crypto_sign_BYTES]


class Keyring:
    """The installation's keys: one signs, all of them read."""

    def __init__(self, issuer: str, keys: Sequence[SigningKey], root: RootSecret, clock_now: int) -> None:
        """Raises Unavailable when there is no key that can sign."""
        self.issuer = issuer
        self._public: dict[str, tuple[bytes, SigningKey]] = {}
        signer: _Signer | None = None
        for key in keys:
            if key.retired_at is not None and clock_now >= key.retired_at + PUBLISHED_AFTER:
                continue
            self._public[key.kid] = (_unpad(key.public), key)
            if key.retired_at is None:
                signer = _signer(key, root)
        if signer is None:
            raise Unavailable("there is no key to sign approvals with: nothing is allowed")
        self._signer = signer

    def sign(self, request: Request, now: int) -> str:
        """A fresh approval token for an approved, unredeemed request."""
        body = _ENCODER.encode(token_claims(request, issuer=self.issuer, now=now))
        signed = self._signer.head + b"." + _b64(body)
        return (signed + b"." + _b64(self._signer.sign(signed))).decode()

    def read(self, token: str) -> Claims:
        """What a token says, its signature checked; nothing about time or use. Raises BadToken."""
        parts = token.encode("ascii", "replace").split(b".")
        if len(token) > TOKEN_MOST or len(parts) != 3:
            raise BadToken
        try:
            header = _HEADERS.decode(_unpad_strict(parts[0]))
            if header.kid not in self._public:
                raise UnknownKey
            public = self._public[header.kid][0]
            if header.alg != TOKEN_ALGORITHM or header.typ != TOKEN_TYPE:
                raise BadToken
            self._verify(header.kid, public, _unpad_strict(parts[2]), parts[0] + b"." + parts[1])
            wire = _CLAIMS.decode(_unpad_strict(parts[1]))
        except (ValueError, nacl.exceptions.CryptoError, msgspec.MsgspecError):
            raise BadToken from None
        if wire.iss != self.issuer:
            raise BadToken
        return _claims(wire)

    def _verify(self, kid: str, public: bytes, signature: bytes, message: bytes) -> None:
        """Raises nacl.exceptions.CryptoError, ValueError."""
        # Ed25519 gives a key and a message one signature (RFC 8032), and making it takes half the time of checking it.
        # Compared in constant time: else who measures could find it out byte by byte. What is not the same is checked.
        signer = self._signer
        if kid == signer.kid and hmac.compare_digest(signer.sign(message), signature):
            return
        nacl.bindings.crypto_sign_open(signature + message, public)

    def jwks(self) -> dict[str, object]:
        """The public keys as a JWK set (RFC 7517, RFC 8037)."""
        return {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "alg": TOKEN_ALGORITHM, "use": "sig", "kid": kid, "x": key.public}
                for kid, (_, key) in self._public.items()
            ]
        }


def new_signing_key(env: Environment, root: RootSecret, now: int) -> SigningKey:
    """A fresh Ed25519 key, its private half wrapped."""
    private = Ed25519PrivateKey.from_private_bytes(env.randomness(32))
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kid = env.id("key_", now)
    return SigningKey(kid, _b64(public).decode(), root.wrap(raw, PURPOSE + kid, env), now, None)


def _signer(key: SigningKey, root: RootSecret) -> _Signer:
    _, secret = nacl.bindings.crypto_sign_seed_keypair(root.unwrap(key.private, PURPOSE + key.kid))
    header = {"alg": TOKEN_ALGORITHM, "kid": key.kid, "typ": TOKEN_TYPE}
    return _Signer(key.kid, secret, _b64(_ENCODER.encode(header)))


def _claims(wire: _Wire) -> Claims:
    return Claims(
        wire.iss,
        wire.aud,
        wire.sub,
        wire.jti,
        wire.exp * SECOND,
        wire.tenant,
        wire.task_id,
        wire.request_id,
        wire.thread_id,
        wire.revision,
        wire.payload_digest,
        wire.policy_version,
        wire.approved_by,
    )


def _b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _unpad(text: str) -> bytes:
    return _unpad_strict(text.encode())


def _unpad_strict(raw: bytes) -> bytes:
    """Base 64 as RFC 7515 writes it, and only so: two spellings of one signature would be two tokens."""
    try:
        decoded = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise BadToken from None
    if _b64(decoded) != raw:
        raise BadToken
    return decoded
