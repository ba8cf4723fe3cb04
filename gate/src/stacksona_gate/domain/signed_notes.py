"""Signed notes (C2SP signed-note) and the keys that verify them.

A note is text, an empty line, and signature lines ``— <key name> <base64 of key ID and signature>``. Two kinds of key:
Ed25519 over the text (type 0x01), and the witness's timestamped Ed25519 of C2SP tlog-cosignature (type 0x04).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stacksona_gate.domain.errors import Invalid, Malformed
from stacksona_gate.domain.reading import quote

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
MAX_NOTE: Final = 65_536
"""Bytes of a whole note."""
MAX_SIGNATURES: Final = 100
MAX_TIMESTAMP: Final = 2**63 - 1
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_SIGNATURE_BYTES: Final = {ED25519: 64, COSIGNATURE_V1: 72}
_DASH: Final = "\u2014"

Sign = Callable[[bytes], bytes]
"""Makes an Ed25519 signature (RFC 8032), 64 bytes."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name. ``algorithm`` is ``ED25519`` or ``COSIGNATURE_V1``, ``public`` 32 bytes."""

    name: str
    algorithm: int
    public: bytes

    def __post_init__(self) -> None:
        """Raises Malformed."""
        if not is_key_name(self.name):
            raise Malformed(f"{quote(self.name)} is no key name: no spaces, no plus, no control characters, not empty")
        if self.algorithm not in _SIGNATURE_BYTES or len(self.public) != _KEY_BYTES:
            raise Malformed("only Ed25519 keys of 32 bytes are known, of type 1 (log) or 4 (witness)")

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key in a signature."""
        return sha256(self.name.encode() + b"\n" + bytes((self.algorithm,)) + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """The verifier key as text: name, key ID and key, joined with plus."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes((self.algorithm,)) + self.public)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. ``value`` is what the algorithm makes: 64 bytes, or 8 of time (seconds) and 64."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        """The line, with its newline."""
        return f"{_DASH} {self.name} {_base64(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """``text`` ends with a newline. Nothing of it counts before ``verified_by`` said whose it is."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


def is_key_name(name: str) -> bool:
    # A surrogate cannot be written as UTF-8.
    return bool(name) and all(
        " " < one != "+" and not one.isspace() and not "\ud800" <= one <= "\udfff" for one in name
    )


def parse_verifier_key(text: str) -> VerifierKey:
    """Reads what ``str`` of a key writes; white space around it is left out. Raises Malformed."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    decoded = _unbase64(encoded)
    if not decoded:
        raise Malformed(f"{quote(text.strip())} is no verifier key: it reads NAME+KEYID+KEY, the last in base64")
    key = VerifierKey(name, decoded[0], decoded[1:])
    if key_id != key.key_id.hex():
        raise Malformed(f"the verifier key of {quote(name)} has the key ID {key.key_id.hex()}, not {quote(key_id)}")
    return key


def parse_note(text: str) -> Note:
    """Takes a note apart; verifies nothing. Raises Malformed."""
    if len(text) > MAX_NOTE or len(text.encode(errors="replace")) > MAX_NOTE:
        raise Malformed(f"a signed note has at most {MAX_NOTE} bytes")
    if any((one < " " and one != "\n") or "\ud800" <= one <= "\udfff" for one in text):
        raise Malformed("a signed note has no control characters but newlines")
    body, separator, lines = text.rpartition("\n\n")
    if not (separator and lines.endswith("\n")):
        raise Malformed("a signed note is a text, an empty line and signature lines, each with its newline")
    found = lines[:-1].split("\n")
    if len(found) > MAX_SIGNATURES:
        raise Malformed(f"a signed note has at most {MAX_SIGNATURES} signatures")
    return Note(body + "\n", tuple(parse_signature(line) for line in found))


def parse_signature(line: str) -> Signature:
    """Reads one signature line, without its newline. Raises Malformed."""
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    decoded = _unbase64(encoded)
    if dash != _DASH or not is_key_name(name) or len(decoded) <= _ID_BYTES:
        raise Malformed(f"{quote(line)} is no signature line")
    return Signature(name, decoded[:_ID_BYTES], decoded[_ID_BYTES:])


def sign_note(text: str, key: VerifierKey, sign: Sign) -> Note:
    """Signs with the private half of ``key``, an Ed25519 key. ``text`` ends with a newline."""
    if key.algorithm != ED25519 or not text.endswith("\n"):
        raise ValueError("an Ed25519 key signs a text that ends with a newline")
    return Note(text, (Signature(key.name, key.key_id, sign(text.encode())),))


def cosignature(text: str, key: VerifierKey, sign: Sign, at: int) -> Signature:
    """A witness's signature on a checkpoint's text. ``at`` is seconds since 1970 (C2SP tlog-cosignature)."""
    if key.algorithm != COSIGNATURE_V1:
        raise ValueError("a witness signs with a key of type 4")
    return Signature(key.name, key.key_id, at.to_bytes(8) + sign(_timestamped(text, at)))


def verified_by(note: Note, keys: Iterable[VerifierKey]) -> Sequence[VerifierKey]:
    """Which of ``keys`` signed the note, each once. Signatures of other keys are ignored.

    Raises Invalid when none did, or when a signature that names one of them is not its own.
    """
    known = {(key.name, key.key_id): key for key in keys}
    signed: dict[VerifierKey, None] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not _is_signed(note.text, signature, key):
            raise Invalid(f"the signature of {quote(key.name)} does not belong to this text")
        signed[key] = None
    if not signed:
        raise Invalid("the note is signed by none of the known keys")
    return tuple(signed)


def cosigned_at(signature: Signature) -> int:
    """Seconds since 1970 in a witness's signature that was verified."""
    return int.from_bytes(signature.value[:8])


def _is_signed(text: str, signature: Signature, key: VerifierKey) -> bool:
    if len(signature.value) != _SIGNATURE_BYTES[key.algorithm]:
        return False
    message = text.encode()
    if key.algorithm == COSIGNATURE_V1:
        at = cosigned_at(signature)
        if at > MAX_TIMESTAMP:
            return False
        message = _timestamped(text, at)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature.value[-64:], message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _timestamped(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    """Of the one spelling that standard base64 has (RFC 4648 section 4); empty for any other."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _base64(data) == text else b""
