"""What people do with a thread: decide, note, take on, let go. Every one of these is a form of the thread's page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request as Call
from starlette.responses import Response

from stacksona_gate.domain.canonical import digest
from stacksona_gate.domain.errors import Conflict, Forbidden, GateError, Invalid
from stacksona_gate.domain.people import User
from stacksona_gate.domain.reading import read_json
from stacksona_gate.service import reviews
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.people import Person, still
from stacksona_gate.service.reviews import Verdict
from stacksona_gate.service.transactions import Tx
from stacksona_gate.web.errors import status_of
from stacksona_gate.web.pages import see_other
from stacksona_gate.web.thread import Threads, Typed
from stacksona_gate.web.visitors import signed_in, submitted

MESSAGE_MOST: Final = 10_000
VERDICTS: Final = ("approve", "reject", "request_changes")


class Reviewing:
    """``POST /inbox/{thread_id}/…``."""

    def __init__(self, gate: Gate, threads: Threads) -> None:
        self._gate = gate
        self._threads = threads

    async def review(self, request: Call) -> Response:
        """``/reviews``: approve (also edited), reject, ask for changes."""
        person, fields = await self._form(request)
        try:
            verdict = read_verdict(fields)
            if fields["verdict"] == "approve":
                await self._require_unedited(request, person, verdict, fields.get("edited", ""))
            await self._decide(request, person, verdict)
        except (Invalid, Conflict) as error:
            typed = Typed(message=fields.get("message", ""), edited=fields.get("edited", ""), error=error)
            return await self._threads.page(person, request, typed, status=status_of(error))
        return self._back(request, verdict.verdict)

    async def _require_unedited(self, request: Call, person: Person, verdict: Verdict, edited: str) -> None:
        """Raises Invalid for what was edited and then approved with the button that approves the agent's version."""
        thread_id = request.path_params["thread_id"]
        thread = (await self._gate.store.scan(lambda tx: reviews.view_thread(tx, person.user, thread_id))).request
        if thread.revision == verdict.revision and not _says(edited, thread.payload):
            raise Invalid(
                "you edited the payload, and this button approves the agent's: press «Approve my version», or undo"
                " your edit",
                code="edit_not_approved",
            )

    async def _decide(self, request: Call, person: Person, verdict: Verdict) -> None:
        gate, thread_id = self._gate, request.path_params["thread_id"]
        decided = await self._write(person, lambda tx, user: reviews.review(tx, gate.env, user, thread_id, verdict))
        if isinstance(decided, Conflict):
            raise decided

    async def note(self, request: Call) -> Response:
        """``/notes``."""
        person, fields = await self._form(request)
        gate, thread_id, typed = self._gate, request.path_params["thread_id"], fields.get("note", "")
        try:
            text = _words(typed, "note")
            await self._write(person, lambda tx, user: reviews.add_note(tx, gate.env, user, thread_id, text))
        except Invalid as error:
            return await self._refused(request, person, Typed(note=typed, error=error))
        return self._back(request, "note")

    async def claim(self, request: Call) -> Response:
        """``/claim``."""
        person, _ = await self._form(request)
        gate, thread_id = self._gate, request.path_params["thread_id"]
        try:
            await self._write(person, lambda tx, user: reviews.claim(tx, gate.env, user, thread_id))
        except Conflict as error:
            return await self._refused(request, person, Typed(error=error))
        return self._back(request, "claim")

    async def release(self, request: Call) -> Response:
        """``/release``."""
        person, _ = await self._form(request)
        gate, thread_id = self._gate, request.path_params["thread_id"]
        try:
            await self._write(person, lambda tx, user: reviews.release(tx, gate.env, user, thread_id))
        except (Conflict, Forbidden) as error:
            return await self._refused(request, person, Typed(error=error))
        return self._back(request, "release")

    async def _form(self, request: Call) -> tuple[Person, dict[str, str]]:
        person = await signed_in(self._gate, request)
        return person, await submitted(self._gate, request, person)

    async def _write[T](self, person: Person, unit: Callable[[Tx, User], T]) -> T:
        return await self._gate.store.write(still(self._gate.env, person, unit))

    async def _refused(self, request: Call, person: Person, typed: Typed) -> Response:
        status = 422 if typed.error is None else status_of(typed.error)
        return await self._threads.page(person, request, typed, status=status)

    def _back(self, request: Call, done: str) -> Response:
        return see_other(f"/inbox/{request.path_params['thread_id']}?done={done}")


def read_verdict(fields: dict[str, str]) -> Verdict:
    """Raises Invalid for what no form of ours sends, and for edited JSON that cannot be read."""
    verdict, revision = fields.get("verdict", ""), fields.get("revision", "")
    if verdict not in (*VERDICTS, "approve_edited"):
        raise Invalid("press one of the buttons: approve, reject or ask for changes")
    if not (revision.isascii() and revision.isdecimal() and len(revision) < 4):
        raise Invalid("the form does not say which revision you saw: reload the page")
    message = fields.get("message", "").strip()
    if len(message) > MESSAGE_MOST:
        raise Invalid(f"a message has at most {MESSAGE_MOST:,} characters")
    if verdict == "approve_edited":
        return Verdict("approve", message, int(revision), _edited(fields.get("edited", "")))
    return Verdict(verdict, message, int(revision))


def _says(edited: str, payload: str) -> bool:
    """Whether the text box still holds the agent's payload as it was shown, or nothing at all.

    Not as it is: this answer would tell whoever may not see a value whether they guessed it.
    """
    if not edited.strip():
        return True
    try:
        return digest(_edited(edited)) == digest(read_json(payload.encode()))
    except Invalid:
        return False


def _edited(text: str) -> dict[str, object]:
    try:
        payload = read_json(text.encode())
    except GateError as error:
        raise Invalid(f"the edited payload was not read: {error.detail}", code="edit_unreadable") from None
    if not isinstance(payload, dict):
        raise Invalid("the edited payload has to be a JSON object, as the agent's is", code="edit_unreadable")
    return payload


def _words(text: str, what: str) -> str:
    words = text.strip()
    if not words or len(words) > MESSAGE_MOST:
        raise Invalid(f"a {what} has 1 to {MESSAGE_MOST:,} characters")
    return words
