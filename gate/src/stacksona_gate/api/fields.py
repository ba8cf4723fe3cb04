"""What people's calls carry and how they are answered: JSON bodies, pages, entity tags."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from stacksona_gate.api.http import ENCODER, JSON_TYPE, Call, Header, Reply, convert
from stacksona_gate.domain.errors import Invalid, Malformed, PreconditionFailed, UnsupportedMediaType
from stacksona_gate.domain.reading import read_json

BODY_MOST: Final = 256 * 1024
PAGE_MOST: Final = 200
PAGE: Final = 50
CURSOR_MOST: Final = 2**62


async def read_as[T: msgspec.Struct](call: Call, kind: type[T], *, may_be_empty: bool = False) -> T:
    """A JSON body as a struct. Raises TooLarge, UnsupportedMediaType, Malformed, Invalid naming the field.

    The structs refuse fields that they do not know: a misspelt one must not be a change that silently did not happen.
    """
    content_type = media_type(call)
    if content_type not in ("", "application/json"):
        raise UnsupportedMediaType(f"send application/json, not {content_type[:100]!r}")
    content = await call.body(BODY_MOST)
    if may_be_empty and not content:
        return kind()
    value = read_json(content)
    if not isinstance(value, dict):
        raise Malformed("the body is one JSON object")
    return convert(value, kind)


def media_type(call: Call) -> str:
    """The body's type, lower case, without parameters; empty when none is named."""
    return (call.header(b"content-type") or "").partition(";")[0].strip().lower()


def accepts(call: Call, *types: str) -> bool:
    """Whether the caller asks for one of these types by name."""
    accept = call.header(b"accept") or ""
    return any(part.partition(";")[0].strip().lower() in types for part in accept.split(","))


def whole(query: dict[str, str], name: str, least: int, most: int) -> int | None:
    """A whole number of the query. Raises Invalid."""
    text = query.get(name)
    return None if text is None else whole_of(text, name, least, most)


def whole_of(text: str, name: str, least: int, most: int) -> int:
    """Raises Invalid."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
        raise Invalid(f"{name} is a whole number from {least} to {most}", code=f"invalid_{name}")
    return int(text)


def page_of(query: dict[str, str]) -> tuple[int, int | None]:
    """``limit`` and ``cursor``. Raises Invalid."""
    limit = whole(query, "limit", 1, PAGE_MOST)
    return limit or PAGE, whole(query, "cursor", 0, CURSOR_MOST)


def chosen(query: dict[str, str], name: str, options: tuple[str, ...]) -> str | None:
    """One of the options, or None where the field is missing or empty. Raises Invalid."""
    value = query.get(name) or None
    if value is not None and value not in options:
        raise Invalid(f"{name} is {', '.join(options[:-1])} or {options[-1]}", code=f"invalid_{name}")
    return value


def entity_tag(body: object) -> str:
    """Changes with anything that a reader is shown."""
    return f'"{sha256(ENCODER.encode(body)).hexdigest()[:32]}"'


def tagged_reply(body: object, status: int = 200, headers: tuple[Header, ...] = ()) -> Reply:
    """A JSON answer with its ETag."""
    encoded = ENCODER.encode(body)
    tag = f'"{sha256(encoded).hexdigest()[:32]}"'
    return Reply(encoded, status, JSON_TYPE, ((b"etag", tag.encode()), *headers))


def created(body: object, location: str) -> Reply:
    """A 201 that says where the new thing is."""
    return Reply(ENCODER.encode(body), 201, JSON_TYPE, ((b"location", location.encode("ascii")),))


def require_match(call: Call, body: object) -> None:
    """Raises PreconditionFailed when ``If-Match`` names another state than ``body``. Call it inside the transaction."""
    require_tag(call, entity_tag(body))


def require_tag(call: Call, tag: str) -> None:
    """As ``require_match``, for a tag that is known already. Weak tags never match (RFC 9110 section 13.1.1)."""
    wanted = call.header(b"if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if tag not in (part.strip() for part in wanted.split(",")):
        raise PreconditionFailed("somebody changed this since you read it: read it again, then decide anew")
