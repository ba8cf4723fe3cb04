"""The whole policy: reading, replacing, versions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol

from stacksona_gate.api.admin.answers import (
    PolicyAnswer,
    PolicyAuthor,
    PolicyChanged,
    PolicyDifference,
    PolicyStep,
    PolicyVersionAnswer,
    PolicyVersionList,
    PolicyVersionSummary,
)
from stacksona_gate.api.fields import accepts, media_type, require_tag, tagged_reply, whole, whole_of
from stacksona_gate.api.http import Call, Header, Reply, json_reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Invalid, Malformed, UnsupportedMediaType
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service import policies, policy_edits
from stacksona_gate.service.transactions import Tx

YAML_TYPES: Final = ("application/yaml", "application/x-yaml", "text/yaml")
POLICY_MOST: Final = 1_000_000
VERSION_MOST: Final = 2**31
NOTE_MOST: Final = 500


class _Step(Protocol):
    """A difference, as the policy package says it."""

    @property
    def kind(self) -> Any: ...
    @property
    def tool(self) -> str | None: ...
    @property
    def rule(self) -> str | None: ...
    @property
    def line(self) -> str: ...


def tag_of(version: int) -> str:
    """The policy's ETag: its version says everything."""
    return f'"policy-{version}"'


def _headers(version: int) -> tuple[Header, ...]:
    return (b"etag", tag_of(version).encode()), (b"vary", b"accept")


def steps(changes: Iterable[_Step]) -> list[PolicyStep]:
    """Differences as they are answered."""
    return [PolicyStep(change.kind, change.tool, change.rule, change.line) for change in changes]


async def get_policy(context: PeopleContext, call: Call) -> Reply:
    """The policy in force: a JSON document, or with `Accept: application/yaml` its YAML text."""
    person = await context.auditor(call)
    current = await context.gate.store.scan(lambda tx: policies.current_policy(tx, person.user.tenant_id))
    headers = _headers(current.version)
    if accepts(call, *YAML_TYPES):
        return Reply(current.document.encode(), content_type=b"application/yaml", headers=headers)
    return json_reply(PolicyAnswer(current.version, policy_edits.document_of(current.policy)), headers=headers)


async def put_policy(context: PeopleContext, call: Call) -> Reply:
    """Replaces the whole policy by a new version. Send YAML text, or the document as JSON.

    Everything that is wrong comes at once, each with its place in the text. The same policy again makes no version.
    """
    person = await context.admin(call)
    note = _note(call.query())
    policy = await asyncio.to_thread(policy_edits.read_policy, await _text(call))
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> PolicyChanged:
        require_tag(call, tag_of(policy_edits.version_in_force(tx, tenant_id)))
        version, changes = policies.apply_policy(tx, gate.env, actor, tenant_id, policy, note=note)
        return PolicyChanged(version, steps(changes))

    changed = await context.change(person, unit)
    return json_reply(changed, headers=_headers(changed.version))


async def _text(call: Call) -> str:
    """YAML or JSON as it came: problems are told by line and column of what the caller wrote."""
    kind = media_type(call)
    if kind not in ("", "application/json", *YAML_TYPES):
        raise UnsupportedMediaType(f"send application/yaml or application/json, not {kind[:100]!r}")
    try:
        return (await call.body(POLICY_MOST)).decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: byte {error.start} is wrong; encode it as UTF-8") from None


def _note(query: dict[str, str]) -> str:
    note = query.get("note", "")
    if len(note) > NOTE_MOST:
        raise Invalid(f"a note has at most {NOTE_MOST} characters", code="invalid_note")
    return note


async def get_versions(context: PeopleContext, call: Call) -> Reply:
    """Every version that was ever in force, newest first."""
    person = await context.auditor(call)
    versions = await context.gate.store.scan(lambda tx: policy_edits.list_versions(tx, person.user.tenant_id))
    return tagged_reply(PolicyVersionList([PolicyVersionSummary(**_summary(version)) for version in versions]))


def _summary(version: Any) -> dict[str, Any]:
    return {
        "version": version.version,
        "note": version.note,
        "author": PolicyAuthor(version.actor_kind, version.actor_id),
        "created_at": rfc3339(version.created_at),
    }


async def get_version(context: PeopleContext, call: Call) -> Reply:
    """One version with its document, as JSON or YAML."""
    person = await context.auditor(call)
    number = _version(call)
    kept = await context.gate.store.scan(lambda tx: policies.get_version(tx, person.user.tenant_id, number))
    if accepts(call, *YAML_TYPES):
        return Reply(kept.document.encode(), content_type=b"application/yaml", headers=_headers(number))
    document = policy_edits.document_of(await asyncio.to_thread(policy_edits.read_policy, kept.document))
    return json_reply(PolicyVersionAnswer(**_summary(kept), document=document), headers=_headers(number))


def _version(call: Call) -> int:
    return whole_of(call.path["version"], "version", 0, VERSION_MOST)


async def revert(context: PeopleContext, call: Call) -> Reply:
    """Puts an earlier version in force again, as a new version. Version 0 is the empty policy."""
    person = await context.admin(call)
    number = _version(call)
    gate, tenant_id = context.gate, person.user.tenant_id

    def unit(tx: Tx, actor: Actor) -> PolicyChanged:
        require_tag(call, tag_of(policy_edits.version_in_force(tx, tenant_id)))
        version, changes = policies.revert_policy(tx, gate.env, actor, tenant_id, number)
        return PolicyChanged(version, steps(changes))

    changed = await context.change(person, unit)
    return json_reply(changed, headers=_headers(changed.version))


async def get_difference(context: PeopleContext, call: Call) -> Reply:
    """What changed from one version to another, in lines; without `to`, up to the one in force."""
    person = await context.auditor(call)
    query, tenant_id = call.query(), person.user.tenant_id
    old, wanted = whole(query, "from", 0, VERSION_MOST), whole(query, "to", 0, VERSION_MOST)
    if old is None:
        raise Invalid("from is missing: name the version to compare with", code="invalid_from")

    def query_of(tx: Tx) -> PolicyDifference:
        new = policy_edits.version_in_force(tx, tenant_id) if wanted is None else wanted
        return PolicyDifference(old, new, steps(policy_edits.compare_versions(tx, tenant_id, old, new)))

    return tagged_reply(await context.gate.store.scan(query_of))
