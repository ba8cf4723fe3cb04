"""Where a workspace's checkpoints are published, and how far that has come. The calls themselves are delivery's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import FieldError, Invalid, Malformed
from stacksona_gate.domain.sealed_log import KeptCheckpoint
from stacksona_gate.domain.signed_notes import COSIGNATURE_V1, VerifierKey, parse_note, parse_verifier_key
from stacksona_gate.domain.times import MINUTE, SECOND
from stacksona_gate.service.endpoints import checked_url
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.notices import add_notice
from stacksona_gate.service.workspace_settings import change_setting
from stacksona_gate.store.base import Tx

LONGEST_MINUTES: Final = 10_080
MAIL_MOST: Final = 20
WITNESSES_MOST: Final = 20
PATTERN_MOST: Final = 200
LEASE_LASTS: Final = 120 * SECOND
"""Longer than all calls of one publishing take."""

_NAME: Final = "publishing"
_STATE: Final = "publishing.state"
_MAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}", re.ASCII)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_WITNESS: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


class WitnessAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A witness (C2SP tlog-witness). `url`: what comes before `/add-checkpoint`; `vkey`: the key that it signs with."""

    name: str
    url: str
    vkey: str

    @property
    def key(self) -> VerifierKey:
        return parse_verifier_key(self.vkey)


