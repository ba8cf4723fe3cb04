"""Checkpoints on their way out, into a folder and over HTTP, and when they go."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gate.tests.delivery.publishers import configure, kept, notices, publisher, sealed
from gate.tests.delivery.receivers import OK, hangs, receiving, says
from gate.tests.factories import PATIENCE, TENANT, World, second_tenant

from stacksona_gate.delivery.publishing import Publisher
from stacksona_gate.service.log import seal_now

MINUTE = 60.0


# Files


async def test_a_checkpoint_is_written_below_the_workspaces_own_folder(w: World, tmp_path: Path) -> None:
    await configure(w, file="{size}.txt")
    made = await sealed(w)
    done = await publisher(w, folder=tmp_path).publish(TENANT)
    assert done is not None
    assert not done.failed
    assert (tmp_path / TENANT / f"{made.size}.txt").read_text() == made.note
    assert (await kept(w, made.size)).published_at == w.env.now()


async def test_a_file_of_one_name_always_has_the_newest_checkpoint(w: World, tmp_path: Path) -> None:
    await configure(w, file="deeper/latest.txt")
    for _ in range(2):
        made = await sealed(w)
        await publisher(w, folder=tmp_path).publish(TENANT)
    assert [path.name for path in (tmp_path / TENANT / "deeper").iterdir()] == ["latest.txt"]
    assert (tmp_path / TENANT / "deeper/latest.txt").read_text() == made.note


async def test_a_link_does_not_lead_out_of_the_folder(w: World, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "checkpoints", tmp_path / "elsewhere"
    (folder / TENANT).mkdir(parents=True)
    elsewhere.mkdir()
    (folder / TENANT / "out").symlink_to(elsewhere)
    await configure(w, file="out/deeper/{size}.txt")
    await sealed(w)
    done = await publisher(w, folder=folder).publish(TENANT)
    assert done is not None
    assert done.failed == ("file",)
    assert list(elsewhere.iterdir()) == []


async def test_without_a_folder_of_the_operators_nothing_is_written_and_admins_are_told_once(w: World) -> None:
    await configure(w, file="{size}.txt")
    made = await sealed(w)
    out = publisher(w)
    for _ in range(2):
        done = await out.publish(TENANT)
        assert done is not None
        assert done.failed == ("file",)
    assert len(await notices(w)) == 1
    assert (await kept(w, made.size)).published_at is None


# HTTP


async def test_a_checkpoint_is_posted_as_it_is(w: World) -> None:
    made = await sealed(w)
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/log")
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert done.succeeded
    assert receiver.bodies == [made.note.encode()]
    assert receiver.headers()["content-type"] == "text/plain; charset=utf-8"


async def test_no_checkpoint_goes_to_an_address_that_the_guard_refuses(w: World) -> None:
    await sealed(w)
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/log")
        done = await publisher(w, allowed="").publish(TENANT)
    assert done is not None
    assert done.failed == ("HTTP",)
    assert receiver.connections == 0


async def test_an_endpoint_that_refuses_is_told_to_the_admins_and_tried_again(w: World) -> None:
    await sealed(w)
    out = publisher(w)
    async with receiving(says(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")) as broken:
        await configure(w, url=f"http://127.0.0.1:{broken.port}/")
        await out.publish(TENANT)
    assert [text for text in await notices(w) if "HTTP" in text]
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        done = await out.publish(TENANT)
    assert done is not None
    assert not done.failed


async def test_sealing_does_not_wait_for_an_endpoint_that_hangs(w: World) -> None:
    made = await sealed(w)
    async with receiving(hangs) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        publishing = asyncio.create_task(publisher(w).publish(TENANT))
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        later = await asyncio.wait_for(sealed(w), PATIENCE)
        assert not publishing.done()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    assert later.size > made.size


async def test_a_checkpoint_that_was_superseded_while_it_went_out_is_kept(w: World) -> None:
    made = await sealed(w)

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sealed(w)
        writer.write(OK)

    async with receiving(slowly) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        await publisher(w).publish(TENANT)
    assert (await kept(w, made.size)).published_at is not None


# The schedule


async def test_nothing_is_due_where_nobody_has_set_a_schedule(w: World, tmp_path: Path) -> None:
    await configure(w, file="{size}.txt")
    await sealed(w)
    await rounds(publisher(w, folder=tmp_path))
    assert published(tmp_path) == set()


async def test_what_is_new_is_published_every_so_many_minutes(w: World, tmp_path: Path) -> None:
    await configure(w, file="{size}.txt", every_minutes=10)
    out, first = publisher(w, folder=tmp_path), await sealed(w)
    await rounds(out)
    second = await sealed(w)
    await rounds(out)
    assert published(tmp_path) == {first.size}
    w.clock.advance(10 * MINUTE)
    await rounds(out)
    assert published(tmp_path) == {first.size, second.size}


async def test_what_is_not_new_is_not_published_again(w: World) -> None:
    await sealed(w)
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/", every_minutes=1)
        await seal_now(w.gate, TENANT)
        out = publisher(w)
        for _ in range(3):
            await rounds(out)
            w.clock.advance(MINUTE)
    assert receiver.connections == 1


async def test_a_workspace_whose_endpoint_hangs_does_not_delay_another(w: World) -> None:
    await second_tenant(w, "other")
    await sealed(w)
    await seal_now(w.gate, "other")
    async with receiving(hangs) as stuck, receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{stuck.port}/", every_minutes=1)
        await configure(w, "other", url=f"http://127.0.0.1:{receiver.port}/", every_minutes=1)
        out = publisher(w)
        await out.round()
        await asyncio.wait_for(stuck.arrived.wait(), PATIENCE)
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        await out.stop()


async def test_two_processes_publish_it_once(w: World) -> None:
    await sealed(w)
    async with receiving(hangs) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        first = asyncio.create_task(publisher(w).publish(TENANT))
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        assert await publisher(w).publish(TENANT) is None
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def rounds(out: Publisher) -> None:
    """A round, and what it began to its end."""
    await out.round()
    await asyncio.gather(*out._running.values())


def published(folder: Path) -> set[int]:
    return {int(path.stem) for path in (folder / TENANT).glob("*.txt")}
