"""Brings checkpoints out: cosigned by witnesses, then to a file, an HTTP endpoint, mail. Sealing never waits for it."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stacksona_gate.delivery.mail import MailRefused, Post
from stacksona_gate.delivery.sender import Answer, Sender
from stacksona_gate.domain.errors import GateError, Invalid, Malformed
from stacksona_gate.domain.signed_notes import Note, Signature, parse_note, parse_signature, verified_by
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.log import consistency
from stacksona_gate.service.publishing import (
    Publication,
    Published,
    WitnessAddress,
    begin_publication,
    finish_publication,
    is_pattern,
    list_due,
    with_cosignatures,
)

LOOK_SECONDS: Final = 5.0
"""Between two looks for what is due."""
SUBJECT: Final = "Checkpoint of the audit log: {size} entries"
_TEXT: Final = {"content-type": "text/plain; charset=utf-8"}
_TENANT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII)
_SIZE: Final = re.compile(rb"[0-9]{1,18}")

log = logging.getLogger("stacksona_gate.delivery")


class _Failed(Exception):
    """One place did not take it. The message is for the log and quotes nothing that came from outside."""


@dataclass(slots=True)
class _Outcome:
    """What is gathered while a checkpoint goes out."""

    acknowledged: dict[str, int]
    cosignatures: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    reached: int = 0


class Publisher:
    """One for the process. ``folder`` and ``post``: None where the operator allows no files or no mail."""

    def __init__(self, gate: Gate, sender: Sender, *, folder: Path | None = None, post: Post | None = None) -> None:
        self._gate = gate
        self._sender = sender
        self._folder = folder
        self._post = post
        self._holder = gate.new_holder("publisher_")
        self._running: dict[str, asyncio.Task[Published | None]] = {}

    async def round(self) -> None:
        """Begins to publish what is due. A workspace whose places hang delays no other one."""
        for tenant_id in await self._gate.store.scan(lambda tx: list_due(tx, self._gate.env.now())):
            if tenant_id not in self._running:
                task = asyncio.create_task(self.publish(tenant_id))
                self._running[tenant_id] = task
                task.add_done_callback(lambda _, ended=tenant_id: self._running.pop(ended, None))  # type: ignore[misc]

    async def stop(self) -> None:
        """Gives up what is on its way: another process publishes it when the lease is over."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def publish(self, tenant_id: str) -> Published | None:
        """Publishes a workspace's newest checkpoint now; None when there is nothing new, or another process does it."""
        gate = self._gate
        try:
            begun = await gate.store.write(lambda tx: begin_publication(tx, gate.env, tenant_id, self._holder))
            if begun is None:
                return None
            done = await self._bring_out(begun)
            await gate.store.write(lambda tx: finish_publication(tx, gate.env, self._holder, begun, done))
        except GateError as error:
            log.warning("a checkpoint of workspace %s was not published: %s", tenant_id, error.detail)
            return None
        return done

    async def _bring_out(self, publication: Publication) -> Published:
        outcome = _Outcome(dict(publication.acknowledged))
        await asyncio.gather(*(self._witnessed(publication, one, outcome) for one in publication.publishing.witnesses))
        note = with_cosignatures(publication.checkpoint.note, outcome.cosignatures)
        await asyncio.gather(
            self._attempt("file", self._to_file(publication, note), outcome),
            self._attempt("HTTP", self._to_url(publication, note), outcome),
            self._attempt("mail", self._to_mail(publication, note), outcome),
        )
        succeeded = bool(outcome.reached or outcome.cosignatures)
        return Published(
            tuple(outcome.cosignatures), outcome.acknowledged, tuple(sorted(set(outcome.failed))), succeeded
        )

    async def _attempt(self, kind: str, work: Awaitable[bool], outcome: _Outcome) -> None:
        try:
            outcome.reached += await work
        except (_Failed, MailRefused) as error:
            log.warning("a checkpoint was not published (%s): %s", kind, error)
            outcome.failed.append(kind)

    # Places

    async def _to_file(self, publication: Publication, note: str) -> bool:
        pattern = publication.publishing.file
        if pattern is None:
            return False
        if self._folder is None:
            raise _Failed("the operator has named no folder for checkpoints")
        if not is_pattern(pattern) or not _TENANT.fullmatch(publication.tenant_id):
            raise _Failed("the path is not one below the folder")
        below = pattern.replace("{size}", str(publication.checkpoint.size))
        try:
            await asyncio.to_thread(_write, self._folder, self._folder / publication.tenant_id / below, note)
        except OSError as error:
            raise _Failed(f"the file cannot be written: {error.strerror}") from None
        return True

    async def _to_url(self, publication: Publication, note: str) -> bool:
        url = publication.publishing.url
        if url is None:
            return False
        answer = await self._sender.send(url, _TEXT, note.encode())
        if not answer.delivered:
            raise _Failed(_said(answer))
        return True

    async def _to_mail(self, publication: Publication, note: str) -> bool:
        to = publication.publishing.mail
        if not to:
            return False
        if self._post is None:
            raise _Failed("the operator has named no mail server")
        await self._post.send(to, SUBJECT.format(size=publication.checkpoint.size), note)
        return True

    # Witnesses

    async def _witnessed(self, publication: Publication, witness: WitnessAddress, outcome: _Outcome) -> None:
        try:
            signature = await self._cosignature(publication, witness)
        except _Failed as error:
            log.warning("witness %s did not cosign: %s", witness.name, error)
            outcome.failed.append("witness")
            return
        outcome.cosignatures.append(str(signature))
        outcome.acknowledged[witness.vkey] = publication.checkpoint.size

    async def _cosignature(self, publication: Publication, witness: WitnessAddress) -> Signature:
        """Asks from the size that the witness last acknowledged, and once more from the one that it names instead."""
        size = publication.checkpoint.size
        old = min(publication.acknowledged.get(witness.vkey, 0), size)
        answer = await self._add_checkpoint(publication, witness, old)
        if answer.status == 409 and answer.error is None:
            told = _SIZE.fullmatch(answer.body.strip())
            if told is None or int(told[0]) > size:
                raise _Failed("it has seen another, longer log: compare its checkpoints with this database")
            answer = await self._add_checkpoint(publication, witness, int(told[0]))
            if answer.status == 409:
                raise _Failed("it has seen another history: compare its checkpoints with this database")
        if not answer.delivered:
            raise _Failed(_said(answer))
        return _verified(parse_note(publication.checkpoint.note).text, answer.body, witness)

    async def _add_checkpoint(self, publication: Publication, witness: WitnessAddress, old: int) -> Answer:
        tenant_id, size = publication.tenant_id, publication.checkpoint.size
        proof = await self._gate.store.scan(lambda tx: consistency(tx, tenant_id, old, size))
        lines = "".join(f"{base64.b64encode(one).decode()}\n" for one in proof)
        body = f"old {old}\n{lines}\n{publication.checkpoint.note}"
        return await self._sender.send(f"{witness.url.rstrip('/')}/add-checkpoint", _TEXT, body.encode())


def _verified(text: str, body: bytes, witness: WitnessAddress) -> Signature:
    """The witness's own line of its answer, checked against its key. Raises _Failed."""
    key = witness.key
    try:
        found = [parse_signature(line) for line in body.decode().removesuffix("\n").split("\n")]
        own = tuple(one for one in found if (one.name, one.key_id) == (key.name, key.key_id))
        verified_by(Note(text, own), [key])
    except (UnicodeDecodeError, Malformed, Invalid):
        raise _Failed("its answer is no cosignature by its key") from None
    return own[0]


def _said(answer: Answer) -> str:
    return answer.error or f"the answer was {answer.status}"


def _write(folder: Path, path: Path, note: str) -> None:
    """Complete or not at all, and never outside the folder, also where a link lies in the way. Raises OSError."""
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise OSError(0, "the path leads out of the folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o644), "w") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
