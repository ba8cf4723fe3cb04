"""The part of store.base that is about evidence: the keys that content rests encrypted with, and the sealed log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.sealed_log import Backlog, KeptCheckpoint, LogKey


@dataclass(frozen=True, slots=True)
class DataKey:
    """Encrypts a tenant's content at rest; wrapped by the root secret. A retired key still opens what it closed."""

    tenant_id: str
    id: str
    wrapped: str
    created_at: int
    retired_at: int | None


class Wrapping(Protocol):
    """What a store takes from the root secret to encrypt content."""

    def wrap(self, value: bytes, purpose: str) -> str: ...
    def unwrap(self, wrapped: str, purpose: str) -> bytes: ...
    def randomness(self, count: int) -> bytes: ...
    def now(self) -> int: ...


class Contents(Protocol):
    """What rests encrypted."""

    @property
    def places(self) -> int:
        """How many sets of columns there are: ``rewrite`` takes one by number."""
        ...

    def new_key(self, tenant_id: str, now: int) -> DataKey:
        """Makes a key that everything is encrypted with from now on."""
        ...

    def rewrite(self, tenant_id: str, place: int, after: Sequence[Any] | None, limit: int) -> tuple[Any, ...] | None:
        """Writes up to ``limit`` rows of a place anew where their key is not the one in use. Returns where to go on."""
        ...

    def drop_retired(self, tenant_id: str, key_id: str) -> int:
        """Forgets keys that nothing is encrypted with any more; none when ``key_id`` is not the one in use.

        Call it only after every place was rewritten with that key.
        """
        ...


class Log(Protocol):
    """The sealed log: a Merkle tree over each workspace's audit entries (RFC 6962), as tiles of 256 hashes."""

    def insert_key(self, key: LogKey) -> None: ...
    def list_keys(self) -> list[LogKey]:
        """Oldest first."""
        ...

    def retire_keys(self, now: int, *, except_kid: str) -> None: ...
    def list_unsealed(self, tenant_id: str, most: int) -> list[tuple[int, str]]:
        """Sequence number and leaf of committed entries without an index, oldest first; no leaf: its entry is gone."""
        ...

    def last_unsealed(self, tenant_id: str) -> int | None:
        """The highest sequence number of an entry without an index."""
        ...

    def is_sealed_to(self, tenant_id: str, seq: int) -> bool:
        """Whether no entry up to this sequence number waits."""
        ...

    def measure_backlog(self, tenant_id: str, most: int) -> Backlog:
        """What waits, counted no further than ``most``."""
        ...

    def number(self, tenant_id: str, first: int, seqs: Sequence[int]) -> None:
        """Gives entries their indexes, from ``first`` on. Raises Conflict when one of them has an index or is gone."""
        ...

    def find_tile(self, tenant_id: str, level: int, number: int) -> bytes:
        """A tile's hashes, one after the other; empty when there is none."""
        ...

    def put_tiles(self, tenant_id: str, tiles: Mapping[tuple[int, int], bytes]) -> None:
        """Writes tiles, by level and number, in place of what they were."""
        ...

    def newest(self, tenant_id: str) -> KeptCheckpoint | None:
        """The checkpoint of the largest size, held until the transaction ends where it writes."""
        ...

    def insert_checkpoint(self, checkpoint: KeptCheckpoint) -> None:
        """Raises Conflict when there is one of this size."""
        ...

    def find_checkpoint(self, tenant_id: str, size: int) -> KeptCheckpoint | None: ...
    def drop_checkpoint(self, tenant_id: str, size: int) -> None: ...
    def publish_checkpoint(self, checkpoint: KeptCheckpoint) -> None:
        """Keeps it, with the note and the time it was published with, also when it was dropped meanwhile."""
        ...

    def list_sealed(self, tenant_id: str, start: int, limit: int, *, below: int) -> list[tuple[int, Entry]]:
        """Entries with their indexes, ascending from ``start``, all under ``below``."""
        ...

    def span_between(self, tenant_id: str, since: int, until: int, *, below: int) -> tuple[int, int] | None:
        """The lowest and the highest index, under ``below``, of a time range's entries: where to look for them."""
        ...

    def count_sealed_between(self, tenant_id: str, since: int, until: int, *, below: int) -> int:
        """How many entries ``list_sealed_between`` would list in all."""
        ...

    def list_sealed_between(
        self, tenant_id: str, since: int, until: int, *, start: int, below: int, limit: int
    ) -> list[tuple[int, Entry]]:
        """Entries of a time range (microseconds, ``until`` exclusive), ascending by index from ``start`` on.

        Entries are in the order in which they were sealed, which is not quite that of their times.
        """
        ...

    def list_sealed_of_request(
        self, tenant_id: str, request_id: str, since: int, *, start: int, below: int, limit: int
    ) -> list[tuple[int, Entry]]:
        """Entries of a request, ascending by index from ``start`` on.

        Of one with a thread there is an index. Of one without, everything from ``since`` (a time before the request was
        made) is looked through: it takes as long as there is log since.
        """
        ...
