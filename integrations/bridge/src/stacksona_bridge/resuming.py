"""Wakes what waits for a decision. **A wake-up is never authority**: nothing that is sent says what was decided.

Where to resume stands in the thread's metadata, which anybody with the agent's key can write. So a wake-up can do no
more than this: answer a form that the settings call a wake-up, with its one action and no inputs; call a trigger that
the settings name; call an address below one that the settings list. Whoever is woken reads the decision of the thread
that it asked about itself, redeems, and only then acts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from stacksona import Decision

from stacksona_bridge import signatures
from stacksona_bridge.dify import Dify, DifyUnavailable, Form, Run, RunNotFound, Sent
from stacksona_bridge.posting import NotAllowed, NotReached, Poster, allowed
from stacksona_bridge.settings import Config
from stacksona_bridge.trying import missing, try_again

log = logging.getLogger("stacksona_bridge")

WOKEN = "decision.made"


class Refused(Exception):
    """The metadata asks for what the bridge does not do. Trying again does not help."""


@dataclass(frozen=True)
class Resuming:
    config: Config
    dify: Mapping[str, Dify]
    poster: Poster

    async def resume(self, decision: Decision) -> str:
        """What was done, in words for the delivery's log. Raises Problem (503) when it should be tried again."""
        try:
            return await self._resume(decision)
        except (Refused, NotAllowed) as error:
            log.warning("thread %s wakes nothing: %s", decision.thread_id, error)
            return f"refused: {error}"

    async def _resume(self, decision: Decision) -> str:
        metadata = decision.metadata
        kind = metadata.get("dify_resume")
        if kind not in ("human_input", "webhook") and "resume_url" not in metadata:
            return "nothing waits"
        self._check_signature(decision)
        if kind == "human_input":
            return await self._answer_form(decision)
        if kind == "webhook":
            return await self._call_trigger(decision)
        return await self._call_url(decision)

    def _check_signature(self, decision: Decision) -> None:
        given = decision.metadata.get(signatures.WAKE_SIGNATURE)
        if given is None and not self.config.require_signed:
            return
        fields = signatures.chosen(signatures.WAKE_FIELDS, decision.metadata)
        about = (decision.task_id, decision.tool_name or "")
        if not signatures.is_signed(self.config.signing_keys, signatures.WAKE, *about, fields, given):
            raise Refused("its metadata is not signed by the bridge")

    # Dify's Human Input

    async def _answer_form(self, decision: Decision) -> str:
        metadata = decision.metadata
        run_id, user, node = (metadata.get(f"dify_{name}", "") for name in ("run_id", "user", "node"))
        apps = [dify for dify in self._apps(metadata) if node in dify.app.wake]
        if not apps:
            raise Refused("no app of the settings has a wake-up at that node")
        for dify in apps:
            try:
                run = await dify.look(run_id, user)
            except RunNotFound:
                continue
            except DifyUnavailable as error:
                raise try_again(str(error)) from None
            return await self._answer(dify, run, decision, user, node)
        return missing("no such run of this user", decision)

    def _apps(self, metadata: Mapping[str, str]) -> Sequence[Dify]:
        """The one that is named, else all: a run is found with its own app's key only."""
        name = metadata.get("dify_app")
        if name is None:
            return tuple(self.dify.values())
        return (self.dify[name],) if name in self.dify else ()

    async def _answer(self, dify: Dify, run: Run, decision: Decision, user: str, node: str) -> str:
        action = dify.app.wake[node]
        wanted = {decision.metadata.get(f"dify_action_{name}", action) for name in ("approved", "rejected")}
        if wanted != {action}:
            raise Refused("the form's action is not the one that the settings call a wake-up")
        if run.finished is not None:
            return "the run is over"
        forms = [form for form in run.forms if form.node_id == node]
        if not forms:
            raise try_again("the run does not wait at that node yet")
        sent = [await self._send(dify, form, user, action) for form in forms]
        return "woken" if Sent.ANSWERED in sent else "was answered already"

    async def _send(self, dify: Dify, form: Form, user: str, action: str) -> Sent:
        try:
            sent = await dify.send(form, user, action, {})
        except DifyUnavailable as error:
            raise try_again(str(error)) from None
        if sent is Sent.REFUSED:
            raise try_again("Dify refuses the form's action: see the app's wake in BRIDGE_DIFY_APPS")
        return sent

    # Addresses

    async def _call_trigger(self, decision: Decision) -> str:
        url = self.config.triggers.get(decision.metadata.get("dify_webhook", ""))
        if url is None:
            raise Refused("the settings have no trigger of that name")
        try:
            await self.poster.post(url, _wake_up(decision))
        except NotReached as error:
            raise try_again(f"the trigger was not reached: {error}") from None
        return "trigger called"

    async def _call_url(self, decision: Decision) -> str:
        url = allowed(decision.metadata["resume_url"], self.config.resume_urls)
        try:
            await self.poster.post_guarded(url, _wake_up(decision))
        except NotReached as error:
            if error.status in (404, 409, 410):  # it does not wait: not yet, or not any more
                return missing(f"nothing waits there: {error}", decision)
            raise try_again(f"the address was not reached: {error}") from None
        return "address called"


def _wake_up(decision: Decision) -> bytes:
    """Which thread to look at, and nothing of what was decided."""
    return msgspec.json.encode({"thread_id": decision.thread_id, "task_id": decision.task_id, "event": WOKEN})
