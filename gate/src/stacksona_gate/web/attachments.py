"""Files that agents sent along: pictures are shown, everything else is only handed over."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from stacksona_gate.domain.requests import Attachment
from stacksona_gate.service import reviews
from stacksona_gate.service.gate import Gate
from stacksona_gate.web.visitors import signed_in

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Attachments:
    """``GET /inbox/{thread_id}/attachments/{attachment_id}``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def show(self, request: Request) -> Response:
        person = await signed_in(self._gate, request)
        thread_id, attachment_id = request.path_params["thread_id"], request.path_params["attachment_id"]
        file = await self._gate.store.scan(
            lambda tx: reviews.find_attachment(tx, person.user, thread_id, attachment_id)
        )
        return served(file)


def served(file: Attachment) -> Response:
    """What an agent calls its file decides nothing: the first bytes do."""
    image = image_type(file.data)
    disposition = "inline" if image else "attachment"
    headers = {
        **HEADERS,
        "Content-Type": image or "application/octet-stream",
        "Content-Disposition": f'{disposition}; filename="{safe_name(file)}"',
    }
    return Response(file.data, headers=headers)


def image_type(data: bytes) -> str | None:
    """The type of a picture that browsers decode without running anything, by its first bytes."""
    return next((kind for magic, kind in _MAGIC if magic.match(data)), None)


def safe_name(file: Attachment) -> str:
    """A name without anything that a shell, a header or a reader could take for something else."""
    return _UNSAFE.sub("_", file.name)[-80:].lstrip("._-") or "attachment"
