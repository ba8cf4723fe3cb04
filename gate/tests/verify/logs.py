"""A small sealed log, the same each time, and exports of it."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import shake_256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stacksona_gate.domain.audit import GATE, Actor, Entry, entry, entry_randomness
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.checkpoints import Checkpoint, log_origin, sign_checkpoint
from stacksona_gate.domain.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)
from stacksona_gate.domain.signed_notes import ED25519, VerifierKey
from stacksona_gate.domain.times import SECOND, rfc3339

Json = dict[str, Any]
STARTED: Final = 1_795_000_000 * SECOND
SECRET: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_SECRET: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TENANT: Final = "default"
ORIGIN: Final = log_origin("gate_01", TENANT)
KEY: Final = VerifierKey(ORIGIN, ED25519, SECRET.public_key().public_bytes_raw())
OTHER_KEY: Final = VerifierKey(ORIGIN, ED25519, OTHER_SECRET.public_key().public_bytes_raw())
VALUES: Final[tuple[object, ...]] = (
    {"amount": 120.5, "currency": "usd", "customer_id": "cus_99"},
    {"lines": [1, -0.0, 1e21, 1e-7, 0.000001, 123456789012345.6, 5e-324, 100.0], "none": None, "yes": True},
    {"\U0001f600": "astral", "\uffff": 'quote " slash \\ tab \t', "é": "\u2028 \x7f \x1f"},
    "a plain text",
)


def private_value(number: int) -> object:
    return VALUES[number % len(VALUES)]


def made_entry(number: int, variant: str = "") -> Entry:
    """The entry with this number; another ``variant`` has other salts and values."""
    private = {"payload": canonicalize(private_value(number)), "address": canonicalize(f"192.0.2.{number}{variant}")}
    randomness = shake_256(f"{number}{variant}".encode()).digest(entry_randomness(len(private)))
    thread = number // 4
    objects = {"request": f"req_{thread}"} | ({} if number % 4 == 0 else {"thread": f"THR-{thread}"})
    actor = GATE if number % 3 else Actor("agent", "refund-agent")
    events = ("request.decided", "thread.opened", "thread.noted", "thread.approved")
    return entry(
        events[number % 4],
        tenant_id=TENANT,
        at=STARTED + number * SECOND // 3,
        actor=actor,
        randomness=randomness,
        objects=objects,
        private=private,
        policy_version=number or None,
        status="approved" if number % 2 else None,
    )


@dataclass
class Log:
    """Entries in a tree."""

    entries: list[Entry]
    secret: Ed25519PrivateKey = SECRET
    key: VerifierKey = KEY
    hashes: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.hashes = [leaf_hash(one.leaf.encode()) for one in self.entries]

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.entries) if size is None else size
        return sign_checkpoint(size, root_of(self.hashes[:size]), self.key, self.secret.sign)

    def node(self, level: int, index: int) -> bytes:
        return root_of(self.hashes[index << level : (index + 1) << level])

    def export(
        self, kind: str = "tenant", chosen: Iterable[int] | None = None, *, size: int | None = None, **more: Any
    ) -> list[Json]:
        """The lines: the header and, in a whole log without, else with proofs, the chosen entries."""
        size = len(self.entries) if size is None else size
        numbers = list(range(size) if chosen is None else chosen)
        checkpoint = self.checkpoint(size)
        header = {
            "format": "stacksona-audit-1",
            "kind": kind,
            "origin": self.key.name,
            "tenant": TENANT,
            "size": size,
            "entries": len(numbers),
            "checkpoint": checkpoint.note,
            "public_key": str(self.key),
            "exported_at": rfc3339(STARTED + 1000 * SECOND),
            **more,
        }
        return [header, *(self.line(number, size, proven=kind != "tenant") for number in numbers)]

    def line(self, number: int, size: int, *, proven: bool) -> Json:
        one = self.entries[number]
        line = {"index": number, "leaf": one.leaf, "private": json.loads(one.private)}
        return line | ({"proof": encoded(inclusion_proof(self.node, number, size))} if proven else {})

    def thread(self, thread: int, *, size: int | None = None, **more: Any) -> list[Json]:
        chosen = range(thread * 4, thread * 4 + 4)
        return self.export("thread", chosen, size=size, thread_id=f"THR-{thread}", **more)

    def since(self, old: int, size: int | None = None) -> Json:
        """The header's proof of consistency."""
        new = len(self.entries) if size is None else size
        return {"consistency": {"from": old, "proof": encoded(consistency_proof(self.node, old, new))}}


def encoded(proof: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in proof]


def log_of(count: int, *, variant_at: int | None = None) -> Log:
    """A log of so many entries; from ``variant_at`` on another history."""
    return Log([made_entry(number, "x" * (variant_at is not None and number >= variant_at)) for number in range(count)])


def redacted(lines: Sequence[Json], at: int, name: str = "payload") -> list[Json]:
    changed = copy.deepcopy(list(lines))
    changed[at]["private"][name] = {"redacted": True, "shown": "•••"}
    return changed


def erased(lines: Sequence[Json], at: int, name: str = "payload") -> list[Json]:
    changed = copy.deepcopy(list(lines))
    del changed[at]["private"][name]
    return changed


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def document(lines: Sequence[Json], **more: Any) -> bytes:
    """As a thread's JSON export."""
    return json.dumps({**more, "log": lines[0], "entries": list(lines[1:])}).encode()


def page(lines: Sequence[Json]) -> bytes:
    """As a thread's page."""
    embedded = json.dumps({"log": lines[0], "entries": list(lines[1:])}).replace("<", "\\u003c")
    script = f'<script type="application/json" id="evidence">{embedded}</script>'
    return f"\n\n<!doctype html>\n<html><body><p>a thread</p>{script}</body></html>\n".encode()
