"""Checkpoints and proofs of the sealed log over HTTP."""

from __future__ import annotations

import base64

import pytest
from gate.tests.api.people import House
from gate.tests.factories import TENANT

from stacksona_gate.domain import merkle
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint
from stacksona_gate.domain.signed_notes import COSIGNATURE_V1, VerifierKey, parse_verifier_key
from stacksona_gate.service.log import seal_now

AUDIT = "/api/admin/audit"


async def sealed(home: House) -> Checkpoint:
    return await seal_now(home.world.gate, TENANT)


def hashes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(one) for one in texts]


async def test_the_newest_checkpoint_verifies_with_the_key_beside_it(home: House) -> None:
    made = await sealed(home)
    answer = (await home.olga.get(f"{AUDIT}/checkpoint")).json()
    assert open_checkpoint(answer["checkpoint"], [parse_verifier_key(answer["public_key"])]) == made
    assert (answer["origin"], answer["size"], hashes([answer["root"]])) == (made.origin, made.size, [made.root])


async def test_the_note_alone_is_had_as_text(home: House) -> None:
    made = await sealed(home)
    answer = await home.olga.get(f"{AUDIT}/checkpoint", headers={"accept": "text/plain"})
    assert (answer.text, answer.headers["content-type"]) == (made.note, "text/plain; charset=utf-8")


async def test_before_the_first_sealing_there_is_none_yet(home: House) -> None:
    assert (await home.olga.get(f"{AUDIT}/checkpoint")).status_code == 503


async def test_an_entry_is_proven_against_the_checkpoint(home: House) -> None:
    made = await sealed(home)
    ((_, entry),) = await home.world.read(lambda tx: tx.log.list_sealed(TENANT, 3, 1, below=made.size))
    answer = (await home.olga.get(f"{AUDIT}/proof", params={"index": 3})).json()
    leaf = merkle.leaf_hash(entry.leaf.encode())
    assert merkle.verify_inclusion(leaf, 3, made.size, hashes(answer["proof"]), made.root)
    assert (answer["index"], answer["size"], hashes([answer["root"]])) == (3, made.size, [made.root])


async def test_a_saved_checkpoint_is_proven_to_be_the_beginning_of_a_later_one(home: House) -> None:
    saved = await sealed(home)
    await home.world.ask(100)
    made = await sealed(home)
    answer = (await home.olga.get(f"{AUDIT}/consistency", params={"from": saved.size})).json()
    assert merkle.verify_consistency(saved.size, saved.root, made.size, made.root, hashes(answer["proof"]))
    assert hashes([answer["from_root"], answer["to_root"]]) == [saved.root, made.root]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("proof", 422),
        ("proof?index=-1", 422),
        ("proof?index=0&size=x", 422),
        ("proof?index=99999", 404),
        ("proof?index=0&size=99999", 404),
        ("consistency", 422),
        ("consistency?from=99999", 404),
        ("consistency?from=5&to=3", 404),
    ],
)
async def test_what_is_not_there_is_not_proven(home: House, path: str, status: int) -> None:
    await sealed(home)
    assert (await home.olga.get(f"{AUDIT}/{path}")).status_code == status


@pytest.mark.parametrize("path", ["checkpoint", "proof?index=0", "consistency?from=0"])
async def test_reviewers_do_not_read_the_log(home: House, path: str) -> None:
    await sealed(home)
    assert (await home.rita.get(f"{AUDIT}/{path}")).status_code == 403


# Publishing

PUBLISHING = {
    "every_minutes": 60,
    "file": "{size}.txt",
    "url": "https://example.com/log",
    "mail": ["audit@example.com"],
    "witnesses": [{"name": "w", "url": "https://w.example", "vkey": str(VerifierKey("w", COSIGNATURE_V1, bytes(32)))}],
}


async def test_publishing_is_read_as_it_was_set(home: House) -> None:
    before = (await home.olga.get(f"{AUDIT}/publishing")).json()
    answer = await home.ada.put(f"{AUDIT}/publishing", json=PUBLISHING)
    assert before == {"every_minutes": 0, "file": None, "url": None, "mail": [], "witnesses": []}
    assert (answer.status_code, answer.json()) == (200, PUBLISHING)
    assert (await home.olga.get(f"{AUDIT}/publishing")).json() == PUBLISHING


async def test_publishing_that_somebody_else_changed_is_not_overwritten(home: House) -> None:
    tag = (await home.ada.get(f"{AUDIT}/publishing")).headers["etag"]
    await home.ada.put(f"{AUDIT}/publishing", json=PUBLISHING)
    answer = await home.ada.put(f"{AUDIT}/publishing", json={}, headers={"if-match": tag})
    assert answer.status_code == 412


async def test_auditors_do_not_change_where_checkpoints_go(home: House) -> None:
    assert (await home.olga.put(f"{AUDIT}/publishing", json=PUBLISHING)).status_code == 403


@pytest.mark.parametrize("wrong", [{"every_minutes": -1}, {"file": "/etc/passwd"}, {"url": "file:///x"}])
async def test_wrong_publishing_is_refused_and_names_its_field(home: House, wrong: dict[str, object]) -> None:
    answer = await home.ada.put(f"{AUDIT}/publishing", json=PUBLISHING | wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == list(wrong)


async def test_a_field_that_nobody_knows_is_refused(home: House) -> None:
    assert (await home.ada.put(f"{AUDIT}/publishing", json=PUBLISHING | {"to": 1})).status_code == 422


async def test_metrics_tell_of_the_log(home: House) -> None:
    made = await sealed(home)
    await home.world.ask(100)
    home.world.clock.advance(3)
    text = (await home.nobody.get("/metrics")).text
    assert f"stacksona_gate_log_entries {made.size}.0" in text
    assert "stacksona_gate_log_unsealed 1.0" in text
    assert "stacksona_gate_log_lag_seconds 3.0" in text
