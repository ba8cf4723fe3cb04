"""The API reference: the OpenAPI document, and a page made from it on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from stacksona_gate.api.admin.routes import ADMIN_OPERATIONS
from stacksona_gate.api.agent.routes import OPERATIONS as AGENT_OPERATIONS
from stacksona_gate.api.http import ENCODER, Call, Header, Reply
from stacksona_gate.api.installation.routes import INSTALLATION_OPERATIONS
from stacksona_gate.api.openapi import openapi_document
from stacksona_gate.api.operations import OPERATIONS as OPERATOR_OPERATIONS
from stacksona_gate.api.pages import HTML_TYPE, page, static
from stacksona_gate.api.reference import sections, shapes
from stacksona_gate.api.review.routes import REVIEW_OPERATIONS
from stacksona_gate.api.routing import Operation

_CSP: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
_CACHED: Final = (b"cache-control", b"public, max-age=300")
_PAGE: Final[tuple[Header, ...]] = (_CSP, _CACHED, (b"referrer-policy", b"no-referrer"))
_CSS: Final = b"text/css; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Described:
    """What is served, in both forms."""

    document: bytes
    reference: bytes


@dataclass(frozen=True, slots=True)
class DocsContext:
    """Where it is served."""

    public_url: str

    async def described(self) -> Described:
        """Made when it is first asked for, beside the event loop: a start is not to wait half a second for it."""
        return await asyncio.to_thread(_described, self.public_url)


@cache
def _described(public_url: str) -> Described:
    document = openapi_document(described_operations(), public_url)
    reference = page("docs.html", document=document, sections=sections(document, public_url), structs=shapes(document))
    return Described(ENCODER.encode(document), reference)


def described_operations() -> Iterable[Operation]:
    """Every operation, in reading order."""
    people = (*REVIEW_OPERATIONS, *ADMIN_OPERATIONS)
    return (*AGENT_OPERATIONS, *people, *INSTALLATION_OPERATIONS, *OPERATOR_OPERATIONS, *DOCS_OPERATIONS)


async def get_document(context: DocsContext, call: Call) -> Reply:
    """This API as an OpenAPI 3.1 document."""
    return Reply((await context.described()).document, headers=(_CACHED,))


async def get_reference(context: DocsContext, call: Call) -> Reply:
    """This API as a page to read."""
    return Reply((await context.described()).reference, content_type=HTML_TYPE, headers=_PAGE)


async def get_style(context: DocsContext, call: Call) -> Reply:
    """The page's style sheet."""
    return Reply(static("docs.css"), content_type=_CSS, headers=_PAGE)


_TAG: Final = "Operation"
_ANY_OBJECT: Final[Any] = dict[str, Any]

DOCS_OPERATIONS: Final = (
    Operation("GET", "/openapi.json", get_document, _TAG, None, answer=_ANY_OBJECT),
    Operation("GET", "/docs", get_reference, _TAG, None, media_type="text/html"),
    Operation("GET", "/docs/style.css", get_style, _TAG, None, media_type="text/css"),
)
