"""What the workspace masks, for whom, and what that would do to a sample."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stacksona_gate.api.fields import read_as, require_match, tagged_reply
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import as_is
from stacksona_gate.domain.audit import Actor
from stacksona_gate.service import redaction
from stacksona_gate.service.redaction import OwnPattern, Redaction
from stacksona_gate.service.transactions import Tx

PatternName = Literal["card_number", "api_key", "email", "iban"]
PathText = Annotated[str, Meta(min_length=1, max_length=500)]


class OwnPatternFields(msgspec.Struct, forbid_unknown_fields=True):
    """A pattern of your own, in RE2's syntax."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    pattern: Annotated[str, Meta(min_length=1, max_length=1000)]


class RedactionSettings(msgspec.Struct, forbid_unknown_fields=True):
    """What is masked. A field that is left out is as it is by default."""

    paths: Annotated[
        list[PathText],
        Meta(max_length=200, description="Into the payload, like customer.email; `*` is any key or list place"),
    ] = []
    patterns: Annotated[
        list[PatternName], Meta(max_length=4, description="What is recognised by its form, wherever it stands")
    ] = msgspec.field(default_factory=lambda: ["card_number", "api_key", "email"])
    own: Annotated[list[OwnPatternFields], Meta(max_length=50)] = []
    reveal_to: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=64)]],
        Meta(max_length=1000, description="Roles and ids of users for whom nothing is masked"),
    ] = msgspec.field(default_factory=lambda: ["admin"])


class RedactionSample(RedactionSettings, forbid_unknown_fields=True, kw_only=True):
    """Settings to try, which change nothing, and what to try them on."""

    payload: dict[str, object] = {}
    text: Annotated[str, Meta(max_length=20_000)] = ""


class RedactionPreview(msgspec.Struct):
    """The sample as somebody sees it for whom values are masked. `masked` names the places in the payload."""

    payload: dict[str, Any]
    text: str
    masked: list[str]


async def get_redaction(context: PeopleContext, call: Call) -> Reply:
    """What is masked in pages, notifications, logs and exports, and who sees it all the same."""
    person = await context.auditor(call)
    found = await context.gate.store.scan(lambda tx: redaction.read_redaction(tx, person.user.tenant_id))
    return tagged_reply(_answer(found))


async def put_redaction(context: PeopleContext, call: Call) -> Reply:
    """Replaces what is masked. It holds for everything that is read from now on; agents always read what they sent."""
    person = await context.admin(call)
    wanted = _wanted(await read_as(call, RedactionSettings))
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> Redaction:
        require_match(call, _answer(redaction.read_redaction(tx, tenant_id)))
        return redaction.change_redaction(tx, gate.env, actor, tenant_id, wanted)

    return tagged_reply(_answer(await context.change(person, unit)))


async def preview_redaction(context: PeopleContext, call: Call) -> Reply:
    """Shows what settings would mask of a sample. Nothing is changed and nothing kept."""
    await context.admin(call)
    sample = await read_as(call, RedactionSample)
    shown, text = redaction.preview(_wanted(sample), sample.payload, sample.text)
    return json_reply(RedactionPreview(as_is(shown.text), text, list(shown.places)))


def _wanted(fields: RedactionSettings) -> Redaction:
    own = tuple(OwnPattern(one.name, one.pattern) for one in fields.own)
    return Redaction(tuple(fields.paths), tuple(fields.patterns), own, tuple(fields.reveal_to))


def _answer(found: Redaction) -> RedactionSettings:
    patterns: Any = list(found.patterns)
    own = [OwnPatternFields(one.name, one.pattern) for one in found.own]
    return RedactionSettings(list(found.paths), patterns, own, list(found.reveal_to))