class Publishing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every so many minutes a checkpoint that is new goes to witnesses, and with their cosignatures to a file, a URL,
    mail addresses. 0 minutes: nothing is sent, checkpoints are only there to be had.

    `file` is a path under the workspace's folder in the folder that the operator has named; `{size}` in it stands for
    the size of the log.
    """

    every_minutes: int = 0
    file: str | None = None
    url: str | None = None
    mail: tuple[str, ...] = ()
    witnesses: tuple[WitnessAddress, ...] = ()


class _State(msgspec.Struct, frozen=True):
    """``acknowledged``: the size that each witness last cosigned, by its key. ``complete``: everything went through."""

    tried_at: int = 0
    complete: bool = False
    acknowledged: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Publication:
    """A checkpoint on its way out."""

    tenant_id: str
    publishing: Publishing
    checkpoint: KeptCheckpoint
    acknowledged: Mapping[str, int]
    fence: int


@dataclass(frozen=True, slots=True)
class Published:
    """What became of it. ``cosignatures``: signature lines, verified; ``failed``: kinds of places, in words."""

    cosignatures: tuple[str, ...]
    acknowledged: Mapping[str, int]
    failed: tuple[str, ...]
    succeeded: bool
    """At least one place has it, or one witness signed."""


def read_publishing(tx: Tx, tenant_id: str) -> Publishing:
    """What holds now: nothing is sent where nobody has set anything."""
    kept = tx.tenants.get_setting(tenant_id, _NAME)
    return Publishing() if kept is None else msgspec.json.decode(kept, type=Publishing)


def change_publishing(tx: Tx, env: Environment, actor: Actor, tenant_id: str, wanted: Publishing) -> None:
    """Raises Invalid naming each field that is wrong."""
    check_publishing(wanted)
    change_setting(tx, env, actor, tenant_id, _NAME, read_publishing(tx, tenant_id), wanted)


def check_publishing(wanted: Publishing) -> None:
    """Raises Invalid naming each field that is wrong."""
    errors = [*_wrong_places(wanted), *_wrong_witnesses(wanted.witnesses)]
    if errors:
        raise Invalid(f"publishing cannot be set so: {errors[0].field}: {errors[0].message}", errors=tuple(errors))


def _wrong_places(wanted: Publishing) -> list[FieldError]:
    errors = []
    if not 0 <= wanted.every_minutes <= LONGEST_MINUTES:
        errors.append(FieldError("every_minutes", f"from 0 to {LONGEST_MINUTES}"))
    if wanted.file is not None and not is_pattern(wanted.file):
        errors.append(FieldError("file", "a relative path of letters, digits, . _ - and /, with {size} where wanted"))
    if wanted.url is not None and not _is_url(wanted.url):
        errors.append(FieldError("url", "not a usable address"))
    if len(wanted.mail) > MAIL_MOST or not all(map(_MAIL.fullmatch, wanted.mail)):
        errors.append(FieldError("mail", f"at most {MAIL_MOST} plain mail addresses"))
    return errors


def _wrong_witnesses(witnesses: Sequence[WitnessAddress]) -> list[FieldError]:
    errors = [] if len(witnesses) <= WITNESSES_MOST else [FieldError("witnesses", f"at most {WITNESSES_MOST}")]
    if len({one.name for one in witnesses}) < len(witnesses) or len({one.vkey for one in witnesses}) < len(witnesses):
        errors.append(FieldError("witnesses", "each has a name and a key of its own"))
    for number, one in enumerate(witnesses):
        if not _WITNESS.fullmatch(one.name):
            errors.append(FieldError(f"witnesses.{number}.name", "up to 100 letters, digits, . _ -"))
        if not _is_url(one.url):
            errors.append(FieldError(f"witnesses.{number}.url", "not a usable address"))
        if not _is_witness_key(one.vkey):
            errors.append(
                FieldError(f"witnesses.{number}.vkey", "not a witness's verifier key (C2SP tlog-cosignature)")
            )
    return errors


def is_pattern(pattern: str) -> bool:
    """Whether a path stays below the folder that it is taken in, whatever the size is."""
    filled = pattern.replace("{size}", "0")
    return len(pattern) <= PATTERN_MOST and all(map(_SEGMENT.fullmatch, filled.split("/")))


def _is_url(url: str) -> bool:
    try:
        checked_url(url)
    except Invalid:
        return False
    return True


def _is_witness_key(vkey: str) -> bool:
    try:
        return parse_verifier_key(vkey).algorithm == COSIGNATURE_V1
    except Malformed:
        return False


# On a schedule


def list_due(tx: Tx, now: int) -> list[str]:
    """Workspaces whose checkpoint is to be published now."""
    return [tenant.id for tenant in tx.tenants.list_all() if _is_due(tx, tenant.id, now)]


def _is_due(tx: Tx, tenant_id: str, now: int) -> bool:
    every = read_publishing(tx, tenant_id).every_minutes * MINUTE
    if not every:
        return False
    tried = _state(tx, tenant_id).tried_at
    return not tried <= now < tried + every  # a time still to come was written by a clock that has been set back since


def begin_publication(tx: Tx, env: Environment, tenant_id: str, holder: str) -> Publication | None:
    """Takes the newest checkpoint to be published. None: another process does it, or there is nothing new."""
    fence = tx.leases.take(_lease(tenant_id), holder, env.shared_now(tx), LEASE_LASTS)
    if fence is None:
        return None
    state, checkpoint = _state(tx, tenant_id), tx.log.newest(tenant_id)
    _keep(tx, tenant_id, msgspec.structs.replace(state, tried_at=env.now()))
    if checkpoint is None or (state.complete and checkpoint.published_at is not None):
        tx.leases.give_back(_lease(tenant_id), holder, fence)
        return None
    return Publication(tenant_id, read_publishing(tx, tenant_id), checkpoint, state.acknowledged, fence)


def finish_publication(tx: Tx, env: Environment, holder: str, publication: Publication, done: Published) -> None:
    """Keeps the checkpoint with its cosignatures, and tells the admins when something failed."""
    tenant_id = publication.tenant_id
    if not tx.leases.holds(_lease(tenant_id), holder, publication.fence):
        return
    state = _State(_state(tx, tenant_id).tried_at, not done.failed, dict(done.acknowledged))
    _keep(tx, tenant_id, state)
    if done.succeeded:
        kept = tx.log.find_checkpoint(tenant_id, publication.checkpoint.size) or publication.checkpoint
        note = with_cosignatures(kept.note, done.cosignatures)
        tx.log.publish_checkpoint(replace(kept, note=note, published_at=env.now()))
    if done.failed:
        text = (
            f"A checkpoint of the audit log could not be published: {', '.join(done.failed)}. It will be tried again."
        )
        add_notice(tx, env, tenant_id, "publishing_failed", text, {"setting": _NAME})
    tx.leases.give_back(_lease(tenant_id), holder, publication.fence)


def with_cosignatures(note: str, lines: Sequence[str]) -> str:
    """A note with signature lines added; one of a key that has signed it already takes that one's place."""
    added = [parse_note(f"-\n\n{line}").signatures[0] for line in lines]
    names = {(one.name, one.key_id) for one in added}
    parsed = parse_note(note)
    kept = tuple(one for one in parsed.signatures if (one.name, one.key_id) not in names)
    return str(replace(parsed, signatures=(*kept, *added)))


def _state(tx: Tx, tenant_id: str) -> _State:
    kept = tx.tenants.get_setting(tenant_id, _STATE)
    return _State() if kept is None else msgspec.json.decode(kept, type=_State)


def _keep(tx: Tx, tenant_id: str, state: _State) -> None:
    tx.tenants.set_setting(tenant_id, _STATE, msgspec.json.encode(state).decode())


def _lease(tenant_id: str) -> str:
    return f"publish {tenant_id}"
