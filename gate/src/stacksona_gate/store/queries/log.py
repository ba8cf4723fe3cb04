"""The sealed log: indexes of its leaves, tiles, checkpoints, and entries by their place in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.sealed_log import Backlog, KeptCheckpoint, LogKey
from stacksona_gate.store.queries.tenants import AUDIT
from stacksona_gate.store.rows import Mapper, Rows

LOG_KEYS: Final = Mapper(LogKey, "log_keys")
CHECKPOINTS: Final = Mapper(KeptCheckpoint, "checkpoints")
ROWS_MOST: Final = 64
"""Rows per statement, as where rows are inserted: its text stays under what the driver keeps prepared."""

_ENTRY: Final = ", ".join(f"audit.{column.strip()}" for column in AUDIT.columns.split(","))
_SEALED: Final = f"SELECT log_leaves.leaf_index, {_ENTRY} FROM"
# CROSS JOIN: whichever table stands first is the one that is gone through, on SQLite; elsewhere it is a join as any.
_IN_ORDER: Final = f"{_SEALED} log_leaves CROSS JOIN audit WHERE audit.seq = log_leaves.seq"
_LOOKED_UP: Final = f"{_SEALED} audit CROSS JOIN log_leaves WHERE log_leaves.seq = audit.seq"
_PLACE: Final = (
    "AND log_leaves.tenant_id = $1 AND log_leaves.leaf_index < $2 AND log_leaves.leaf_index >= $3"
    " ORDER BY log_leaves.leaf_index LIMIT $4"
)


class LogQueries:
    """Implements store.evidence.Log."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    # Keys

    def insert_key(self, key: LogKey) -> None:
        self._rows.run(LOG_KEYS.insert, *LOG_KEYS.values(key))

    def list_keys(self) -> list[LogKey]:
        return LOG_KEYS.list(self._rows.all(f"{LOG_KEYS.select} ORDER BY created_at, kid"))

    def retire_keys(self, now: int, *, except_kid: str) -> None:
        self._rows.run("UPDATE log_keys SET retired_at = $1 WHERE retired_at IS NULL AND kid <> $2", now, except_kid)

    # What waits

    def list_unsealed(self, tenant_id: str, most: int) -> list[tuple[int, str]]:
        sql = (
            "SELECT log_leaves.seq, COALESCE(audit.leaf, '') FROM log_leaves"
            " LEFT JOIN audit ON audit.seq = log_leaves.seq"
            " WHERE log_leaves.tenant_id = $1 AND log_leaves.leaf_index IS NULL ORDER BY log_leaves.seq LIMIT $2"
        )
        return [(row[0], row[1]) for row in self._rows.all(sql, tenant_id, most)]

    def last_unsealed(self, tenant_id: str) -> int | None:
        sql = "SELECT seq FROM log_leaves WHERE tenant_id = $1 AND leaf_index IS NULL ORDER BY seq DESC LIMIT 1"
        row = self._rows.one(sql, tenant_id)
        return None if row is None else int(row[0])

    def is_sealed_to(self, tenant_id: str, seq: int) -> bool:
        sql = "SELECT 1 FROM log_leaves WHERE tenant_id = $1 AND leaf_index IS NULL AND seq <= $2 LIMIT 1"
        return self._rows.one(sql, tenant_id, seq) is None

    def measure_backlog(self, tenant_id: str, most: int) -> Backlog:
        counted = self._rows.one(
            "SELECT COUNT(*) FROM"
            " (SELECT seq FROM log_leaves WHERE tenant_id = $1 AND leaf_index IS NULL LIMIT $2) AS waiting",
            tenant_id,
            most,
        )
        oldest = self._rows.one(
            "SELECT audit.at FROM log_leaves JOIN audit ON audit.seq = log_leaves.seq"
            " WHERE log_leaves.tenant_id = $1 AND log_leaves.leaf_index IS NULL ORDER BY log_leaves.seq LIMIT 1",
            tenant_id,
        )
        return Backlog(counted[0] if counted else 0, oldest[0] if oldest else None)

    # Sealing

    def number(self, tenant_id: str, first: int, seqs: Sequence[int]) -> None:
        changed = 0
        for start in range(0, len(seqs), ROWS_MOST):
            part = seqs[start : start + ROWS_MOST]
            pairs = chain.from_iterable((seq, first + start + i) for i, seq in enumerate(part))
            changed += self._rows.run(_numbering(len(part)), tenant_id, *pairs)
        if changed != len(seqs):
            raise Conflict("entries were sealed by somebody else at the same time")

    def find_tile(self, tenant_id: str, level: int, number: int) -> bytes:
        sql = "SELECT hashes FROM log_tiles WHERE tenant_id = $1 AND level = $2 AND number = $3"
        row = self._rows.one(sql, tenant_id, level, number)
        return bytes(row[0]) if row else b""

    def put_tiles(self, tenant_id: str, tiles: Mapping[tuple[int, int], bytes]) -> None:
        self._rows.many(
            "INSERT INTO log_tiles (tenant_id, level, number, hashes) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (tenant_id, level, number) DO UPDATE SET hashes = excluded.hashes",
            [(tenant_id, level, number, hashes) for (level, number), hashes in tiles.items()],
        )

    # Checkpoints

    def newest(self, tenant_id: str) -> KeptCheckpoint | None:
        sql = f"{CHECKPOINTS.select} WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1{self._rows.for_update}"
        return CHECKPOINTS.optional(self._rows.one(sql, tenant_id))

    def insert_checkpoint(self, checkpoint: KeptCheckpoint) -> None:
        self._rows.run(CHECKPOINTS.insert, *CHECKPOINTS.values(checkpoint))

    def find_checkpoint(self, tenant_id: str, size: int) -> KeptCheckpoint | None:
        sql = f"{CHECKPOINTS.select} WHERE tenant_id = $1 AND size = $2"
        return CHECKPOINTS.optional(self._rows.one(sql, tenant_id, size))

    def drop_checkpoint(self, tenant_id: str, size: int) -> None:
        self._rows.run("DELETE FROM checkpoints WHERE tenant_id = $1 AND size = $2", tenant_id, size)

    def publish_checkpoint(self, checkpoint: KeptCheckpoint) -> None:
        self._rows.run(
            f"{CHECKPOINTS.insert} ON CONFLICT (tenant_id, size)"
            " DO UPDATE SET note = excluded.note, published_at = excluded.published_at",
            *CHECKPOINTS.values(checkpoint),
        )

    # Entries by their place

    def list_sealed(self, tenant_id: str, start: int, limit: int, *, below: int) -> list[tuple[int, Entry]]:
        return self._sealed(f"{_IN_ORDER} {_PLACE}", tenant_id, below, start, limit)

    def span_between(self, tenant_id: str, since: int, until: int, *, below: int) -> tuple[int, int] | None:
        row = self._rows.one(
            "SELECT MIN(log_leaves.leaf_index), MAX(log_leaves.leaf_index) FROM audit CROSS JOIN log_leaves"
            " WHERE log_leaves.seq = audit.seq AND audit.tenant_id = $1 AND audit.at >= $2 AND audit.at < $3"
            " AND log_leaves.leaf_index < $4",
            tenant_id,
            since,
            until,
            below,
        )
        return None if row is None or row[0] is None else (row[0], row[1])

    def count_sealed_between(self, tenant_id: str, since: int, until: int, *, below: int) -> int:
        row = self._rows.one(
            "SELECT COUNT(*) FROM audit CROSS JOIN log_leaves"
            " WHERE log_leaves.seq = audit.seq AND audit.tenant_id = $1 AND audit.at >= $2 AND audit.at < $3"
            " AND log_leaves.leaf_index < $4",
            tenant_id,
            since,
            until,
            below,
        )
        return int(row[0]) if row else 0

    def list_sealed_between(
        self, tenant_id: str, since: int, until: int, *, start: int, below: int, limit: int
    ) -> list[tuple[int, Entry]]:
        sql = f"{_IN_ORDER} AND audit.tenant_id = $1 AND audit.at >= $5 AND audit.at < $6 {_PLACE}"
        return self._sealed(sql, tenant_id, below, start, limit, since, until)

    def list_sealed_of_request(
        self, tenant_id: str, request_id: str, since: int, *, start: int, below: int, limit: int
    ) -> list[tuple[int, Entry]]:
        of_request = f"{_LOOKED_UP} AND audit.tenant_id = $1 AND audit.request_id = $5"
        with_thread = f"{of_request} AND audit.thread_id IS NOT NULL {_PLACE}"
        without = f"{of_request} AND audit.thread_id IS NULL AND audit.at >= $6 {_PLACE}"
        found = self._sealed(with_thread, tenant_id, below, start, limit, request_id)
        return found or self._sealed(without, tenant_id, below, start, limit, request_id, since)

    def _sealed(self, sql: str, *parameters: Any) -> list[tuple[int, Entry]]:
        return [(row[0], AUDIT.value(self._rows, row[1:])) for row in self._rows.all(sql, *parameters)]


def _numbering(count: int) -> str:
    """One statement for many rows: a statement each would wait each for the interpreter's lock."""
    pairs = ", ".join(f"(${2 * i + 2}, ${2 * i + 3})" for i in range(count))
    return (
        f"UPDATE log_leaves SET leaf_index = numbered.column2 FROM (VALUES {pairs}) AS numbered"  # noqa: S608
        " WHERE log_leaves.tenant_id = $1 AND log_leaves.seq = numbered.column1 AND log_leaves.leaf_index IS NULL"
    )
