"""Notes and keys, against those of other implementations."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, strategies as st

from stacksona_gate.domain.errors import Invalid, Malformed
from stacksona_gate.domain.signed_notes import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NOTE,
    MAX_SIGNATURES,
    Note,
    Signature,
    VerifierKey,
    cosignature,
    cosigned_at,
    parse_note,
    parse_signature,
    parse_verifier_key,
    sign_note,
    verified_by,
)

# golang.org/x/mod/sumdb/note, its example.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# C2SP signed-note, its example key and signature.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# A checkpoint of a public log, cosigned by public witnesses.
LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
COSIGNED = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
"""  # noqa: E501 - as it was published

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()
OURS = VerifierKey("log.example/1", ED25519, PUBLIC)
OUR_WITNESS = VerifierKey("witness.example/1", COSIGNATURE_V1, PUBLIC)


# Keys


@pytest.mark.parametrize("text", [PETER, FOO, LOG, WITNESS])
def test_a_published_key_is_read_and_written_again(text: str) -> None:
    assert str(parse_verifier_key(text)) == text
    assert parse_verifier_key(f"{text}\n") == parse_verifier_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("PeterNeumann", "Peter Neumann"),
        PETER.replace("PeterNeumann", ""),
        PETER[:-4],
        PETER + "=",
        PETER.replace("+ARpc", "+Axpc"),
        PETER + "\n" + PETER,
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_verifier_key(text)


def test_one_key_has_another_id_for_each_algorithm() -> None:
    assert OURS.key_id != VerifierKey(OURS.name, COSIGNATURE_V1, PUBLIC).key_id


# Notes


def test_signing_gives_the_known_note() -> None:
    secret = Ed25519PrivateKey.from_private_bytes(PETER_SEED)
    assert str(sign_note(TEXT, parse_verifier_key(PETER), secret.sign)) == NOTE


@pytest.mark.parametrize(("note", "key"), [(NOTE, PETER), (FOO_NOTE, FOO), (COSIGNED, LOG), (COSIGNED, WITNESS)])
def test_a_known_note_is_verified_by_its_key(note: str, key: str) -> None:
    assert verified_by(parse_note(note), [parse_verifier_key(key), OURS]) == (parse_verifier_key(key),)
    assert str(parse_note(note)) == note


@pytest.mark.parametrize(("note", "key"), [(NOTE, PETER), (COSIGNED, LOG), (COSIGNED, WITNESS)])
def test_a_changed_text_is_refused(note: str, key: str) -> None:
    with pytest.raises(Invalid, match="does not belong"):
        verified_by(parse_note("x" + note), [parse_verifier_key(key)])


def test_a_note_of_unknown_keys_is_refused() -> None:
    with pytest.raises(Invalid, match="none of the known keys"):
        verified_by(parse_note(NOTE), [OURS])
    with pytest.raises(Invalid, match="none of the known keys"):
        verified_by(parse_note(NOTE), [])


def test_the_name_and_the_id_must_both_be_the_keys() -> None:
    signed = sign_note(TEXT, OURS, SECRET.sign)
    renamed = Note(TEXT, (Signature("log.example/2", OURS.key_id, signed.signatures[0].value),))
    with pytest.raises(Invalid, match="none of the known keys"):
        verified_by(renamed, [OURS])


def test_one_wrong_signature_of_a_known_key_refuses_the_note() -> None:
    right = sign_note(TEXT, OURS, SECRET.sign).signatures[0]
    for value in (right.value[:-1] + b"\0", right.value[:-1], right.value + b"\0", b"x"):
        wrong = Signature(right.name, right.key_id, value)
        with pytest.raises(Invalid, match="does not belong"):
            verified_by(Note(TEXT, (right, wrong)), [OURS])


def test_unknown_signatures_beside_a_known_one_are_ignored() -> None:
    right = sign_note(TEXT, OURS, SECRET.sign).signatures[0]
    note = Note(TEXT, (Signature("x.example", b"1234", b"?"), right, right))
    assert verified_by(parse_note(str(note)), [OURS]) == (OURS,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—"),
        NOTE.replace("Neumann x08", "Neumann  x08"),
        NOTE.replace("Neumann x08", "+Neumann x08"),
        NOTE.replace("AM=", "AN="),
        NOTE.replace("AM=", "AM"),
        NOTE.replace("If", "\tIf"),
        NOTE.replace("If", "\r\nIf"),
        NOTE.replace("If", "\ud800"),
        NOTE.replace("If", "\0"),
        TEXT + "\n— PeterNeumann x08gow==\n",
        TEXT + "\n" + "— PeterNeumann x08goxxx\n" * (MAX_SIGNATURES + 1),
        "x" * MAX_NOTE + NOTE,
        "é" * (MAX_NOTE // 2) + NOTE,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_note(text)


@given(st.text())
def test_any_text_is_a_note_or_malformed(text: str) -> None:
    for hostile in (text, f"{text}\n\n{text}\n", NOTE + text, f"x\n\n— {text}\n"):
        try:
            assert str(parse_note(hostile)) == hostile
        except Malformed:
            continue


def test_a_text_may_hold_empty_lines() -> None:
    note = sign_note("one\n\ntwo\n", OURS, SECRET.sign)
    assert parse_note(str(note)) == note


def test_only_a_text_with_its_newline_is_signed_with_a_key_for_texts() -> None:
    with pytest.raises(ValueError, match="newline"):
        sign_note("text", OURS, SECRET.sign)
    with pytest.raises(ValueError, match="Ed25519 key"):
        sign_note("text\n", OUR_WITNESS, SECRET.sign)


# Cosignatures


def test_a_cosignature_says_when_and_is_verified() -> None:
    line = str(cosignature(TEXT, OUR_WITNESS, SECRET.sign, 1_679_315_147))
    note = parse_note(NOTE + line)
    assert verified_by(note, [OUR_WITNESS]) == (OUR_WITNESS,)
    assert cosigned_at(note.signatures[1]) == 1_679_315_147


def test_the_published_cosignature_has_its_time() -> None:
    assert cosigned_at(parse_note(COSIGNED).signatures[2]) == 0x6A122120


def test_a_cosignature_with_another_time_is_refused() -> None:
    right = cosignature(TEXT, OUR_WITNESS, SECRET.sign, 7)
    for at in (8, 2**63):
        wrong = Signature(right.name, right.key_id, at.to_bytes(8) + right.value[8:])
        with pytest.raises(Invalid, match="does not belong"):
            verified_by(Note(TEXT, (wrong,)), [OUR_WITNESS])


def test_a_cosignature_is_no_signature_of_the_log() -> None:
    value = cosignature(TEXT, OUR_WITNESS, SECRET.sign, 7).value
    with pytest.raises(Invalid, match="does not belong"):
        verified_by(Note(TEXT, (Signature(OURS.name, OURS.key_id, value[8:]),)), [OURS])


def test_a_log_key_makes_no_cosignature() -> None:
    with pytest.raises(ValueError, match="type 4"):
        cosignature(TEXT, OURS, SECRET.sign, 7)


def test_a_signature_line_is_read_alone() -> None:
    signature = parse_note(NOTE).signatures[0]
    assert parse_signature(str(signature)[:-1]) == signature
