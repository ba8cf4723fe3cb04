"""Handing a thread out, with everything that was said and recorded about it."""

from __future__ import annotations

from dataclasses import dataclass

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.people import User
from stacksona_gate.service.environment import Environment
from stacksona_gate.service.reviews import ThreadView, find_thread, view_thread
from stacksona_gate.service.threads import record
from stacksona_gate.store.base import Tx


@dataclass(frozen=True, slots=True)
class Export:
    """A thread as it was handed out. The export's own entry is the last of the thread's entries."""

    view: ThreadView
    exported_by: User
    exported_at: int


def export_thread(tx: Tx, env: Environment, user: User, thread_id: str, form: str) -> Export:
    """Records that this person took a thread out, and what they took. Raises NotFound.

    Whoever may read a thread may export it: it shows nothing that its page does not.
    """
    request, _ = find_thread(tx, user, thread_id)
    record(tx, env, request, "thread.exported", actor=Actor("user", user.id), private={"format": form})
    return Export(view_thread(tx, user, thread_id), user, env.now())
