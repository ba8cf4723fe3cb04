from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gate.tests.domain.test_signed_notes import COSIGNED, LOG, WITNESS

from stacksona_gate.domain.checkpoints import (
    Checkpoint,
    checkpoint_body,
    log_origin,
    open_checkpoint,
    parse_checkpoint,
    parse_hash,
    sign_checkpoint,
)
from stacksona_gate.domain.errors import Invalid, Malformed
from stacksona_gate.domain.merkle import EMPTY_ROOT
from stacksona_gate.domain.signed_notes import ED25519, VerifierKey, parse_verifier_key, sign_note

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey(log_origin("gate_1", "default"), ED25519, SECRET.public_key().public_bytes_raw())


def test_a_published_checkpoint_is_opened_with_its_logs_key() -> None:
    root = base64.b64decode("U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=")
    opened = open_checkpoint(COSIGNED, [parse_verifier_key(LOG)])
    assert opened == Checkpoint("arche2025h1.staging.ct.transparency.dev", 1_432_088_532, root, COSIGNED)


def test_a_signed_checkpoint_is_opened_again() -> None:
    made = sign_checkpoint(7, EMPTY_ROOT, KEY, SECRET.sign)
    assert made.note.startswith(f"stacksona-gate/gate_1/default\n7\n{base64.b64encode(EMPTY_ROOT).decode()}\n\n— ")
    assert open_checkpoint(made.note, [KEY]) == made


def test_a_witnesss_signature_alone_opens_nothing() -> None:
    with pytest.raises(Invalid, match="no key of the log"):
        open_checkpoint(COSIGNED, [parse_verifier_key(WITNESS)])


def test_another_logs_key_opens_nothing() -> None:
    other = VerifierKey("stacksona-gate/gate_1/other", ED25519, KEY.public)
    note = str(sign_note(checkpoint_body(KEY.name, 7, EMPTY_ROOT), other, SECRET.sign))
    with pytest.raises(Invalid, match="no key of the log"):
        open_checkpoint(note, [other])
    with pytest.raises(Invalid, match="none of the known keys"):
        open_checkpoint(note, [other, KEY])


def test_a_changed_size_is_refused() -> None:
    note = sign_checkpoint(7, EMPTY_ROOT, KEY, SECRET.sign).note.replace("\n7\n", "\n8\n")
    with pytest.raises(Invalid, match="does not belong"):
        open_checkpoint(note, [KEY])


def test_lines_after_the_root_are_the_logs_own() -> None:
    note = str(sign_note(checkpoint_body(KEY.name, 7, EMPTY_ROOT) + "more\n", KEY, SECRET.sign))
    assert open_checkpoint(note, [KEY]).size == 7


@pytest.mark.parametrize(
    "body",
    [
        "origin\n7\n",
        "origin\n7\n\n",
        f"\n7\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
        checkpoint_body("origin", 7, EMPTY_ROOT) + "\nmore\n",
        checkpoint_body("origin", 7, EMPTY_ROOT).replace("7", "07"),
        checkpoint_body("origin", 7, EMPTY_ROOT).replace("7", "+7"),
        checkpoint_body("origin", 7, EMPTY_ROOT).replace("7", "-7"),
        checkpoint_body("origin", 7, EMPTY_ROOT).replace("7", "٧"),
        checkpoint_body("origin", 2**63, EMPTY_ROOT),
        checkpoint_body("origin", 7, EMPTY_ROOT).replace("7", "9" * 5000),
        checkpoint_body("origin", 7, EMPTY_ROOT[:-1]),
        checkpoint_body("origin", 7, EMPTY_ROOT).replace("=", ""),
        "origin\n7\n!\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(body: str) -> None:
    note = str(sign_note(body, KEY, SECRET.sign))
    with pytest.raises(Malformed):
        parse_checkpoint(note)


@pytest.mark.parametrize("text", ["", "AA==", "é", base64.b64encode(EMPTY_ROOT).decode() + "\n", "A" * 43 + "B="])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_hash(text)
