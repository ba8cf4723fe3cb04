"""Checkpoints that witnesses cosign before they go out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gate.tests.delivery.publishers import configure, is_signed, kept, notices, publisher, sealed
from gate.tests.delivery.receivers import OK, receiving, says
from gate.tests.factories import TENANT, World

from stacksona_gate.domain.checkpoints import Checkpoint
from stacksona_gate.domain.signed_notes import VerifierKey, parse_note, verified_by
from stacksona_gate.service.log_keys import verifier_keys
from stacksona_gate.service.publishing import WitnessAddress
from stacksona_gate.verify.witness import Memory, Witness
from stacksona_gate.verify.witness_keys import make_key, read_key
from stacksona_gate.verify.witness_server import WitnessServer


@dataclass
class Seen:
    """A witness and what it was asked."""

    address: WitnessAddress
    key: VerifierKey
    bodies: list[bytes] = field(default_factory=list)

    def olds(self) -> list[bytes]:
        return [body.split(b"\n", 1)[0] for body in self.bodies]


@asynccontextmanager
async def witness(w: World, folder: Path, name: str = "witness.example") -> AsyncIterator[Seen]:
    """A real one, that knows this log."""
    key = make_key(folder / f"{name}.key", name)
    _, sign = read_key(folder / f"{name}.key")
    logs = await w.read(lambda tx: verifier_keys(tx, TENANT))
    memory = Memory(folder / f"{name}.state")
    own = Witness(key, sign, logs, memory, lambda: 1_795_694_400, lambda line: None)
    seen = Seen(WitnessAddress(name, "", str(key)), key)

    def answer(body: bytes) -> Any:
        seen.bodies.append(body)
        return own.add_checkpoint(body)

    server = await WitnessServer(answer).start("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen.address = WitnessAddress(name, f"http://127.0.0.1:{port}/", str(key))
    try:
        yield seen
    finally:
        server.close()
        memory.close()


async def test_a_witness_cosigns_and_the_cosigned_note_goes_out(w: World, tmp_path: Path) -> None:
    made = await sealed(w)
    async with witness(w, tmp_path) as one, witness(w, tmp_path, "second") as two, receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/", witnesses=(one.address, two.address))
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert not done.failed
    note = (await kept(w, made.size)).note
    assert receiver.bodies == [note.encode()]
    assert set(verified_by(parse_note(note), [one.key, two.key])) == {one.key, two.key}
    assert await is_signed(w, note)


async def test_a_witness_is_asked_from_the_size_that_it_last_acknowledged(w: World, tmp_path: Path) -> None:
    out = publisher(w)
    async with witness(w, tmp_path) as one:
        await configure(w, witnesses=(one.address,))
        sizes = []
        for _ in range(3):
            sizes.append((await sealed(w)).size)
            done = await out.publish(TENANT)
            assert done is not None
            assert not done.failed
    assert one.olds() == [f"old {size}".encode() for size in (0, *sizes[:2])]


async def test_a_witness_that_knows_more_than_we_remember_is_asked_from_there(w: World, tmp_path: Path) -> None:
    out = publisher(w)
    async with witness(w, tmp_path) as one:
        await configure(w, witnesses=(one.address,))
        first = await sealed(w)
        await out.publish(TENANT)
        await w.write(lambda tx: tx.tenants.set_setting(TENANT, "publishing.state", "{}"))
        await sealed(w)
        done = await out.publish(TENANT)
    assert done is not None
    assert not done.failed
    assert one.olds() == [b"old 0", b"old 0", f"old {first.size}".encode()]


async def test_a_witness_that_has_seen_a_longer_log_is_told_to_the_admins(w: World, tmp_path: Path) -> None:
    await sealed(w)
    reply = b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 5\r\n\r\n9999\n"
    async with witness(w, tmp_path) as one, receiving(says(reply)) as liar:
        address = WitnessAddress("ahead", f"http://127.0.0.1:{liar.port}", str(one.key))
        await configure(w, witnesses=(address,))
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert (done.failed, done.cosignatures) == (("witness",), ())
    assert liar.connections == 1
    assert any("witness" in text for text in await notices(w))


@pytest.mark.parametrize("answer", ["other key", "other text", "garbage", "empty", "binary"])
async def test_what_is_not_the_witnesss_own_signature_is_not_taken(w: World, tmp_path: Path, answer: str) -> None:
    made = await sealed(w)
    key, other = make_key(tmp_path / "a", "witness"), make_key(tmp_path / "b", "witness")
    body = _wrong_answers(tmp_path, key, other, made)[answer]
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with receiving(says(reply)) as receiver:
        await configure(w, witnesses=(WitnessAddress("w", f"http://127.0.0.1:{receiver.port}", str(key)),))
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert (done.failed, done.acknowledged) == (("witness",), {})
    assert (await kept(w, made.size)).note == made.note


def _wrong_answers(folder: Path, key: VerifierKey, other: VerifierKey, made: Checkpoint) -> dict[str, bytes]:
    from stacksona_gate.domain.signed_notes import cosignature

    text = parse_note(made.note).text
    _, sign = read_key(folder / "a")
    _, foreign = read_key(folder / "b")
    return {
        "other key": str(cosignature(text, other, foreign, 1)).encode(),
        "other text": str(cosignature(text.replace("stacksona", "stacksina"), key, sign, 1)).encode(),
        "garbage": b"<html>",
        "empty": b"",
        "binary": b"\xff\xfe",
    }
