"""The sealed log: its newest checkpoint, and proofs for whoever saved one."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from stacksona_gate.api.fields import accepts, read_as, require_match, tagged_reply, whole
from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.times import rfc3339, rfc3339_or_none
from stacksona_gate.service import log
from stacksona_gate.service.log_keys import signer_of
from stacksona_gate.service.publishing import (
    LONGEST_MINUTES,
    MAIL_MOST,
    PATTERN_MOST,
    WITNESSES_MOST,
    Publishing,
    change_publishing,
    read_publishing,
)
from stacksona_gate.service.transactions import Tx

SIZE_MOST: Final = 2**62

Text = Annotated[str, Meta(max_length=2000)]


class WitnessBody(msgspec.Struct, forbid_unknown_fields=True):
    """A witness (C2SP tlog-witness). `url`: what comes before `/add-checkpoint`; `vkey`: the verifier key that it signs
    with, of type 4."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    url: Text
    vkey: Text


class PublishingBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where checkpoints go, every so many minutes; 0 is never. `file` is a path in the workspace's folder below the one
    that the operator has named, `{size}` in it the size of the log."""

    every_minutes: Annotated[int, Meta(ge=0, le=LONGEST_MINUTES)] = 0
    file: Annotated[str, Meta(max_length=PATTERN_MOST)] | None = None
    url: Text | None = None
    mail: Annotated[list[Text], Meta(max_length=MAIL_MOST)] = []
    witnesses: Annotated[list[WitnessBody], Meta(max_length=WITNESSES_MOST)] = []


class CheckpointAnswer(msgspec.Struct):
    """What a log says about itself. `checkpoint` is the whole signed note, with the cosignatures of witnesses that it
    got; `public_key` is the verifier key that it is signed with (C2SP signed-note). Save both outside the gate."""

    origin: str
    size: int
    root: str
    checkpoint: str
    public_key: str
    created_at: str
    published_at: str | None


class InclusionAnswer(msgspec.Struct):
    """That the entry at `index` is among the first `size` entries, whose root is `root` (RFC 6962 section 2.1.1)."""

    index: int
    size: int
    root: str
    proof: list[str]


class ConsistencyAnswer(msgspec.Struct):
    """That the first `to` entries begin with the first `from` entries (RFC 6962 section 2.1.2)."""

    since: int = msgspec.field(name="from")
    to: int
    from_root: str
    to_root: str
    proof: list[str]


async def get_checkpoint(context: PeopleContext, call: Call) -> Reply:
    """The newest signed checkpoint: JSON, or with `Accept: text/plain` the note alone, as a verifier reads it."""
    person = await context.auditor(call)
    answer = await context.gate.store.scan(lambda tx: _checkpoint(tx, person.user.tenant_id))
    if accepts(call, "text/plain"):
        return Reply(answer.checkpoint.encode(), content_type=b"text/plain; charset=utf-8")
    return tagged_reply(answer)


def _checkpoint(tx: Tx, tenant_id: str) -> CheckpointAnswer:
    kept = log.latest_kept(tx, tenant_id)
    key = signer_of(tx, tenant_id, kept.note)
    published = rfc3339_or_none(kept.published_at)
    return CheckpointAnswer(key.name, kept.size, kept.root, kept.note, str(key), rfc3339(kept.created_at), published)


async def get_proof(context: PeopleContext, call: Call) -> Reply:
    """The proof that an entry is in the log: hashes from its leaf up to the root."""
    person = await context.auditor(call)
    tenant_id, query = person.user.tenant_id, call.query()
    index, size = _required(query, "index"), whole(query, "size", 0, SIZE_MOST)

    def read(tx: Tx) -> InclusionAnswer:
        among = log.latest_kept(tx, tenant_id).size if size is None else size
        proof = log.inclusion(tx, tenant_id, index, among)
        return InclusionAnswer(index, among, _base64(log.root_of(tx, tenant_id, among)), _texts(proof))

    return tagged_reply(await context.gate.store.scan(read))


async def get_consistency(context: PeopleContext, call: Call) -> Reply:
    """The proof that the log only grew between two sizes: nothing before was changed or taken out."""
    person = await context.auditor(call)
    tenant_id, query = person.user.tenant_id, call.query()
    old, new = _required(query, "from"), whole(query, "to", 0, SIZE_MOST)

    def read(tx: Tx) -> ConsistencyAnswer:
        to = log.latest_kept(tx, tenant_id).size if new is None else new
        proof = log.consistency(tx, tenant_id, old, to)
        roots = _texts([log.root_of(tx, tenant_id, size) for size in (old, to)])
        return ConsistencyAnswer(old, to, roots[0], roots[1], _texts(proof))

    return tagged_reply(await context.gate.store.scan(read))


def _required(query: dict[str, str], name: str) -> int:
    number = whole(query, name, 0, SIZE_MOST)
    if number is None:
        raise Invalid(f"{name} is missing: a whole number", code=f"invalid_{name}")
    return number


def _texts(hashes: Sequence[bytes]) -> list[str]:
    return [_base64(one) for one in hashes]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def get_publishing(context: PeopleContext, call: Call) -> Reply:
    """Where the workspace's checkpoints are published, by which witnesses they are cosigned, and how often."""
    person = await context.auditor(call)
    found = await context.gate.store.scan(lambda tx: read_publishing(tx, person.user.tenant_id))
    return tagged_reply(_body(found))


async def put_publishing(context: PeopleContext, call: Call) -> Reply:
    """Sets all of it; a field that is left out is switched off. What fails later is told in a notice."""
    person = await context.admin(call)
    body = await read_as(call, PublishingBody)
    wanted = msgspec.convert(msgspec.to_builtins(body), Publishing)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> Publishing:
        require_match(call, _body(read_publishing(tx, tenant_id)))
        change_publishing(tx, gate.env, actor, tenant_id, wanted)
        return wanted

    return tagged_reply(_body(await context.change(person, unit)))


def _body(publishing: Publishing) -> PublishingBody:
    return msgspec.convert(msgspec.to_builtins(publishing), PublishingBody)
