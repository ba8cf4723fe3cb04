"""What can be wrong with a call. Each error has a stable ``code`` and a detail that says what to do next.

``HTTP_STATUS`` is the one table from kinds of errors to HTTP status, for the API and the pages alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with one field. ``field`` is a dotted path, ``""`` for the body as a whole."""

    field: str
    message: str


class GateError(Exception):
    """Base of every expected refusal.

    ``kind`` groups errors that get one HTTP status, ``code`` names the one cause and never changes.
    """

    kind = "error"
    code = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = errors
        self.retry_after = retry_after
        """Whole seconds after which trying again may help; None when the same call can never succeed."""


class Malformed(GateError):
    """The call cannot be read at all: not JSON, not UTF-8, two readings possible."""

    kind = code = "malformed"


class Invalid(GateError):
    """The call can be read, and a field's value is not allowed."""

    kind = code = "invalid"


class Unauthenticated(GateError):
    """No key, a key of the wrong form, an unknown or a replaced one."""

    kind = code = "unauthenticated"


class Forbidden(GateError):
    """Known, and not allowed to do this."""

    kind = code = "forbidden"


class NotFound(GateError):
    """No such thing, or none that this caller may know of."""

    kind = code = "not_found"


class Conflict(GateError):
    """The thing is no longer in the state that this call is about."""

    kind = code = "conflict"


class PreconditionFailed(GateError):
    """Changed by somebody else since it was read (``If-Match``)."""

    kind = code = "precondition_failed"


class TooLarge(GateError):
    """The body is over its limit."""

    kind = code = "too_large"


class UnsupportedMediaType(GateError):
    """A content type that this API does not read."""

    kind = code = "unsupported_media_type"


class TooMany(GateError):
    """A limit on calls is reached."""

    kind = code = "too_many"


class OverLimit(TooMany):
    """A quota is used up: what is told beside the refusal, so that a caller can wait for the right thing."""

    def __init__(
        self, detail: str, *, code: str, quota: str, limit: int, window: int | None = None, retry_after: int
    ) -> None:
        """``window``: seconds that the limit is about; None where it is about what there is."""
        super().__init__(detail, code=code, retry_after=retry_after)
        self.quota = quota
        self.limit = limit
        self.window = window


class Unavailable(GateError):
    """Nothing was decided: the store, the key or the start-up is not there."""

    kind = code = "unavailable"


class Unknown(Unavailable):
    """Whether it was decided is not known, or it was and cannot be shown: not to be told as «nothing was decided»."""


HTTP_STATUS: Final = {
    "malformed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "too_many": 429,
    "unavailable": 503,
}
