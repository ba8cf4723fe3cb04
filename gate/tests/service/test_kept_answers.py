"""Answers that are kept: told again only while the rows say the same, and never with more than they allow."""

from __future__ import annotations

import json

import pytest
from gate.tests.factories import World

from stacksona_gate.service import kept_answers
from stacksona_gate.service.installation import read_keys, rotate_signing_key


async def test_who_reads_twice_within_a_second_gets_the_same_token(w: World) -> None:
    answer = await w.approved()
    first = await w.token(answer)
    w.clock.advance(0.4)
    assert await w.token(answer) == first


async def test_the_next_second_has_a_token_of_its_own(w: World) -> None:
    answer = await w.approved()
    first = await w.token(answer)
    w.clock.advance(1)
    second = await w.token(answer)
    assert second != first
    assert w.gate.keyring.read(second).exp == w.gate.keyring.read(first).exp + 1_000_000


async def test_a_clock_that_is_set_back_is_not_given_a_token_of_the_future(w: World) -> None:
    answer = await w.approved()
    first = await w.token(answer)
    w.clock.advance(-5)
    assert w.gate.keyring.read(await w.token(answer)).exp < w.gate.keyring.read(first).exp


async def test_a_new_signing_key_signs_at_once(w: World) -> None:
    answer = await w.approved()
    first = await w.token(answer)
    await w.write(lambda tx: rotate_signing_key(tx, w.env, w.gate.root))
    await read_keys(w.gate)
    assert (await w.token(answer)).split(".")[0] != first.split(".")[0]


async def test_a_redeemed_approval_has_no_token_however_often_it_was_told(w: World) -> None:
    answer = await w.approved()
    await w.token(answer)
    await w.redeem(answer)
    polled = await w.poll(answer)
    assert polled.answer.token is None
    assert json.loads(polled.answer.body)["approval_state"] == "redeemed"


async def test_a_pause_takes_the_token_away_from_what_was_told(w: World) -> None:
    answer = await w.approved()
    await w.token(answer)
    await w.pause()
    polled = await w.poll(answer)
    assert polled.answer.token is None
    assert json.loads(polled.answer.body)["approval_state"] == "revoked"


async def test_an_approval_that_is_over_loses_its_token_though_no_row_changed(w: World) -> None:
    answer = await w.approved()
    await w.token(answer)
    w.clock.advance(25 * 3600)
    polled = await w.poll(answer)
    assert polled.answer.token is None
    assert json.loads(polled.answer.body)["approval_state"] == "expired"


async def test_the_same_answer_is_told_from_memory(w: World) -> None:
    answer = await w.ask(6000)
    assert await w.poll(answer) is await w.poll(answer)


async def test_what_is_kept_is_forgotten_when_it_changes(w: World) -> None:
    answer = await w.ask()
    kept = w.gate.answers
    await w.poll(answer)
    assert kept.count == 1
    await w.cancel(answer)
    await w.gate.store.write(lambda tx: None)
    assert kept.count == 0


async def test_no_more_answers_are_kept_than_the_limit(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "ANSWERS_MOST", 2)
    for amount in (6001, 6002, 6003):
        await w.poll(await w.ask(amount))
    assert w.gate.answers.count == 2


async def test_a_long_answer_is_told_and_not_kept(w: World) -> None:
    payload: dict[str, object] = {"amount": 6000, "text": "x" * kept_answers.BODY_MOST}
    answer = await w.ask(payload=payload)
    assert json.loads((await w.poll(answer)).answer.body)["payload"] == payload
    assert w.gate.answers.count == 0
