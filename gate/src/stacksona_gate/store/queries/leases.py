"""Work that one process at a time does."""

from __future__ import annotations

from stacksona_gate.store.rows import Rows


class LeaseQueries:
    """Implements store.base.Leases."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def now(self, own: int) -> int:
        return self._rows.now(own)

    def take(self, name: str, holder: str, now: int, lasts: int) -> int | None:
        row = self._rows.one(
            "INSERT INTO leases (name, holder, until, fence) VALUES ($1, $2, $3, 1)"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,"
            " fence = leases.fence + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END"
            # A time further ahead than a lease lasts was written by a clock that has been set back since.
            " WHERE leases.holder = excluded.holder OR leases.until <= $4 OR leases.until > excluded.until"
            " RETURNING fence",
            name,
            holder,
            now + lasts,
            now,
        )
        return int(row[0]) if row else None

    def holds(self, name: str, holder: str, fence: int) -> bool:
        sql = f"SELECT 1 FROM leases WHERE name = $1 AND holder = $2 AND fence = $3{self._rows.for_update}"  # noqa: S608
        return self._rows.one(sql, name, holder, fence) is not None

    def list_held(self, now: int) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._rows.all("SELECT name, holder FROM leases WHERE until > $1", now)]

    def give_back(self, name: str, holder: str, fence: int) -> None:
        self._rows.run(
            "UPDATE leases SET until = 0 WHERE name = $1 AND holder = $2 AND fence = $3", name, holder, fence
        )
