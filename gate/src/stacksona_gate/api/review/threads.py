"""Looking at threads."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from stacksona_gate.api.fields import CURSOR_MOST, PAGE, PAGE_MOST, chosen, tagged_reply, whole
from stacksona_gate.api.http import Call, Reply, json_reply
from stacksona_gate.api.people import PeopleContext
from stacksona_gate.api.review.answers import ThreadPage, summary_of, thread_of
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.people import User
from stacksona_gate.domain.requests import RISK_LEVELS, Attachment, ThreadFilter
from stacksona_gate.service.administration import agent_id_of
from stacksona_gate.service.people import Person
from stacksona_gate.service.reviews import find_attachment, list_threads, view_thread
from stacksona_gate.service.transactions import Tx

FOLDERS: Final = ("new", "reviewing", "approved", "rejected")
QUERY_MOST: Final = 200
"""Characters looked for: the time a search takes grows with them, times the length of every subject."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_DOWNLOAD: Final = (
    (b"content-security-policy", b"default-src 'none'; sandbox; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


async def get_threads(context: PeopleContext, call: Call) -> Reply:
    """A folder's threads, newest first, as far as the caller may see them; all threads without `folder`.

    `q` is looked for in subject, task, tool and thread id; payloads rest encrypted and are not searched.
    """
    person = await context.person(call)
    query = call.query()
    where, agent = _filter(query), query.get("agent") or None
    page = await context.gate.store.scan(lambda tx: list_threads(tx, person.user, _of_agent(tx, person, where, agent)))
    threads = [summary_of(listed.request, listed.agent) for listed in page.threads]
    return json_reply(ThreadPage(threads, page.next_cursor))


def _filter(query: dict[str, str]) -> ThreadFilter:
    return ThreadFilter(
        folder=chosen(query, "folder", FOLDERS),
        text=_looked_for(query),
        tool_name=query.get("tool") or None,
        risk_level=chosen(query, "risk", RISK_LEVELS),
        before=whole(query, "cursor", 0, CURSOR_MOST),
        limit=whole(query, "limit", 1, PAGE_MOST) or PAGE,
    )


def _looked_for(query: dict[str, str]) -> str | None:
    text = query.get("q") or None
    if text is not None and len(text) > QUERY_MOST:
        raise Invalid(f"q has at most {QUERY_MOST} characters", code="invalid_q")
    return text


def _of_agent(tx: Tx, person: Person, where: ThreadFilter, agent: str | None) -> ThreadFilter:
    return where if agent is None else replace(where, agent_ids=(agent_id_of(tx, person.user.tenant_id, agent),))


async def get_thread(context: PeopleContext, call: Call) -> Reply:
    """Everything about a thread: content, revisions, reviews, notes, events, outcomes with flags, timeline."""
    person = await context.person(call)
    return await thread_reply(context, person.user, call.path["thread_id"])


async def thread_reply(context: PeopleContext, user: User, thread_id: str) -> Reply:
    """The thread as it now is."""
    view = await context.gate.store.scan(lambda tx: view_thread(tx, user, thread_id))
    return tagged_reply(thread_of(view, context.gate.env.now()))


async def get_attachment(context: PeopleContext, call: Call) -> Reply:
    """A file of a thread, always as a download: what an agent says that it is decides nothing."""
    person = await context.person(call)
    thread_id, attachment_id = call.path["thread_id"], call.path["attachment_id"]
    file = await context.gate.store.scan(lambda tx: find_attachment(tx, person.user, thread_id, attachment_id))
    disposition = f'attachment; filename="{safe_name(file)}"'
    headers = ((b"content-disposition", disposition.encode()), *_DOWNLOAD)
    return Reply(file.data, content_type=b"application/octet-stream", headers=headers)


def safe_name(file: Attachment) -> str:
    """A name without anything that a header, a shell or a reader could take for something else."""
    return _UNSAFE.sub("_", file.name)[-80:].lstrip("._-") or "attachment"
