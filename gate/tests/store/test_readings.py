"""Decisions as agents read them back: what is found, and when two readings are the same."""

from __future__ import annotations

from gate.tests.factories import TENANT, World, thread_of

from stacksona_gate.store.base import Reading


async def find(w: World, agent_id: str | None = None, **selector: str) -> Reading | None:
    return await w.read(lambda tx: tx.readings.find(TENANT, agent_id or w.agent.id, **selector))


async def test_a_reading_is_found_by_thread_by_request_and_by_task(w: World) -> None:
    answer = await w.approved()
    found = [
        await find(w, thread_id=thread_of(answer)),
        await find(w, request_id=answer.request.id),
        await find(w, task_id="task-1"),
    ]
    assert found[0] is not None
    assert found == [found[0]] * 3


async def test_a_reading_says_what_was_asked_and_what_people_said(w: World) -> None:
    answer = await w.ask()
    await w.review(answer, "request_changes")
    reading = await find(w, request_id=answer.request.id)
    assert reading is not None
    request, opinions = await w.read(lambda tx: tx.readings.open(reading))
    assert request == await w.read(lambda tx: tx.requests.find(TENANT, answer.request.id))
    assert [(each.verdict, each.reviewer, each.revision) for each in opinions] == [
        ("request_changes", w.reviewer.name, 1)
    ]


async def test_a_reading_knows_the_configuration_it_was_read_with(w: World) -> None:
    answer = await w.ask()
    await w.rotate()
    reading = await find(w, request_id=answer.request.id)
    tenant = await w.read(lambda tx: tx.tenants.find(TENANT))
    assert (reading and reading.config_version) == (tenant and tenant.config_version)


async def test_a_task_is_read_by_its_newest_request(w: World) -> None:
    await w.ask(501)
    await w.approved()
    for amount in (100, 9000):
        newest = await w.ask(amount)
        reading = await find(w, task_id="task-1")
        assert reading is not None
        assert reading.request_id == newest.request.id


async def test_the_newest_request_is_the_last_one_written_even_when_the_clock_went_back(w: World) -> None:
    await w.ask()
    w.clock.advance(-3600)
    newest = await w.ask()
    reading = await find(w, task_id="task-1")
    assert reading is not None
    assert reading.request_id == newest.request.id


async def test_what_another_agent_asked_is_not_found(w: World) -> None:
    answer = await w.ask()
    other = (await w.new_agent("other")).made.id
    selectors = ({"thread_id": thread_of(answer)}, {"request_id": answer.request.id}, {"task_id": "task-1"})
    assert [await find(w, other, **selector) for selector in selectors] == [None] * 3


async def test_readings_of_one_state_are_equal_and_whatever_changes_it_makes_another(w: World) -> None:
    answer = await w.ask()
    seen = [await find(w, request_id=answer.request.id)]
    assert await find(w, request_id=answer.request.id) == seen[0]
    await w.review(answer)
    seen.append(await find(w, request_id=answer.request.id))
    await w.redeem((await w.poll(answer)).answer)
    seen.append(await find(w, request_id=answer.request.id))
    await w.write(lambda tx: tx.erasure.rename_author(TENANT, w.reviewer.id, "somebody"))
    seen.append(await find(w, request_id=answer.request.id))
    await w.pause()
    seen.append(await find(w, request_id=answer.request.id))
    assert all(a != b for i, a in enumerate(seen) for b in seen[i + 1 :])
