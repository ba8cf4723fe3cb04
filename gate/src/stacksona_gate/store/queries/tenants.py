"""Tenants, policies, the installation, idempotency keys, the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.tenants import OperatorKey
from stacksona_gate.domain.times import DAY
from stacksona_gate.store.base import Change, Idempotency, Installation, PolicyVersion, SigningKey, Tenant
from stacksona_gate.store.rows import Mapper, Row, Rows, SealedMapper

TENANTS: Final = Mapper(Tenant, "tenants")
POLICIES: Final = Mapper(PolicyVersion, "policies")
INSTALLATIONS: Final = Mapper(Installation, "installation")
SIGNING_KEYS: Final = Mapper(SigningKey, "signing_keys")
OPERATOR_KEYS: Final = Mapper(OperatorKey, "operator_keys")
AUDIT: Final = SealedMapper(Entry, "audit", sealed=("private",))
REPLAY_ANSWER: Final = "replays.answer"
_REPLAY: Final = ("tenant_id", "day", "scope", "fingerprint", "answer")

CONFIGURATION: Final = ""
"""The request id of a change that is about a tenant's configuration."""


class TenantQueries:
    """Implements store.base.Tenants."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self, tenant_id: str) -> Tenant | None:
        return TENANTS.optional(self._rows.one(f"{TENANTS.select} WHERE id = $1", tenant_id))

    def insert(self, tenant: Tenant) -> None:
        self._rows.run(TENANTS.insert, *TENANTS.values(tenant))

    def find_by_name(self, name: str) -> Tenant | None:
        return TENANTS.optional(self._rows.one(f"{TENANTS.select} WHERE name = $1", name))

    def update(self, tenant: Tenant) -> None:
        self._rows.run(
            "UPDATE tenants SET name = $1, suspended_at = $2, limits = $3 WHERE id = $4",
            tenant.name,
            tenant.suspended_at,
            tenant.limits,
            tenant.id,
        )

    def bump_config(self, tenant_id: str) -> int:
        self._rows.change_configuration([tenant_id])
        row = self._rows.one(
            "UPDATE tenants SET config_version = config_version + 1 WHERE id = $1 RETURNING config_version", tenant_id
        )
        self._rows.changes.append(Change(tenant_id, CONFIGURATION))
        return int(row[0]) if row else 0

    def bump_all_configs(self) -> None:
        self._rows.change_configuration([tenant.id for tenant in self.list_all()])
        moved = self._rows.all("UPDATE tenants SET config_version = config_version + 1 RETURNING id")
        self._rows.changes += [Change(row[0], CONFIGURATION) for row in moved]

    def list_all(self) -> list[Tenant]:
        return TENANTS.list(self._rows.all(f"{TENANTS.select} ORDER BY id"))

    def get_setting(self, tenant_id: str, name: str) -> str | None:
        row = self._rows.one("SELECT value FROM settings WHERE tenant_id = $1 AND name = $2", tenant_id, name)
        return row[0] if row else None

    def set_setting(self, tenant_id: str, name: str, value: str) -> None:
        self._rows.run(
            "INSERT INTO settings (tenant_id, name, value) VALUES ($1, $2, $3)"
            " ON CONFLICT (tenant_id, name) DO UPDATE SET value = excluded.value",
            tenant_id,
            name,
            value,
        )


class PolicyQueries:
    """Implements store.base.Policies."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert(self, version: PolicyVersion) -> None:
        self._rows.run(POLICIES.insert, *POLICIES.values(version))
        self._rows.run("UPDATE tenants SET policy_version = $1 WHERE id = $2", version.version, version.tenant_id)

    def find(self, tenant_id: str, version: int) -> PolicyVersion | None:
        sql = f"{POLICIES.select} WHERE tenant_id = $1 AND version = $2"
        return POLICIES.optional(self._rows.one(sql, tenant_id, version))

    def list_all(self, tenant_id: str) -> list[PolicyVersion]:
        return POLICIES.list(self._rows.all(f"{POLICIES.select} WHERE tenant_id = $1 ORDER BY version DESC", tenant_id))

    def list_discovered(self, tenant_id: str) -> list[tuple[str, int, str]]:
        sql = "SELECT name, first_seen_at, first_agent_id FROM discovered_tools WHERE tenant_id = $1 ORDER BY name"
        return [(row[0], row[1], row[2]) for row in self._rows.all(sql, tenant_id)]


