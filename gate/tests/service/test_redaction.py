"""What one reader sees of entries and values, and that a damaged choice or a failing engine hides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gate.tests.factories import TENANT, World, second_tenant, thread_of, world

from stacksona_gate.domain.audit import COMMAND_LINE, holds
from stacksona_gate.domain.redaction import HIDDEN
from stacksona_gate.domain.sensitive import BUILT_IN, Span
from stacksona_gate.service import redaction
from stacksona_gate.service.redaction import OwnPattern, Redaction, Redactor, for_others, for_person
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.service.reviews import add_note, find_attachment, view_thread

CARD = "4242424242424242"


async def choose(w: World, chosen: Redaction) -> None:
    await w.write(lambda tx: redaction.change_redaction(tx, w.env, COMMAND_LINE, w.tenant_id, chosen))


async def reviewers(w: World) -> Redactor:
    return await w.read(lambda tx: for_person(tx, w.reviewer))


def kept(value: object) -> dict[str, object]:
    return {"salt": "00", "value": value}


async def test_private_values_come_back_as_they_were_or_without_value_and_salt() -> None:
    async with world() as w:
        private = {"subject": kept(f"to {CARD}"), "message": kept("fine"), "stands_for": kept(3)}
        assert (await reviewers(w)).private(private) == {
            "subject": {"redacted": True, "shown": "to ⟦masked 1 ••••4242⟧"},
            "message": kept("fine"),
            "stands_for": kept(3),
        }


async def test_what_is_disclosed_still_holds_and_what_is_withheld_is_named() -> None:
    async with world() as w:
        await w.ask(ask=Ask("issue_refund", "Refund", payload={"amount": 500, "card": CARD}, preview="plain"))
        [entry] = await w.entries("thread.opened")
        commitments = json.loads(entry.leaf)["commitments"]
        private: dict[str, Any] = json.loads((await reviewers(w)).entry(entry).private)
        assert private.keys() == commitments.keys()
        assert {name for name, one in private.items() if "redacted" in one} == {"payload", "payload_digest"}
        shown = {name: one for name, one in private.items() if "redacted" not in one}
        assert all(holds(commitments[name], one["salt"], one["value"]) for name, one in shown.items())


async def test_paths_are_for_payloads() -> None:
    async with world() as w:
        await choose(w, Redaction(paths=("pin",), patterns=()))
        redactor = await reviewers(w)
        assert redactor.value("payload", {"pin": 1, "n": 2}) == {"pin": "⟦masked 1 ••••⟧", "n": 2}
        assert redactor.value("metadata", {"pin": "9"}) == {"pin": "9"}


@pytest.mark.parametrize("value", ["plain", 7, None, True, ["a"], {"a": 1}])
async def test_what_holds_nothing_to_mask_is_the_same_object(value: object) -> None:
    async with world() as w:
        assert (await reviewers(w)).value("anything", value) is value


async def test_a_summary_and_metadata_that_repeat_what_a_path_hides_are_masked_too() -> None:
    async with world() as w:
        await choose(w, Redaction(paths=("name",), patterns=()))
        said = {"amount": 500, "name": "Ada Lovelace"}
        ask = Ask("issue_refund", "x", payload=said, summary=("to Ada Lovelace",), metadata={"for": "Ada Lovelace"})
        answer = await w.ask(ask=ask)
        view = await w.read(lambda tx: view_thread(tx, w.reviewer, thread_of(answer)))
        shown = [view.request.summary, view.request.metadata, *(entry.private for entry in view.entries)]
        assert [text for text in shown if "Lovelace" in text] == []


async def test_a_files_name_is_masked_where_it_is_downloaded_too() -> None:
    async with world() as w:
        await choose(w, Redaction(paths=("name",)))
        files = (File(f"{CARD} Ada.txt", "text/plain", b"x"),)
        ask = Ask("issue_refund", "x", payload={"amount": 500, "name": "Ada"}, attachments=files)
        thread_id = thread_of(await w.ask(ask=ask))
        (listed,) = (await w.read(lambda tx: view_thread(tx, w.admin, thread_id))).attachments
        names = [
            (await w.read(lambda tx, user=user: find_attachment(tx, user, thread_id, listed.id))).name  # type: ignore[misc]
            for user in (w.admin, w.reviewer)
        ]
        assert names == [f"{CARD} Ada.txt", "⟦masked 2 ••••4242⟧ ⟦masked 3 ••••⟧.txt"]


@pytest.mark.parametrize("verdict", ["request_changes", "reject"])
async def test_a_reviewer_finds_out_nothing_by_writing_guesses_down(verdict: str) -> None:
    async with world() as w:
        await choose(w, Redaction(paths=("pin",), patterns=()))
        answer = await w.ask(payload={"amount": 500, "pin": "7351"})
        thread_id, guesses = thread_of(answer), "is it 7350, 7351 or 7352?"
        await w.write(lambda tx: add_note(tx, w.env, w.reviewer, thread_id, guesses))
        await w.review(answer, verdict, message=guesses)
        view = await w.read(lambda tx: view_thread(tx, w.reviewer, thread_id))
        said = [view.notes[0].text, view.reviews[0].message, view.request.feedback or view.request.message]
        assert said == [guesses] * 3
        told = [entry.private for entry in view.entries if entry.actor_kind == "user"]
        assert all(guesses in private for private in told)


async def test_an_entrys_words_are_masked_whatever_stands_before_its_payload() -> None:
    async with world() as w:
        await choose(w, Redaction(paths=("name",), patterns=()))
        private = {"message": kept("for Ada Lovelace"), "payload": kept({"name": "Ada Lovelace"})}
        assert "Lovelace" not in repr((await reviewers(w)).private(private))


async def test_those_who_may_see_everything_do() -> None:
    async with world() as w:
        private = {"subject": kept(CARD)}
        seen = await w.read(lambda tx: for_person(tx, w.admin))
        assert (seen.masks, seen.private(private), seen.text(CARD)) == (False, private, CARD)


async def test_readers_who_are_not_known_see_what_everybody_may() -> None:
    async with world() as w:
        await choose(w, Redaction(reveal_to=("admin", "reviewer", "auditor")))
        assert (await w.read(lambda tx: for_others(tx, TENANT))).text(CARD) == "⟦masked 1 ••••4242⟧"


async def test_an_own_pattern_masks_letters_of_any_width() -> None:
    async with world() as w:
        await choose(w, Redaction(patterns=(), own=(OwnPattern("Case", "C-[0-9]{2}"), OwnPattern("é", "é+"))))
        redactor = await reviewers(w)
        assert redactor.text("C-12, Ｃ-１２, caféé") == "⟦masked 1 ••••⟧, ⟦masked 2 ••••⟧, caf⟦masked 3 ••••⟧"


async def test_one_workspaces_choice_is_not_anothers() -> None:
    async with world() as w:
        other = await second_tenant(w)
        await choose(other, Redaction(patterns=(), reveal_to=()))
        assert (await w.read(lambda tx: for_person(tx, other.admin))).text(CARD) == CARD
        assert (await reviewers(w)).text(CARD) != CARD


@pytest.mark.parametrize("damaged", ["{", "[]", '{"patterns": ["gone"]}', '{"own": [{"name": "x", "pattern": "("}]}'])
async def test_a_damaged_choice_hides_everything_even_from_admins(damaged: str) -> None:
    async with world() as w:
        await w.write(lambda tx: tx.tenants.set_setting(TENANT, "redaction", damaged))
        seen = await w.read(lambda tx: for_person(tx, w.admin))
        assert (seen.masks, seen.text("x"), seen.value("n", 7)) == (True, HIDDEN, HIDDEN)
        assert seen.private({"n": kept(7)}) == {"n": {"redacted": True, "shown": HIDDEN}}


async def test_a_damaged_choice_can_be_replaced() -> None:
    async with world() as w:
        await w.write(lambda tx: tx.tenants.set_setting(TENANT, "redaction", "{"))
        await choose(w, Redaction())
        assert (await reviewers(w)).text("x") == "x"


async def test_an_engine_that_fails_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_plain: str, _text: str) -> Iterator[Span]:
        raise RuntimeError(CARD)

    async with world() as w:
        answer = await w.ask(ask=Ask("issue_refund", f"Refund {CARD}", payload={"amount": 500, "name": "Ana"}))
        monkeypatch.setitem(BUILT_IN, "card_number", fails)
        redaction._compiled.cache_clear()
        try:
            redactor = await reviewers(w)
        finally:
            redaction._compiled.cache_clear()
        listed = redactor.listed(await w.stored(answer))
        assert listed.subject == HIDDEN
        assert "Ana" not in listed.payload
        [entry] = await w.entries("thread.opened")
        assert not {"Ana", CARD} & set(redactor.entry(entry).private.split('"'))
