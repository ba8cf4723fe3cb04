"""What the sealed log's noun keeps and finds, on each database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gate.tests.factories import START, TENANT, World, second_tenant

from stacksona_gate.domain.audit import GATE, Entry
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.domain.sealed_log import KeptCheckpoint, LogKey
from stacksona_gate.store.base import Tx
from stacksona_gate.store.migrate import all_migrations, statements
from stacksona_gate.store.sqlite import SQLiteStore
from stacksona_gate.store.sqlite_connection import DIALECT, SQLiteRows

OTHER = "other"
SECOND = 1_000_000


def entry(w: World, *, at: int = START, tenant_id: str = OTHER, request: str = "", thread: str = "") -> Entry:
    objects = {kind: given for kind, given in (("request", request), ("thread", thread)) if given}
    return w.env.entry("task.event", tenant_id=tenant_id, at=at, actor=GATE, objects=objects, private={"text": "one"})


async def empty_log(w: World) -> None:
    """A second workspace, whose entries so far are numbered 0, 1, … ."""
    await second_tenant(w, OTHER)
    await number_all(w)


async def number_all(w: World, first: int = 0) -> int:
    """Numbers whatever waits. Returns the next index."""

    def unit(tx: Tx) -> int:
        seqs = [seq for seq, _ in tx.log.list_unsealed(OTHER, 1000)]
        tx.log.number(OTHER, first, seqs)
        return first + len(seqs)

    return await w.write(unit)


async def append(w: World, *entries: Entry) -> None:
    for one in entries:
        await w.write(lambda tx, one=one: tx.audit.append(one))  # type: ignore[misc]


def checkpoint(size: int, root: str = "root") -> KeptCheckpoint:
    return KeptCheckpoint(TENANT, size, root, f"note of {size}", START, None)


# What waits


async def test_an_entry_waits_from_its_commit_on_in_the_order_of_the_commits(w: World) -> None:
    await empty_log(w)
    entries = [entry(w), entry(w), entry(w)]
    await append(w, *entries)
    waiting = await w.read(lambda tx: tx.log.list_unsealed(OTHER, 10))
    assert [leaf for _, leaf in waiting] == [one.leaf for one in entries]


async def test_an_entry_that_was_undone_does_not_wait(w: World) -> None:
    await empty_log(w)

    def fails(tx: Tx) -> None:
        tx.audit.append(entry(w))
        raise Conflict("undone")

    with pytest.raises(Conflict):
        await w.write(fails)
    assert await w.read(lambda tx: tx.log.last_unsealed(OTHER)) is None


async def test_entries_of_decisions_wait_too(w: World) -> None:
    before = await w.read(lambda tx: len(tx.log.list_unsealed(TENANT, 1000)))
    await w.ask(100)
    assert await w.read(lambda tx: len(tx.log.list_unsealed(TENANT, 1000))) == before + 1


async def test_no_more_wait_than_were_asked_for(w: World) -> None:
    await empty_log(w)
    await append(w, entry(w), entry(w), entry(w))
    assert len(await w.read(lambda tx: tx.log.list_unsealed(OTHER, 2))) == 2


async def test_the_backlog_says_how_many_wait_and_since_when(w: World) -> None:
    await empty_log(w)
    await append(w, entry(w, at=START + 5), entry(w, at=START + 9), entry(w, at=START + 9))
    backlog = await w.read(lambda tx: (tx.log.measure_backlog(OTHER, 100), tx.log.measure_backlog(OTHER, 2)))
    assert [(one.entries, one.oldest_at) for one in backlog] == [(3, START + 5), (2, START + 5)]


async def test_sealed_to_a_number_means_that_nothing_up_to_it_waits(w: World) -> None:
    await empty_log(w)
    await append(w, entry(w))
    last = await w.read(lambda tx: tx.log.last_unsealed(OTHER))
    assert last is not None
    assert await w.read(lambda tx: (tx.log.is_sealed_to(OTHER, last - 1), tx.log.is_sealed_to(OTHER, last))) == (
        True,
        False,
    )


# Indexes


async def test_numbered_entries_no_longer_wait_and_are_listed_by_index(w: World) -> None:
    await second_tenant(w, OTHER)
    entries = [entry(w) for _ in range(150)]
    first = await number_all(w)
    await append(w, *entries)
    size = await number_all(w, first)
    assert await w.read(lambda tx: tx.log.last_unsealed(OTHER)) is None
    listed = await w.read(lambda tx: tx.log.list_sealed(OTHER, first, 1000, below=size))
    assert listed == [(first + i, one) for i, one in enumerate(entries)]


async def test_a_listing_stops_at_the_size_and_at_the_limit(w: World) -> None:
    await second_tenant(w, OTHER)
    await append(w, *(entry(w) for _ in range(5)))
    await number_all(w)
    listed = await w.read(
        lambda tx: (tx.log.list_sealed(OTHER, 1, 100, below=4), tx.log.list_sealed(OTHER, 1, 2, below=4))
    )
    assert [[index for index, _ in one] for one in listed] == [[1, 2, 3], [1, 2]]


async def test_an_entry_is_numbered_once(w: World) -> None:
    await empty_log(w)
    await append(w, entry(w))
    ((seq, _),) = await w.read(lambda tx: tx.log.list_unsealed(OTHER, 10))
    await w.write(lambda tx: tx.log.number(OTHER, 50, [seq]))
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.log.number(OTHER, 51, [seq]))


async def test_two_entries_do_not_get_one_index(w: World) -> None:
    await empty_log(w)
    await append(w, entry(w), entry(w))
    (one, _), (two, _) = await w.read(lambda tx: tx.log.list_unsealed(OTHER, 10))
    await w.write(lambda tx: tx.log.number(OTHER, 50, [one]))
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.log.number(OTHER, 50, [two]))


# Tiles and checkpoints


async def test_a_tile_is_what_was_written_last(w: World) -> None:
    for content in (b"a" * 32, b"b" * 64):
        await w.write(lambda tx, c=content: tx.log.put_tiles(TENANT, {(0, 7): c, (1, 0): b"up"}))  # type: ignore[misc]
    found = await w.read(lambda tx: [tx.log.find_tile(TENANT, *key) for key in ((0, 7), (1, 0), (1, 7))])
    assert found == [b"b" * 64, b"up", b""]


async def test_the_newest_checkpoint_is_that_of_the_largest_size(w: World) -> None:
    for size in (2, 11, 7):
        await w.write(lambda tx, size=size: tx.log.insert_checkpoint(checkpoint(size)))  # type: ignore[misc]
    assert await w.read(lambda tx: tx.log.newest(TENANT)) == checkpoint(11)
    assert await w.read(lambda tx: tx.log.find_checkpoint(TENANT, 7)) == checkpoint(7)


async def test_there_are_no_two_checkpoints_of_one_size(w: World) -> None:
    await w.write(lambda tx: tx.log.insert_checkpoint(checkpoint(3)))
    with pytest.raises(Conflict):
        await w.write(lambda tx: tx.log.insert_checkpoint(checkpoint(3, "another")))


async def test_a_published_checkpoint_has_its_new_note_and_its_time(w: World) -> None:
    await w.write(lambda tx: tx.log.insert_checkpoint(checkpoint(3)))
    published = replace(checkpoint(3), note="cosigned", published_at=START + 1)
    await w.write(lambda tx: tx.log.publish_checkpoint(published))
    assert await w.read(lambda tx: tx.log.find_checkpoint(TENANT, 3)) == published


async def test_a_checkpoint_that_was_dropped_while_it_was_published_is_kept(w: World) -> None:
    published = replace(checkpoint(3), published_at=START + 1)
    await w.write(lambda tx: tx.log.insert_checkpoint(checkpoint(3)))
    await w.write(lambda tx: tx.log.drop_checkpoint(TENANT, 3))
    assert await w.read(lambda tx: tx.log.find_checkpoint(TENANT, 3)) is None
    await w.write(lambda tx: tx.log.publish_checkpoint(published))
    assert await w.read(lambda tx: tx.log.find_checkpoint(TENANT, 3)) == published


# Entries by time and by request


async def test_a_time_range_has_its_entries_and_no_others(w: World) -> None:
    await second_tenant(w, OTHER)
    times = [START + at * SECOND for at in (1, 2, 4, 3, 5)]
    first = await number_all(w)
    await append(w, *(entry(w, at=at) for at in times))
    size = await number_all(w, first)
    since, until = START + 2 * SECOND, START + 4 * SECOND
    span = await w.read(lambda tx: tx.log.span_between(OTHER, since, until, below=size))
    listed = await w.read(lambda tx: tx.log.list_sealed_between(OTHER, since, until, start=0, below=size, limit=100))
    assert span == (first + 1, first + 3)
    assert [index for index, _ in listed] == [first + 1, first + 3]


async def test_a_time_range_without_entries_has_no_span(w: World) -> None:
    await empty_log(w)
    assert await w.read(lambda tx: tx.log.span_between(OTHER, START - 9, START - 5, below=100)) is None


@pytest.mark.parametrize("thread", ["THR-1", ""])
async def test_a_requests_entries_are_found_with_and_without_a_thread(w: World, thread: str) -> None:
    await second_tenant(w, OTHER)
    first = await number_all(w)
    one, two = (entry(w, request="req_1", thread=thread) for _ in range(2))
    await append(w, one, entry(w, request="req_2", thread=thread), two)
    size = await number_all(w, first)
    found = await w.read(lambda tx: tx.log.list_sealed_of_request(OTHER, "req_1", START, start=0, below=size, limit=9))
    assert found == [(first, one), (first + 2, two)]


# Keys


async def test_log_keys_are_listed_oldest_first_and_retired_but_for_one(w: World) -> None:
    (first,) = await w.read(lambda tx: tx.log.list_keys())
    second = LogKey("log_2", "public", "wrapped", START + 1, None)
    await w.write(lambda tx: tx.log.insert_key(second))
    await w.write(lambda tx: tx.log.retire_keys(START + 2, except_kid="log_2"))
    assert await w.read(lambda tx: tx.log.list_keys()) == [replace(first, retired_at=START + 2), second]


# Databases of before


async def test_entries_of_a_database_from_before_the_log_wait_in_their_order(tmp_path: Path) -> None:
    path = str(tmp_path / "gate.db")
    rows = SQLiteRows(path)
    rows.begin()
    rows.run("CREATE TABLE migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    for migration in all_migrations()[:2]:
        for statement in statements(migration.sql, DIALECT):
            rows.run(statement)
        rows.run("INSERT INTO migrations (number, name) VALUES ($1, $2)", migration.number, migration.name)
    columns = ("tenant_id", "id", "event", "at", "actor_kind", "actor_id", "leaf", "private")
    rows.insert_many("audit", columns, [(TENANT, f"aud_{i}", "e", i, "gate", "gate", f"leaf {i}", "{}") for i in "123"])
    rows.execute("COMMIT")
    rows.close()
    store = SQLiteStore(path)
    store.start()
    try:
        waiting = await store.read(lambda tx: tx.log.list_unsealed(TENANT, 10))
    finally:
        store.close()
    assert [leaf for _, leaf in waiting] == ["leaf 1", "leaf 2", "leaf 3"]
