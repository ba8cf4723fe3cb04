"""What the processes on one database tell each other about themselves."""

from __future__ import annotations

from stacksona_gate.store.rows import Rows


class NodeQueries:
    """Implements store.base.Nodes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def say(self, name: str, held: str, now: int, lasts: int) -> None:
        self._rows.run(
            "INSERT INTO nodes (name, until, held) VALUES ($1, $2, $3)"
            " ON CONFLICT (name) DO UPDATE SET until = excluded.until, held = excluded.held",
            name,
            now + lasts,
            held,
        )
        # Nobody else clears up after a process that was killed. A busy row is another clean-up's.
        gone = f"SELECT name FROM nodes WHERE until < $1{self._rows.for_update}{self._rows.skip_locked}"  # noqa: S608
        self._rows.run(f"DELETE FROM nodes WHERE name IN ({gone})", now - 10 * lasts)  # noqa: S608 - our own text

    def list_others(self, name: str, now: int) -> list[str]:
        found = self._rows.all("SELECT held FROM nodes WHERE name <> $1 AND until > $2", name, now)
        return [row[0] for row in found]

    def leave(self, name: str) -> None:
        self._rows.run("DELETE FROM nodes WHERE name = $1", name)