class InstallationQueries:
    """Implements store.base.Installations."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self) -> Installation | None:
        return INSTALLATIONS.optional(self._rows.one(INSTALLATIONS.select))

    def insert(self, installation: Installation) -> None:
        self._rows.run(INSTALLATIONS.insert, *INSTALLATIONS.values(installation))

    def insert_signing_key(self, key: SigningKey) -> None:
        self._rows.run(SIGNING_KEYS.insert, *SIGNING_KEYS.values(key))

    def list_signing_keys(self) -> list[SigningKey]:
        return SIGNING_KEYS.list(self._rows.all(f"{SIGNING_KEYS.select} ORDER BY created_at, kid"))

    def retire_signing_keys(self, now: int, *, except_kid: str) -> None:
        self._rows.run(
            "UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL AND kid <> $2", now, except_kid
        )

    def insert_operator_key(self, key: OperatorKey) -> None:
        self._rows.run(OPERATOR_KEYS.insert, *OPERATOR_KEYS.values(key))

    def find_operator_key(self, key_hash: str) -> OperatorKey | None:
        return OPERATOR_KEYS.optional(self._rows.one(f"{OPERATOR_KEYS.select} WHERE hash = $1", key_hash))

    def list_operator_keys(self) -> list[OperatorKey]:
        return OPERATOR_KEYS.list(self._rows.all(f"{OPERATOR_KEYS.select} ORDER BY created_at, id"))

    def revoke_operator_key(self, key_id: str, now: int) -> bool:
        sql = "UPDATE operator_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL"
        return self._rows.run(sql, now, key_id) == 1

    def tell_demands(self, node: str, asked: Mapping[str, int], *, now: int, until: int) -> None:
        self._rows.run("DELETE FROM demands WHERE until <= $1", now)
        self._rows.many(
            "INSERT INTO demands (subject, node, asked, until) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (subject, node) DO UPDATE SET asked = excluded.asked, until = excluded.until",
            [(subject, node, count, until) for subject, count in sorted(asked.items())],
        )

    def list_demands(self, now: int) -> list[tuple[str, str, int]]:
        rows = self._rows.all("SELECT subject, node, asked FROM demands WHERE until > $1", now)
        return [(row[0], row[1], row[2]) for row in rows]


class ReplayQueries:
    """Implements store.base.Replays. A key counts on the day it was first sent and on the day after."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self, tenant_id: str, scope: str, now: int) -> Idempotency | None:
        day = now // DAY
        # The day after, too: a clock that was set back must not make a key forgotten.
        row = self._rows.one(
            "SELECT scope, fingerprint, answer FROM replays"
            " WHERE tenant_id = $1 AND day IN ($2, $3, $4) AND scope = $5",
            tenant_id,
            day - 1,
            day,
            day + 1,
            scope,
        )
        if row is None:
            return None
        return Idempotency(row[0], row[1], self._rows.content.open(self._rows, REPLAY_ANSWER, row[2]))

    def find_all(self, tenant_id: str, scopes: Sequence[str], now: int) -> dict[str, Idempotency]:
        """As ``find``, for many at once: by scope, those that there are."""
        if len(scopes) == 1:
            found = self.find(tenant_id, scopes[0], now)
            return {} if found is None else {found.scope: found}
        marks = ", ".join(f"${i + 5}" for i in range(len(scopes)))
        day = now // DAY
        rows = self._rows.all(
            "SELECT scope, fingerprint, answer FROM replays"  # noqa: S608 - marks only
            f" WHERE tenant_id = $1 AND day IN ($2, $3, $4) AND scope IN ({marks})",
            tenant_id,
            day - 1,
            day,
            day + 1,
            *scopes,
        )
        content = self._rows.content
        return {row[0]: Idempotency(row[0], row[1], content.open(self._rows, REPLAY_ANSWER, row[2])) for row in rows}

    def insert_all(self, replays: Sequence[tuple[str, Idempotency, int]]) -> None:
        """As ``insert``, for many at once: of each the tenant, the answer to keep, and the moment."""
        if replays:
            self._rows.insert_many("replays", _REPLAY, [self._row(*one) for one in replays])

    def _row(self, tenant_id: str, replay: Idempotency, now: int) -> Row:
        sealed = self._rows.content.seal(self._rows, tenant_id, REPLAY_ANSWER, replay.answer)
        return (tenant_id, now // DAY, replay.scope, replay.fingerprint, sealed)

    def insert(self, tenant_id: str, replay: Idempotency, now: int) -> None:
        self._rows.run(
            "INSERT INTO replays (tenant_id, day, scope, fingerprint, answer) VALUES ($1, $2, $3, $4, $5)",
            tenant_id,
            now // DAY,
            replay.scope,
            replay.fingerprint,
            self._rows.content.seal(self._rows, tenant_id, REPLAY_ANSWER, replay.answer),
        )

    def delete_before(self, tenant_id: str, day: int, most: int) -> int:
        return self._rows.run(
            "DELETE FROM replays WHERE tenant_id = $1 AND (day, scope) IN"
            " (SELECT day, scope FROM replays WHERE tenant_id = $1 AND day < $2 LIMIT $3)",
            tenant_id,
            day,
            most,
        )


class AuditQueries:
    """Implements store.base.Audit."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def append(self, entry: Entry) -> None:
        self._rows.run(AUDIT.insert, *AUDIT.row(self._rows, entry))
        if entry.request_id is not None:
            self._rows.changes.append(Change(entry.tenant_id, entry.request_id))

    def append_all(self, entries: Sequence[Entry]) -> None:
        insert_entries(self._rows, entries)

    def list_entries(
        self, tenant_id: str, *, request_id: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[tuple[int, Entry]]:
        conditions, parameters = ["tenant_id = $1"], [tenant_id, limit]
        table = "audit" + ("" if request_id is not None else self._rows.in_order)
        if request_id is not None:
            conditions.append(f"request_id = ${len(parameters) + 1} AND thread_id IS NOT NULL")
            parameters.append(request_id)
        if before is not None:
            conditions.append(f"seq < ${len(parameters) + 1}")
            parameters.append(before)
        sql = f"SELECT seq, {AUDIT.columns} FROM {table} WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT $2"  # noqa: S608
        return [(row[0], AUDIT.value(self._rows, row[1:])) for row in self._rows.all(sql, *parameters)]


def insert_entries(rows: Rows, entries: Sequence[Entry]) -> None:
    if entries:
        rows.insert_many(AUDIT.table, AUDIT.stored, [AUDIT.row(rows, entry) for entry in entries])
