"""What people send about threads. Unknown fields are refused: a misspelt ``payload`` must not approve the old one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class ReviewBody(msgspec.Struct, forbid_unknown_fields=True):
    """A verdict on the revision that the reviewer saw. ``payload`` with ``approve`` is edit and approve."""

    verdict: Literal["approve", "reject", "request_changes"]
    revision: Annotated[
        int, Meta(ge=1, le=1_000_000, description="The revision that you looked at; another one is 409")
    ]
    message: Annotated[str, Meta(max_length=10_000, description="Your words; the agent reads them")] = ""
    payload: Annotated[
        dict[str, object] | None,
        Meta(description="With approve: the payload to approve instead; a rule that rejects it still refuses"),
    ] = None


class NoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A word among reviewers; agents never see it."""

    text: Annotated[str, Meta(min_length=1, max_length=10_000)]
